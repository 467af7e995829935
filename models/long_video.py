"""Scores of a video of any length, exactly: its features come in chunks and go again.

A detector that relates snippets (:class:`~ssrl_pipeline.models.detector.Detector`)
tells what it takes of each by itself. A first pass lays these summaries [T, R, W]
aside in a temporary file, chunk by chunk, and adds up what the model gathers of the
whole video. A second pass reads them back, with the few neighbours to either side
that the model reaches. Time grows with T, memory does not.

In SSRL snippets meet in one place alone, the relation block over time. A summary is
the sum of crops and patch branches, R = C and W = F; the non-local block has no
softmax, so that what it needs of the whole video is one matrix for each crop, the
sum over snippets of g phi^T. The file takes 4 C F bytes a snippet: of 24 hours at
30 frames a second (162,000 snippets) 0.7 GB for one crop of 1024 features, 6.6 GB
for ten. All features of the paper's 59 crops and patches would take 39 GB. It lies
in the folder that TMPDIR names, which should be on a disk: in one kept in memory it
counts as such.

Dimensions: T snippets, n of them at a time, R rows of W numbers a snippet, C crops, P crops or patches,
F feature size.
"""

import math
import os
import tempfile
from collections.abc import Iterable, Mapping
from types import TracebackType

import torch
from torch import Tensor

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.models.detector import Detector, Hidden
from ssrl_pipeline.tf32 import allow_tf32

CHUNK = 256  # snippets that pass the model at once
IN_MEMORY = 256 << 20  # bytes of summaries that need no file


def score_long(
    model: Detector,
    chunks: Iterable[Mapping[str, Tensor]],
    device: torch.device,
    hidden: Hidden | None = None,
) -> Tensor:
    """The scores that `model` gives the whole video at once, without ever holding it.

    Args:
        model: on `device` and in evaluation mode.
        chunks: one after the other, each view name -> [n, P, F] of any n.
        hidden: some of the views -> bool [1, P], patches that do not count; see :meth:`Detector.hide`.

    Returns:
        float32 [T], on the CPU.

    Raises:
        ValueError: the model is in training mode, or there is no snippet.
        PipelineError: the temporary file cannot be written.
    """
    with ScoreStream(model, device, hidden=hidden) as stream:
        for chunk in chunks:
            stream.add(chunk)
        return stream.scores()


class ScoreStream:
    """Takes the features of one video as they come, then tells its scores; see :func:`score_long`."""

    def __init__(
        self, model: Detector, device: torch.device, chunk: int = CHUNK, *, hidden: Hidden | None = None
    ):
        if model.training:
            raise ValueError("the model is in training mode, where chunks differ from the whole; use eval()")
        self.model, self.device, self.chunk = model, device, chunk
        shut = {name: which.to(device) for name, which in (hidden or {}).items()}
        self._parts: list[_Related | _Alone] = []
        for part in model.parts:
            own = {name: which for name, which in shut.items() if name in part.views}
            self._parts.append(_Related(part, device, chunk, own) if part.related else _Alone(part, own))
        self._waiting: list[Mapping[str, Tensor]] = []
        self._snippets = 0  # of those waiting

    def __enter__(self) -> "ScoreStream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for part in self._parts:
            part.close()

    def add(self, views: Mapping[str, Tensor]) -> None:
        """The next snippets: view name -> [n, P, F]. Few at a time wait for others to come."""
        self._waiting.append(views)
        self._snippets += len(views[next(iter(self.model.views))])
        if self._snippets >= self.chunk:
            self._pass_on()

    def scores(self) -> Tensor:
        """[T] of all snippets so far, on the CPU."""
        self._pass_on()
        with allow_tf32(False, self.device):
            scores = [part.scores() for part in self._parts]
        return self.model.outward(scores)

    @torch.inference_mode()
    def _pass_on(self) -> None:
        waiting, count = self._waiting, self._snippets
        self._waiting, self._snippets = [], 0
        if not count:
            return
        joined = {name: torch.cat([views[name] for views in waiting]) for name in self.model.views}
        for begin in range(0, count, self.chunk):
            piece = {n: rows[None, begin : begin + self.chunk].to(self.device) for n, rows in joined.items()}
            with allow_tf32(False, self.device):
                for part in self._parts:
                    part.add(piece)


class _Alone:
    """A detector whose snippets do not know of one another."""

    def __init__(self, model: Detector, hidden: Hidden):
        self.model, self.hidden = model, hidden
        self._scores: list[Tensor] = []  # on the device, which nobody waits for until the end

    def add(self, views: Mapping[str, Tensor]) -> None:
        """View name -> [1, n, P, F]."""
        self._scores.append(self.model.raw(views, self.hidden)[0])

    def scores(self) -> Tensor:
        """[T], on the CPU."""
        if not self._scores:
            raise ValueError("there is no snippet to score")
        return torch.cat(self._scores).cpu()

    def close(self) -> None:
        pass


class _Related:
    """A detector that relates snippets: the first pass in :meth:`add`, the second in :meth:`scores`."""

    def __init__(self, model: Detector, device: torch.device, chunk: int, hidden: Hidden):
        self.model, self.device, self.chunk, self.hidden = model, device, chunk, hidden
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 (closed by close)
        self._snippets, self._shape = 0, (0, 0)  # T; R and W of the summaries, float32 [T, R, W] in the file
        self._gathered = torch.zeros((), dtype=torch.float64, device=self.device)  # then as the model has it

    def add(self, views: Mapping[str, Tensor]) -> None:
        """View name -> [1, n, P, F]."""
        shown = self.model.hide(views, self.hidden) if self.hidden else views
        summary = self.model.summarise(shown)  # [1, R, n, W]
        _, rows, count, width = summary.shape
        self._snippets, self._shape = self._snippets + count, (rows, width)
        self._gathered = self._gathered + self.model.gather(summary).double()
        self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(summary[0].transpose(0, 1).contiguous().cpu().numpy().data)
        except OSError as error:
            raise PipelineError(
                f"{tempfile.gettempdir()}: no room for the intermediate results of a long video ({error}); "
                "name a folder with more of it in TMPDIR"
            ) from error

    @torch.inference_mode()
    def scores(self) -> Tensor:
        """[T], on the CPU."""
        if not self._snippets:
            raise ValueError("there is no snippet to score")
        gathered = (self._gathered / self._snippets).float()
        halo, scores = self.model.reach, []
        for begin in range(0, self._snippets, self.chunk):
            end = min(begin + self.chunk, self._snippets)
            low, high = max(begin - halo, 0), min(end + halo, self._snippets)
            summary = self._read(low, high).to(self.device).transpose(0, 1)[None]  # [1, R, n, W]
            related = self.model.relate(summary, gathered)[:, :, begin - low : end - low]
            scores.append(self.model.score(related)[0])
        return torch.cat(scores).cpu()

    def _read(self, begin: int, end: int) -> Tensor:
        """The summaries [n, R, W] of some snippets."""
        row = math.prod(self._shape) * torch.float32.itemsize
        self._file.seek(begin * row)
        content = bytearray(self._file.read((end - begin) * row))
        return torch.frombuffer(content, dtype=torch.float32).view(end - begin, *self._shape)

    def close(self) -> None:
        self._file.close()
