"""From frames to features: snippets, views, backbone."""

import math
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssrl_pipeline.errors import ConfigError, PipelineError, first_line, is_out_of_memory
from ssrl_pipeline.extractors.backbones import BACKBONES, cache_path, load_backbone
from ssrl_pipeline.extractors.batcher import Described, Feed
from ssrl_pipeline.extractors.decoding import Limits, Video, open_video
from ssrl_pipeline.extractors.engines import (
    Budget,
    Networks,
    Transfer,
    check_engine,
    choose_precision,
    find_device,
    recorded,
    warn_of_cudnn,
    why_not,
)
from ssrl_pipeline.extractors.graphs import Calibration, Graphs
from ssrl_pipeline.extractors.motion import GEOMETRY, Movers
from ssrl_pipeline.extractors.passes import PATCHES, Wanted, plan_passes, split_rows
from ssrl_pipeline.extractors.presets import PRESETS, Normalisation
from ssrl_pipeline.extractors.rate import FASTEST_RATE
from ssrl_pipeline.extractors.reader import J, VideoFeatures, ViewArrays
from ssrl_pipeline.extractors.repeats import UnchangedRule
from ssrl_pipeline.extractors.snippets import Pending, cut_snippets
from ssrl_pipeline.extractors.unchanged import Unchanged
from ssrl_pipeline.extractors.views import cut_views
from ssrl_pipeline.scales import MOTION, MOTION_GRID, MOTION_SIZE, view_size

AHEAD = 1  # groups of snippets under way while the next is gathered


