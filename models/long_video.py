"""Scores of a video of any length, exactly: its features come in chunks and go again.

Snippets meet in one place alone, the relation block over time. A first pass adds
up crops and patch branches chunk by chunk, lays the sums [T, C, F] aside in a
temporary file, and gathers what the non-local block needs of the whole video: it
has no softmax, so that is one matrix for each crop, the sum over snippets of
g phi^T. A second pass reads the sums back, with the few neighbours to either side
that the convolutions reach. Time grows with T, memory does not.

The file takes 4 C F bytes a snippet: of 24 hours at 30 frames a second (162,000
snippets) 0.7 GB for one crop of 1024 features, 6.6 GB for ten. All features of
the paper's 59 crops and patches would take 39 GB. It lies in the folder that
TMPDIR names, which should be on a disk: in one kept in memory it counts as such.

Dimensions: B sequences, T snippets, n of them at a time, C crops, P crops or patches, F feature size.
"""

import os
import tempfile
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import IO, Protocol

import torch
from torch import Tensor, nn

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.models.fused import FusedDetector, blend
from ssrl_pipeline.models.memory import PatchMemory
from ssrl_pipeline.models.relation import RelationBlock
from ssrl_pipeline.models.ssrl import SSRL
from ssrl_pipeline.scales import view_of
from ssrl_pipeline.tf32 import allow_tf32

CHUNK = 256  # snippets that pass the model at once
IN_MEMORY = 256 << 20  # bytes of sums that need no file


def score_long(
    model: SSRL | PatchMemory | FusedDetector, chunks: Iterable[Mapping[str, Tensor]], device: torch.device
) -> Tensor:
    """The scores that `model` gives the whole video at once, without ever holding it.

    Args:
        model: on `device` and in evaluation mode.
        chunks: one after the other, each view name -> [n, P, F] of any n.

    Returns:
        float32 [T], on the CPU.

    Raises:
        ValueError: the model is in training mode, or there is no snippet.
        PipelineError: the temporary file cannot be written.
    """
    with ScoreStream(model, device) as stream:
        for chunk in chunks:
            stream.add(chunk)
        return stream.scores()


class ScoreStream:
    """Takes the features of one video as they come, then tells its scores; see :func:`score_long`."""

    def __init__(self, model: SSRL | PatchMemory | FusedDetector, device: torch.device, chunk: int = CHUNK):
        if model.training:
            raise ValueError("the model is in training mode, where chunks differ from the whole; use eval()")
        self.device, self.chunk, self._views = device, chunk, tuple(model.views)
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 (closed by __exit__)
        self._parts: list[_Part]
        self._weight = model.weight if isinstance(model, FusedDetector) else 1.0
        if isinstance(model, FusedDetector):
            related = _Related(model.ssrl, device, chunk, self._file)
            self._parts = [related, _PerSnippet(model.memory)]
        elif isinstance(model, SSRL):
            self._parts = [_Related(model, device, chunk, self._file)]
        else:
            self._parts = [_PerSnippet(model)]
        self._waiting: list[Mapping[str, Tensor]] = []
        self._snippets = 0  # of those waiting

    def __enter__(self) -> "ScoreStream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, views: Mapping[str, Tensor]) -> None:
        """The next snippets: view name -> [n, P, F]. Few at a time wait for others to come."""
        self._waiting.append(views)
        self._snippets += len(views[self._views[0]])
        if self._snippets >= self.chunk:
            self._pass_on()

    def scores(self) -> Tensor:
        """[T] of all snippets so far, on the CPU."""
        self._pass_on()
        with allow_tf32(False, self.device):
            first, *second = (part.scores() for part in self._parts)
        return blend(first, second[0], self._weight) if second else first

    @torch.inference_mode()
    def _pass_on(self) -> None:
        waiting, count = self._waiting, self._snippets
        self._waiting, self._snippets = [], 0
        if not count:
            return
        joined = {name: torch.cat([views[name] for views in waiting]) for name in self._views}
        for begin in range(0, count, self.chunk):
            piece = {n: rows[None, begin : begin + self.chunk].to(self.device) for n, rows in joined.items()}
            with allow_tf32(False, self.device):
                for part in self._parts:
                    part.add(piece)


class _Part(Protocol):
    """A model that scores by itself."""

    def add(self, views: Mapping[str, Tensor]) -> None:
        """View name -> [1, n, P, F]."""

    def scores(self) -> Tensor:
        """[T], on the CPU."""


