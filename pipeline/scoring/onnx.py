"""A checkpoint's model as one ONNX file, which runs without PyTorch and this package.

    ssrl-pipeline export model.onnx

Inputs are the model's views, float32 [batch, snippets, P, F], features as the store
holds them; the output is `scores`, float32 [batch, snippets]. Both sizes may change
from run to run. The file's metadata hold `recipe` (of the features) and `model` as
JSON, `checkpoint_sha256`, `group` (the camera that it was adapted to, if any), and the
version of `ssrl_pipeline`.

Dimensions: B videos, T snippets, C crops, P crops or patches, F feature size.
"""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint, versions
from ssrl_pipeline.disk import file_sha256, whole_file
from ssrl_pipeline.errors import CheckpointError, PipelineError
from ssrl_pipeline.models import Detector

if TYPE_CHECKING:
    from onnx import ModelProto

TOLERANCE = 1e-4  # greatest difference of a score from PyTorch's
CHECKED = ((1, 1), (3, 7), (1, 33), (1, 200))  # B, T of what is compared
MOST_BYTES = (1 << 31) - (1 << 24)  # of weights: one protocol buffer holds less than 2 GiB


class Export(NamedTuple):
    """What was written."""

    file: Path
    kind: str  # of the model
    bytes: int
    inputs: dict[str, list[int]]  # view -> [P, F]
    difference: float  # greatest, from PyTorch's scores


class ScoreGraph(nn.Module):
    """A model as a graph for all lengths: views -> scores [B, T].

    What relates snippets may go another way by the length, which a graph would keep for good:
    :class:`~ssrl_pipeline.models.ssrl.relation.NonLocal` takes the cheaper order of its products.
    Here it is always the way of two passes, which is linear in T.
    """

    def __init__(self, model: Detector):
        super().__init__()
        self.model = model

    def forward(self, views: Mapping[str, Tensor]) -> Tensor:
        return self.model.outward([self._scores(part, views) for part in self.model.parts])

    @staticmethod
    def _scores(part: Detector, views: Mapping[str, Tensor]) -> Tensor:
        if not part.related:
            return part.raw(views)
        summary = part.summarise(views)  # [B, R, T, W]
        return part.score(part.relate(summary, part.gather(summary) / summary.shape[2]))


def export_onnx(checkpoint: Path, target: Path, group: str | None = None) -> Export:
    """Writes the model of a checkpoint, after comparing its scores with PyTorch's.

    Args:
        checkpoint: of any kind of model.
        target: the file; it appears whole or not at all.
        group: the camera whose own detector is written; None: the common one.

    Raises:
        CheckpointError: the checkpoint is missing or damaged, or was not adapted to the camera.
        PipelineError: the extra `onnx` is not installed, the model is too large for
            one file, or ONNX Runtime gives other scores than PyTorch.
    """
    try:
        import onnx  # all three come with an extra
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise PipelineError(
            f"export needs {error.name}, which is not installed: pip install 'ssrl-pipeline[onnx]'"
        ) from error
    loaded = _load(checkpoint, group)
    model: Detector = loaded.build()
    if (size := sum(weight.nbytes for weight in model.state_dict().values())) > MOST_BYTES:
        raise PipelineError(
            f"{checkpoint}: {size:,} bytes of weights are too many for one ONNX file (most {MOST_BYTES:,}); "
            "train with fewer scales or a smaller memory.limit"
        )
    graph = to_onnx(model)
    onnx.helper.set_model_props(
        graph,
        {
            "recipe": json.dumps(loaded.recipe),
            "model": json.dumps({"kind": loaded.kind, **loaded.model}),
            "checkpoint_sha256": file_sha256(checkpoint),
            **({} if group is None else {"group": group}),
            "ssrl_pipeline": versions()["ssrl_pipeline"],
        },
    )
    content = graph.SerializeToString()
    difference = greatest_difference(content, model)
    if not difference <= TOLERANCE:
        raise PipelineError(
            f"{target}: not written, since ONNX Runtime's scores are up to {difference:.1e} from PyTorch's "
            f"(at most {TOLERANCE:.0e} is allowed); try other versions of torch and onnxruntime"
        )
    with whole_file(target) as scratch:
        scratch.write_bytes(content)
    inputs = {name: [count, model.sizes[name]] for name, count in model.views.items()}
    return Export(target, loaded.kind, len(content), inputs, difference)


def _load(path: Path, group: str | None) -> Checkpoint:
    loaded = load_checkpoint(path)
    if group is not None and group not in loaded.cameras:
        known = ", ".join(map(repr, sorted(loaded.cameras))) or "none"
        raise CheckpointError(f"{path}: was not adapted to camera {group!r}; it was to: {known}")
    return loaded.for_camera(group)


def to_onnx(model: Detector) -> "ModelProto":
    """The graph of a model that is on the CPU and in evaluation mode."""
    batch, snippets = torch.export.Dim("batch"), torch.export.Dim("snippets")
    with warnings.catch_warnings():
        # Axes of one size have one name, which the exporter means to be a mistake.
        warnings.filterwarnings("ignore", message=".*will not be used, since it shares", category=UserWarning)
        program = torch.onnx.export(
            ScoreGraph(model).eval(),
            kwargs={"views": made_up_views(model, 2, 5)},
            dynamic_shapes={"views": {name: {0: batch, 1: snippets} for name in model.views}},
            input_names=list(model.views),
            output_names=["scores"],
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    for noted in (proto.graph, *proto.graph.node):
        del noted.metadata_props[:]  # where in the source each node is from, with paths of this machine
    return proto


@torch.inference_mode()
def greatest_difference(content: bytes, model: Detector) -> float:
    """How far scores of an ONNX file are from the model's own, over made-up videos of several lengths."""
    import onnxruntime  # comes with an extra

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    differences = []
    for videos, snippets in CHECKED:
        views = made_up_views(model, videos, snippets)
        (scores,) = session.run(["scores"], {name: view.numpy() for name, view in views.items()})
        differences.append((torch.from_numpy(scores) - model(views).scores).abs().max())
    return torch.stack(differences).max().item()  # not a number, where one is none


def made_up_views(model: Detector, videos: int, snippets: int) -> dict[str, Tensor]:
    """Features like normal ones as far as the model's scaling knows them: [B, T, P, F] each."""
    random, buffers = torch.Generator().manual_seed(snippets), dict(model.named_buffers())
    views = {}
    for name, count in model.views.items():
        means = (buffer for key, buffer in buffers.items() if key.endswith(f"{name}_mean"))
        deviations = (buffer for key, buffer in buffers.items() if key.endswith(f"{name}_deviation"))
        noise = torch.randn(videos, snippets, count, model.sizes[name], generator=random)
        views[name] = next(means, 0) + next(deviations, 1) * noise
    return views