class FeatureExtractor:
    """Describes every snippet of a video by multi-scale I3D features.

    Args:
        backbone: `i3d`, `i3d_r50` or `i3d_r50_nl`.
        preset: `paper`, `fast`, `live` or `gowtham`: which views of a snippet.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        weights: None for the backbone's published weights (fetched once), a
            file, or "random" for tests.
        engine: what runs the backbone: `auto`, `openvino`, `triton`, `compile` or `eager`;
            features differ by rounding alone.
        precision: `float32`; on a GPU `tf32`, `bfloat16` or `float16`; with OpenVINO `int8` and, where the
            CPU has it, `bfloat16`. `auto` is a GPU's tf32, such a CPU's bfloat16, else float32; they
            differ as :mod:`ssrl_pipeline.extractors.engines.precision` says.
        batch: how many snippets are described together; None: 1 on a CPU, 16 on a GPU.
        batch_pixels: how many pixels (views x frames x height x width) pass the backbone
            at once; bounds the memory. None: ten crops of one snippet on a CPU, of 16 on
            a GPU. Halved where a GPU's memory does not suffice.
        picture_fps: how many pictures of a folder that is a video are shown a second; None: no folder is.
        fps: frames a second of a video that are described, chosen by the times at which they are shown
            (:mod:`ssrl_pipeline.extractors.rate`); None: all are. Frames that are given as arrays have no
            times: all of them are described.
        unchanged: by which the last description of a clip that has not changed is taken again, see
            :mod:`ssrl_pipeline.extractors.unchanged`; None: all are described.
        patches: `exact`: each passes the backbone by itself; `dense`: averages
            over one pass of the whole frame, see :mod:`ssrl_pipeline.extractors.passes`.
        motion: whether there is a view `motion`, see :mod:`ssrl_pipeline.extractors.motion`.
        calibration: a folder of videos by which int8 is quantised; None: clips that we make.
        int8_pools: whether in int8 max-pools are, too. Stores of before they were are gone on with without,
            see :func:`ssrl_pipeline.extractors.engines.has_int8_pools`.

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
        batch_pixels: int | None = None,
        patches: str = "exact",
        engine: str = "auto",
        precision: str = "auto",
        batch: int | None = None,
        picture_fps: float | None = None,
        fps: float | None = None,
        motion: bool = False,
        calibration: str | Path | None = None,
        unchanged: UnchangedRule | None = None,
        int8_pools: bool = True,
    ):
        _require("backbone", backbone, BACKBONES)
        _require("preset", preset, PRESETS)
        _require("patches", patches, PATCHES)
        self.device = find_device(device)
        check_engine(engine, precision, self.device)
        if fps is not None and not (type(fps) in (int, float) and 0 < fps <= FASTEST_RATE):
            raise ConfigError(f"fps is a number of frames a second, up to {FASTEST_RATE:g}, not {fps!r}")
        self.picture_fps, self.fps, self._rule = picture_fps, fps, unchanged
        self.engine, self.precision = engine, choose_precision(precision, self.device, engine)
        self.calibration = None if calibration is None else Calibration(Path(calibration))
        if self.device.type == "cuda":
            warn_of_cudnn(self.precision)
        self.preset, self.patches, self.backbone_name = PRESETS[preset], patches, backbone
        self.memory = Budget(self.device, batch, batch_pixels)
        self._transfer = Transfer(self.device)
        # A CPU cuts the next snippets beside the network; a GPU's work waits in its own queue.
        self._cutter = ThreadPoolExecutor(1, "cutting views") if self.device.type == "cpu" else None
        self._movers = Movers(self.device) if motion else None
        self.backbone, self.weights_sha256, self.head = load_backbone(backbone, weights)
        self.backbone.to(self.device).to(memory_format=torch.channels_last_3d)
        self.normalisation = self.preset.normalisation or Normalisation(self.backbone.mean, self.backbone.std)
        kept = None if weights == "random" else cache_path(backbone).parent / "ssrl_pipeline_graphs"
        graphs = Graphs(kept, self.calibration, int8_pools)
        self.networks = Networks(engine, self.normalisation, self.device, self.precision, graphs, self.memory)
        self.networks.follow(self.backbone)
        self.passes = plan_passes(self.backbone, self.preset.views, patches)
        if engine != "auto" and (reason := why_not(engine, self.device, self.backbone)):
            raise PipelineError(f"engine {engine!r} does not run here: {reason}")

    @property
    def batch(self) -> int:
        """How many snippets are described together; less, once the memory did not suffice."""
        return self.memory.batch

    @property
    def recipe(self) -> dict[str, Any]:
        """All that decides the features, as JSON: two stores with equal recipes can be mixed.

        The engine, the device and, for it, float32 or tf32 are no part of it.
        """
        views, geometry = self.preset.view_sizes, self.preset.geometry
        if self._movers:
            views, geometry = {**views, MOTION: math.prod(MOTION_GRID)}, {**geometry, MOTION: GEOMETRY}
        return {
            "preset": self.preset.name,
            "backbone": self.backbone_name,
            "weights_sha256": self.weights_sha256,
            "feature_size": self.backbone.feature_size,
            "views": views,
            "geometry": geometry,
            **({"sizes": {MOTION: MOTION_SIZE}} if self._movers else {}),
            **({} if self.patches == "exact" else {"patches": self.patches}),
            **recorded(self.precision, self.calibration, self.networks.graphs.pools),
            **({} if self.fps is None else {"fps": float(self.fps)}),
            **({} if self._rule is None else {"unchanged": self._rule.in_recipe()}),
        }

    def __call__(self, frames: np.ndarray) -> ViewArrays:
        """RGB frames, uint8 [N, H, W, 3] -> view name -> float32 [T, P, D], T = ceil(N/16)."""
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
            raise ValueError(
                f"frames are uint8 [N, H, W, 3] with N > 0, not {frames.dtype} {list(frames.shape)}"
            )
        return self._join(self.stream(frames))

    def from_video(self, path: str | Path) -> ViewArrays:
        """The features of a whole video file, in memory; see :meth:`write_video` for long ones."""
        rows: list[ViewArrays] = []
        self.write_video(Path(path), write=rows.append)
        return self._join(rows)

    def write_video(self, path: Path, write: Callable[[ViewArrays], None]) -> VideoFeatures:
        """Hands over the features of a video snippet by snippet, so that memory stays flat.

        Args:
            path: the video.
            write: called with view name -> float32 [1, P, D], in order.

        Raises:
            VideoError: the file cannot be read to its end; what was handed over before is worthless.
        """
        ((_, result),) = self.describe_videos([_Kept(path, write)])
        if isinstance(result, Exception):
            raise result
        return result

    def describe_videos(
        self, jobs: Iterable[J | None], videos: int = 1
    ) -> Generator[tuple[J, VideoFeatures | Exception], None, None]:
        """Describes many videos, some of them at the same time; see :meth:`Feed.run`.

        Args:
            jobs: the videos, and what takes their features.
            videos: how many are decoded at the same time; the features do not depend
                on it, but for rounding where `batch` is more than 1.
        """
        drop_last = self.preset.drop_last
        gathered = (drop_last, videos, lambda: self.batch, AHEAD, self.pending, self.unchanged, self.fps)
        feed: Feed[J] = Feed(self.start, self.opener(videos), *gathered)
        return feed.run(jobs)

    def opener(self, videos: int) -> Callable[..., Video]:
        """What opens a video for this recipe, whose frames are lent, where so many are decoded at once."""
        limits, pictures = Limits(threads=decoding_threads(videos)), self.picture_fps
        return partial(open_video, limits=limits, lend=True, picture_fps=pictures, rate=self.fps)

    def pending(self) -> Pending:
        """Where frames become snippets: resized where Pillow does it, in memory that a GPU can copy from."""
        resize = self.preset.pillows
        return Pending(self._transfer.empty, resize.by_pillow if resize else None)

    def unchanged(self) -> Unchanged:
        """What decides for a video or camera, from its first snippet on, what is described of each."""
        return Unchanged(self._rule, self.passes)

    def stream(self, frames: Iterable[np.ndarray]) -> Iterator[ViewArrays]:
        """Frames, uint8 [H, W, 3] each -> for each snippet, view name -> float32 [1, P, D]."""
        waiting = cut_snippets(frames, self.preset.drop_last, self.pending())
        unchanged = self.unchanged()
        while group := list(islice(waiting, self.batch)):
            wanted = [unchanged.decide(snippet) for snippet in group]
            yield from map(unchanged.complete, self.describe(group, wanted), wanted)

    def describe(
        self, snippets: Sequence[np.ndarray], wanted: Sequence[Wanted] | None = None
    ) -> list[ViewArrays]:
        """Describes snippets together: the patches of one view of all of them share batches.

        Args:
            snippets: uint8 [16, H, W, 3] each, of one video or of several; sizes may differ.
                Quickest are those that :meth:`pending` gave.
            wanted: which clips of each, by its video's :meth:`unchanged`, which completes what is given;
                None: all.

        Returns:
            for each snippet, view name -> float32 [1, P, D]; nan where a clip was not wanted.

        Raises:
            PipelineError: the device has not the memory for one clip.
        """
        most = max(1, len(snippets))
        if self.memory.scarce:
            most = self.batch
        elif self._cutter:  # views of a part are cut beside the network on the one before; no thread is idle
            most = max(self.batch, torch.get_num_threads())
        wanted = wanted or [Wanted.everything(self.passes)] * len(snippets)
        parts = [slice(i, i + most) for i in range(0, len(snippets), most)]
        found: list[ViewArrays] = []
        under_way: deque[Described] = deque()
        for part in parts:
            under_way.append(self.start(snippets[part], wanted[part]))
            if len(under_way) > AHEAD:
                found += under_way.popleft()()
        return found + [features for described in under_way for features in described()]

    def start(self, snippets: Sequence[np.ndarray], wanted: Sequence[Wanted] | None = None) -> Described:
        """Begins to :meth:`describe`, and gives what does the rest or waits for it.

        A CPU cuts views meanwhile, a GPU does all but motion.
        """
        if not snippets:
            return list
        wanted = wanted or [Wanted.everything(self.passes)] * len(snippets)
        if not self._movers:
            return self._start(snippets, wanted)
        return self._movers.beside(snippets, lambda some: self._start(some, wanted))

    def _start(self, snippets: Sequence[np.ndarray], wanted: Sequence[Wanted]) -> Described:
        if self._cutter:
            cut = self._cutter.submit(self._cut, snippets, wanted)
            return lambda: self._run_all(snippets, wanted, cut.result)()
        return self._run_all(snippets, wanted, lambda: self._cut(snippets, wanted))

    def _run_all(
        self, snippets: Sequence[np.ndarray], wanted: Sequence[Wanted], cut: Callable[[], list[list[Tensor]]]
    ) -> Described:
        """Begins to run the network on the views of snippets, by halves where the memory is scarce."""
        try:
            rows = self._transfer.down(self._rows(cut()))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if len(snippets) == 1:
                raise PipelineError(
                    f"{self.device}: not enough memory for one clip of preset {self.preset.name} (another "
                    "program may have it; else take a smaller preset or another device): "
                    f"{first_line(error)[:200]}"
                ) from error
        else:
            return lambda: split_rows(rows(), self.passes, wanted)
        self.memory.halve()
        half = len(snippets) // 2
        first = self._start(snippets[:half], wanted[:half])
        second = self._start(snippets[half:], wanted[half:])
        return lambda: first() + second()

    def _cut(self, snippets: Sequence[np.ndarray], wanted: Sequence[Wanted]) -> list[list[Tensor]]:
        """For each pass, what of each snippet it is to describe: uint8 [B, 3, t, h, w], on the device."""
        found: list[list[Tensor]] = [[] for _ in self.passes]
        stride = self.backbone.frame_stride
        for snippet, of in zip(snippets, wanted, strict=True):
            parts = list(zip(self.passes, of.described, found, strict=True))
            cuts = tuple(one.cut for one, mask, _ in parts if mask.any())
            views = cut_views(snippet, cuts, lambda f: self._transfer.up(f)[::stride])
            for one, mask, clips in parts:
                if mask.all():
                    clips.append(views[one.cut.name])
                elif mask.any():
                    clips.append(views[one.cut.name][np.flatnonzero(mask)])
        return found

    def _rows(self, cut: list[list[Tensor]]) -> Tensor:
        """float32 [n, D] of all that was cut, pass by pass."""
        dim = self.backbone.feature_size
        rows = [torch.empty(0, dim, device=self.device)]
        wanted = [
            (one.network, clips[0] if len(clips) == 1 else torch.cat(clips))
            for one, clips in zip(self.passes, cut, strict=True)
            if clips
        ]
        for network, some in groupby(wanted, itemgetter(0)):
            batches = [clips for _, clips in some]
            rows += [found.reshape(-1, dim) for found in self.networks(network, batches)]
        return torch.cat(rows)

    def _join(self, rows: Iterable[ViewArrays]) -> ViewArrays:
        rows, recipe = list(rows), self.recipe
        none = {name: (0, count, view_size(recipe, name)) for name, count in recipe["views"].items()}
        return {
            name: np.concatenate([np.empty(shape, np.float32), *(r[name] for r in rows)])
            for name, shape in none.items()
        }


class _Kept(NamedTuple):
    """A job of the feed from its parts."""

    path: Path
    write: Callable[[ViewArrays], None]


def _require(what: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise ConfigError(f"unknown {what} {name!r}; there are {', '.join(known)}")


def decoding_threads(videos: int) -> int:
    """How many threads decode each of some videos, so that together they take the process's cores once."""
    return max(1, torch.get_num_threads() // videos)