class _PerSnippet:
    """The memory: no snippet knows of another."""

    def __init__(self, model: PatchMemory):
        self.model = model
        self._scores: list[Tensor] = []  # on the device, which nobody waits for until the end

    def add(self, views: Mapping[str, Tensor]) -> None:
        self._scores.append(self.model(views).scores[0])

    def scores(self) -> Tensor:
        if not self._scores:
            raise ValueError("there is no snippet to score")
        return torch.cat(self._scores).cpu()


class _Related:
    """SSRL: the first pass in :meth:`add`, the second in :meth:`scores`."""

    def __init__(self, model: SSRL, device: torch.device, chunk: int, file: IO[bytes]):
        self.model, self.device, self.chunk = model, device, chunk
        self._file = file  # the sums, float32 [T, C, F]
        self._file.truncate(0)
        self._snippets, self._crops = 0, 0
        self._gathered = torch.zeros((), dtype=torch.float64, device=self.device)  # then [C, inner, inner]

    def add(self, views: Mapping[str, Tensor]) -> None:
        x = summed_views(self.model, views)[0]  # [C, n, F]
        self._crops = len(x)
        self._snippets += x.shape[1]
        self._gathered = self._gathered + gather(self.model.relation, x).double()
        self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(x.transpose(0, 1).contiguous().cpu().numpy().data)
        except OSError as error:
            raise PipelineError(
                f"{tempfile.gettempdir()}: no room for the intermediate results of a long video ({error}); "
                "name a folder with more of it in TMPDIR"
            ) from error

    @torch.inference_mode()
    def scores(self) -> Tensor:
        if not self._snippets:
            raise ValueError("there is no snippet to score")
        block = self.model.relation
        gathered = (self._gathered / self._snippets).float()
        halo, scores = reach(block), []
        for begin in range(0, self._snippets, self.chunk):
            end = min(begin + self.chunk, self._snippets)
            low, high = max(begin - halo, 0), min(end + halo, self._snippets)
            x = self._read(low, high).to(self.device).transpose(0, 1)  # [C, n, F]
            features = relate(block, x, gathered)[:, begin - low : end - low]
            scores.append(self.model.head(features).squeeze(-1).mean(dim=0))
        return torch.cat(scores).cpu()

    def _read(self, begin: int, end: int) -> Tensor:
        """The sums [n, C, F] of some snippets."""
        row = self._crops * self.model.feature_size * torch.float32.itemsize
        self._file.seek(begin * row)
        content = bytearray(self._file.read((end - begin) * row))
        return torch.frombuffer(content, dtype=torch.float32).view(end - begin, self._crops, -1)


def summed_views(model: SSRL, views: Mapping[str, Tensor]) -> Tensor:
    """What the relation over time takes: crops with patch branches added, [B, C, T, F]."""
    summed: Tensor = model.scaling("clip", views["clip"]).transpose(1, 2)
    for scale in model.scales:
        summed = summed + model.branch(scale, views[view_of(scale)])[:, None]
    return summed


def reach(block: RelationBlock) -> int:
    """How many neighbours to either side a relation block's convolutions look at."""

    def farthest(part: nn.Module) -> int:
        return max(int(conv.padding[0]) for conv in part.modules() if isinstance(conv, nn.Conv1d))

    return farthest(block.local) + farthest(block.fuse)


def gather(block: RelationBlock, x: Tensor) -> Tensor:
    """What the non-local block takes from elements [B, n, F]: the sum of g phi^T, [B, inner, inner]."""
    reduced = block.reduce(x.transpose(1, 2))
    g: Tensor = block.non_local.g(reduced)
    return g @ block.non_local.phi(reduced).transpose(1, 2)


def relate(block: RelationBlock, x: Tensor, gathered: Tensor) -> Tensor:
    """A relation block over a stretch of a sequence, whose ends are taken for the sequence's own.

    Args:
        x: [B, n, F]. Results less than :func:`reach` from an end that is not the sequence's are wrong.
        gathered: :func:`gather` of the whole sequence, divided by its length.

    Returns:
        [B, n, F].
    """
    x = x.transpose(1, 2)  # [B, F, n]
    reduced, far = block.reduce(x), block.non_local
    related = reduced + far.norm(far.out(gathered @ far.theta(reduced)))
    branches = [branch(x) for branch in block.local]
    return (x + block.fuse(torch.cat([*branches, related], dim=1))).transpose(1, 2)
