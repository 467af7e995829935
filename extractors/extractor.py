"""From frames to features: snippets, views, backbone."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ssrl_pipeline.errors import ConfigError, PipelineError, VideoError, WeightsError
from ssrl_pipeline.extractors.backbone import Backbone
from ssrl_pipeline.extractors.decode import DECODERS, VideoInfo, open_video
from ssrl_pipeline.extractors.dense import PATCHES, plan_passes
from ssrl_pipeline.extractors.engines import Engine, check_engine, make_engine
from ssrl_pipeline.extractors.inception import InceptionI3d
from ssrl_pipeline.extractors.presets import PRESETS, Normalisation
from ssrl_pipeline.extractors.resnet import I3dR50, I3dR50NL
from ssrl_pipeline.extractors.snippets import snippets
from ssrl_pipeline.extractors.views import cut_views
from ssrl_pipeline.extractors.weights import content_sha256, published_weights, read_weights

BACKBONES: dict[str, type[Backbone]] = {"i3d": InceptionI3d, "i3d_r50": I3dR50, "i3d_r50_nl": I3dR50NL}

Features = dict[str, np.ndarray]  # view name -> float32 [T, P, D]


class VideoFeatures(NamedTuple):
    """What a video became, beside its features."""

    info: VideoInfo
    decoder: str
    frames: int  # decoded frames
    snippets: int


class FeatureExtractor:
    """Describes every snippet of a video by multi-scale I3D features.

    Args:
        backbone: `i3d`, `i3d_r50` or `i3d_r50_nl`.
        preset: `paper`, `fast`, `live` or `gowtham`: which views of a snippet.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        weights: None for the backbone's published weights (fetched once), a
            file, or "random" for tests.
        engine: what runs the backbone: `auto`, `openvino`, `compile` or `eager`;
            features differ by rounding alone.
        precision: `float32`, or on a GPU `bfloat16` or `float16`.
        batch_pixels: how many pixels (views x frames x height x width) pass the
            backbone at once; bounds the memory.
        patches: `exact`: each passes the backbone by itself; `dense`: averages
            over one pass of the whole frame, see :mod:`ssrl_pipeline.extractors.dense`.

    Raises:
        PipelineError: an unknown name, a device that is missing, weights that
            cannot be had or do not fit.
    """

    def __init__(
        self,
        backbone: str = "i3d",
        preset: str = "paper",
        device: str = "auto",
        weights: str | Path | None = None,
        batch_pixels: int = 16 * 10 * 224 * 224,
        patches: str = "exact",
        engine: str = "auto",
        precision: str = "float32",
    ):
        if backbone not in BACKBONES:
            raise ConfigError(f"unknown backbone {backbone!r}; there are {', '.join(BACKBONES)}")
        if preset not in PRESETS:
            raise ConfigError(f"unknown preset {preset!r}; there are {', '.join(PRESETS)}")
        if patches not in PATCHES:
            raise ConfigError(f"unknown patches {patches!r}; there are {', '.join(PATCHES)}")
        self.device = find_device(device)
        check_engine(engine, precision, self.device)
        self.engine, self.precision = engine, precision
        self._engines: dict[nn.Module, Engine] = {}  # of the networks that were needed so far
        self.preset = PRESETS[preset]
        self.patches = patches
        self.backbone_name = backbone
        self.batch_pixels = batch_pixels
        self.backbone, self.weights_sha256 = _load_backbone(backbone, weights)
        self.backbone.to(self.device).to(memory_format=torch.channels_last_3d)
        engines = self._engines  # a copy of the backbone takes its hooks along: none may hold this object
        self.backbone.register_load_state_dict_post_hook(lambda *_: engines.clear())
        self.normalisation = self.preset.normalisation or Normalisation(self.backbone.mean, self.backbone.std)
        self.passes = plan_passes(self.backbone, self.preset.views, patches)

    @property
    def recipe(self) -> dict[str, Any]:
        """All that decides the features, as JSON: two stores with equal recipes can be mixed."""
        return {
            "preset": self.preset.name,
            "backbone": self.backbone_name,
            "weights_sha256": self.weights_sha256,
            "feature_size": self.backbone.feature_size,
            "views": self.preset.view_sizes,
            "geometry": self.preset.geometry,
            **({} if self.patches == "exact" else {"patches": self.patches}),
        }

    def __call__(self, frames: np.ndarray) -> Features:
        """RGB frames, uint8 [N, H, W, 3] -> view name -> float32 [T, P, D], T = ceil(N/16)."""
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
            raise ValueError(
                f"frames are uint8 [N, H, W, 3] with N > 0, not {frames.dtype} {list(frames.shape)}"
            )
        return self._join(self.stream(frames))

    def from_video(self, path: str | Path) -> Features:
        """The features of a whole video file, in memory; see :meth:`write_video` for long ones."""
        rows: list[Features] = []
        self.write_video(Path(path), restart=rows.clear, write=rows.append)
        return self._join(rows)

    def write_video(
        self, path: Path, restart: Callable[[], None], write: Callable[[Features], None]
    ) -> VideoFeatures:
        """Hands over the features of a video snippet by snippet, so that memory stays flat.

        Args:
            path: the video.
            restart: called before the first snippet of each decoder that is tried.
            write: called with view name -> float32 [1, P, D], in order.

        Raises:
            VideoError: no decoder reads the file to its end.
        """
        failures = []
        for decoder in DECODERS:
            restart()
            counter = _Counter()
            try:
                count = 0
                with open_video(path, decoder) as video:
                    for features in self.stream(counter.count(video.frames)):
                        write(features)
                        count += 1
            except VideoError as error:
                failures.append(error)
            else:
                return VideoFeatures(video.info, video.decoder, counter.frames, count)
        raise _all_of(path, failures)

    def stream(self, frames: Iterable[np.ndarray]) -> Iterator[Features]:
        """Frames, uint8 [H, W, 3] each -> for each snippet, view name -> float32 [1, P, D]."""
        for snippet in snippets(frames, self.preset.drop_last):
            yield from self.describe([snippet])

    def describe(self, snippets: Sequence[np.ndarray]) -> list[Features]:
        """Describes snippets together: the patches of one view of all of them share batches.

        Args:
            snippets: uint8 [16, H, W, 3] each, of one video or of several; sizes may differ.

        Returns:
            for each snippet, view name -> float32 [1, P, D].
        """
        wanted = tuple(one.cut for one in self.passes)
        cut = [cut_views(snippet[:: self.backbone.frame_stride], wanted, self.device) for snippet in snippets]
        described: list[Features] = [{} for _ in cut]
        for one in self.passes if cut else ():
            rows = self._run(one.network, torch.cat([views[one.cut.name] for views in cut]))
            rows = rows.reshape(len(cut), -1, self.backbone.feature_size)  # [snippets, sum of P, D]
            ends = np.cumsum([view.count for view in one.views])[:-1]
            for view, features in zip(one.views, np.split(rows, ends, axis=1), strict=True):
                for i, snippet in enumerate(described):
                    snippet[view.name] = features[i : i + 1]
        return described

    @torch.inference_mode()
    def _run(self, network: nn.Module, clips: Tensor) -> np.ndarray:
        """uint8 [B, 3, t, h, w] -> float32 [B, D], or [B, P, D] of a network that describes patches."""
        batch = max(1, self.batch_pixels // clips[0, 0].numel())
        if network not in self._engines:
            self._engines[network] = make_engine(
                self.engine, network, self.normalisation, self.device, self.precision
            )
        engine = self._engines[network]
        return torch.cat([engine(part) for part in clips.split(batch)]).cpu().numpy()

    def _join(self, rows: Iterable[Features]) -> Features:
        rows = list(rows)
        dim = self.backbone.feature_size
        return {
            view.name: np.concatenate(
                [np.empty((0, view.count, dim), np.float32), *(r[view.name] for r in rows)]
            )
            for view in self.preset.views
        }


class _Counter:
    """Counts what passes through an iterator."""

    def __init__(self) -> None:
        self.frames = 0

    def count(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for frame in frames:
            self.frames += 1
            yield frame


def _all_of(path: Path, failures: list[VideoError]) -> VideoError:
    """What each of the decoders said, in one line; once where it is the same."""
    if len({str(failure) for failure in failures}) == 1:
        return failures[0]
    said = [
        f"{decoder}: {str(failure).removeprefix(f'{path}: ').removeprefix(f'{decoder} ')}"
        for decoder, failure in zip(DECODERS, failures, strict=True)
    ]
    return VideoError(f"{path}: {'; '.join(said)}")


def find_device(name: str) -> torch.device:
    """`auto` is the first GPU, or the CPU where there is none.

    Raises:
        PipelineError: a device that is unknown or missing.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"unsupported device {name!r}; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise PipelineError(
            f"device {name!r} is missing: PyTorch finds {torch.cuda.device_count()} CUDA devices"
        )
    return device


def _load_backbone(name: str, weights: str | Path | None) -> tuple[Backbone, str]:
    """The network in evaluation mode, and what identifies its weights."""
    if weights == "random":
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = BACKBONES[name]().eval()
            for module in network.modules():
                if isinstance(module, nn.Conv3d):  # PyTorch's own start would fade out over the layers
                    nn.init.kaiming_normal_(module.weight)
            return network, "random"
    network = BACKBONES[name]().eval()
    arrays = published_weights(name) if weights is None else read_weights(Path(weights))
    try:
        network.load_reference_state_dict(arrays)
    except WeightsError as error:
        raise WeightsError(f"{weights or 'cache'}: {error}") from error
    return network.eval(), content_sha256(arrays)
