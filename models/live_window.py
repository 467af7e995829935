"""Scores of a stream that never ends: each snippet among the latest, in constant time and memory.

What a detector that relates snippets takes of each (its `summarise`; of SSRL the sum of crops
and patch branches) does not depend on the other snippets. So it is computed once, and a window
keeps these summaries alone; what relates them passes over the window for each new snippet.
Scores are those that the model gives the window as if it were a whole video.

Dimensions: B cameras, n snippets of a window, R rows of W numbers a snippet, P crops or patches,
F feature size.
"""

from collections import deque
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ssrl_pipeline.models.detector import Detector, Hidden
from ssrl_pipeline.tf32 import allow_tf32


class Window:
    """The latest snippets of one camera; :class:`WindowScorer` fills and reads it."""

    def __init__(self, size: int, parts: int):
        # Of each part of the model: [R, W] a snippet, or a score [] where it does not relate snippets.
        self.kept: list[deque[Tensor]] = [deque(maxlen=size) for _ in range(parts)]
        self.unscored = 0  # how many of the newest have no score yet

    def clear(self) -> None:
        """What follows is no neighbour of what was."""
        for kept in self.kept:
            kept.clear()
        self.unscored = 0


class WindowScorer:
    """Scores the snippets of several cameras at once, each among the latest of its own.

    Args:
        model: on `device` and in evaluation mode.
        size: snippets that a window holds.
        delay: how many newer snippets a score waits for, fewer than `size`. The
            model looks its `reach` of snippets ahead.

    Raises:
        ValueError: the model is in training mode, or size and delay do not go together.
    """

    def __init__(self, model: Detector, device: torch.device, size: int, delay: int = 0):
        if model.training:
            raise ValueError(
                "the model is in training mode, where a window differs from the whole; use eval()"
            )
        if not 0 <= delay < size:
            raise ValueError(
                f"a delay is zero or more snippets and less than the window's {size}, not {delay}"
            )
        self.model, self.device, self.size, self.delay = model, device, size, delay

    def window(self) -> Window:
        """An empty one."""
        return Window(self.size, len(self.model.parts))

    @torch.inference_mode()
    def add(
        self, windows: Sequence[Window], views: Mapping[str, Tensor], hidden: Hidden | None = None
    ) -> list[float | None]:
        """The next snippet of each of several cameras.

        Args:
            windows: B different ones.
            views: view name -> [B, P, F], in the order of the windows.
            hidden: some of the views -> bool [B, P], patches that do not count; see :meth:`Detector.hide`.

        Returns:
            For each the score of its snippet `delay` ago; None where there was none yet.
        """
        rows = {name: views[name][:, None].to(self.device) for name in self.model.views}  # [B, 1, P, F]
        hidden = {name: which.to(self.device) for name, which in (hidden or {}).items() if name in rows}
        with allow_tf32(False, self.device):
            self._take(windows, rows, hidden)
        for window in windows:
            window.unscored += 1
        due = [window for window in windows if window.unscored > self.delay]
        scores = dict(zip(map(id, due), self._score(due), strict=True))
        for window in due:
            window.unscored -= 1
        return [scores.get(id(window)) for window in windows]

    def _take(self, windows: Sequence[Window], rows: Mapping[str, Tensor], hidden: Hidden) -> None:
        """What of each snippet does not depend on others."""
        for i, part in enumerate(self.model.parts):
            own = {name: which for name, which in hidden.items() if name in part.views}
            if part.related:
                taken = part.summarise(part.hide(rows, own) if own else rows)[:, :, 0]
            else:
                taken = part.raw(rows, own)[:, 0]
            for window, row in zip(windows, taken, strict=True):
                window.kept[i].append(row.clone())  # a view would keep the whole batch

    @torch.inference_mode()
    def finish(self, window: Window) -> list[float]:
        """The scores that still wait for snippets which will not come; the window is empty then."""
        scores = []
        while window.unscored:
            scores += self._score([window])
            window.unscored -= 1
        window.clear()
        return scores

    def _score(self, windows: Sequence[Window]) -> list[float]:
        """Of each window's oldest snippet without a score."""
        if not windows:
            return []
        scores = []
        for i, part in enumerate(self.model.parts):
            kept = [window.kept[i] for window in windows]
            ahead = [window.unscored for window in windows]
            with allow_tf32(False, self.device):
                scores.append(_related(part, kept, ahead) if part.related else _at(kept, ahead))
        found: list[float] = self.model.outward(scores).tolist()
        return found


def _at(windows: Sequence[deque[Tensor]], ahead: Sequence[int]) -> Tensor:
    """What of each window is `ahead` from its end, stacked: [B, ...]."""
    return torch.stack([window[-k] for window, k in zip(windows, ahead, strict=True)])


def _related(model: Detector, windows: Sequence[deque[Tensor]], ahead: Sequence[int]) -> Tensor:
    """[B]: the scores of the snippets that are `ahead` from the end, each in its window of summaries."""
    scores = [torch.empty(0)] * len(windows)
    places = [(len(window), len(window) - k) for window, k in zip(windows, ahead, strict=True)]
    for length, place in set(places):  # one, once all have been full
        same = [i for i, other in enumerate(places) if other == (length, place)]
        summary = torch.stack([torch.stack(tuple(windows[i]), dim=1) for i in same])  # [B, R, n, W]
        gathered = model.gather(summary) / length
        low = max(place - model.reach, 0)  # what is farther away counts by what is gathered alone
        related = model.relate(summary[:, :, low : place + model.reach + 1], gathered)
        for i, score in zip(same, model.score(related[:, :, place - low]), strict=True):
            scores[i] = score
    return torch.stack(scores)
