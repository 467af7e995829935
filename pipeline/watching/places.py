"""Where a camera's events are: the heat of their peaks, from which the zones are told that they are in.

Dimensions: P patches of a scale, n snippets of a window, F feature size.
"""

from collections import deque
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ssrl_pipeline.models import Detector
from ssrl_pipeline.scales import view_of
from ssrl_pipeline.tf32 import allow_tf32

MOST_PEAKS = 1024  # of one event: its score has risen so often


class RecentHeat:
    """The heat of a camera's latest snippets that scored higher than those before them, as events peak there.

    Heat is asked for among the snippets of the window, as scores are.

    Args:
        model: on `device` and in evaluation mode.
        size: snippets of a window.
        hidden: view -> bool [P], patches that do not count.
    """

    def __init__(self, model: Detector, device: torch.device, size: int, hidden: Mapping[str, np.ndarray]):
        self._model, self._device = model, device
        self._hidden = hidden
        self._window: deque[tuple[int, Mapping[str, Tensor]]] = deque(maxlen=size)  # first frame, [1, P, F]
        self._peaks: deque[tuple[int, Mapping[str, np.ndarray]]] = deque(maxlen=MOST_PEAKS)
        self._highest: float | None = None  # score since it was last below the lower threshold

    def add(self, frame: int, views: Mapping[str, Tensor]) -> None:
        """The next snippet, [1, P, F] of each view; `frame` is the number of its first."""
        self._window.append((frame, views))

    def score(self, frame: int, score: float, low: float) -> None:
        """Of a snippet; one that came before there were zones, and was not added, has no heat."""
        if all(first != frame for first, _ in self._window):
            return
        if score < low:
            self._highest = None
        elif self._highest is None or score > self._highest:
            self._highest = score
            self._peaks.append((frame, self._heat(frame)))

    def at(self, frame: int) -> Mapping[str, np.ndarray]:
        """Scale -> [P], of the peak that a frame belongs to; nothing where that is not known."""
        before = [heat for first, heat in self._peaks if first <= frame]
        return before[-1] if before else {}

    def forget(self, before: int) -> None:
        """Peaks of no later event: those that are followed by another up to a frame."""
        while len(self._peaks) > 1 and self._peaks[1][0] <= before:
            self._peaks.popleft()

    def clear(self) -> None:
        """What follows is no neighbour of what was."""
        self._window.clear()
        self._highest = None

    @torch.no_grad()
    def _heat(self, frame: int) -> dict[str, np.ndarray]:
        numbers = [first for first, _ in self._window]
        views = {
            name: torch.stack([views[name] for _, views in self._window], dim=1).to(self._device)
            for name in self._model.views
        }  # [1, n, P, F]
        own = {name: which for name, which in self._hidden.items() if name in views}
        if own:
            views |= self._model.hide(
                views, {name: torch.from_numpy(which)[None].to(self._device) for name, which in own.items()}
            )
        with allow_tf32(False, self._device):
            heat = self._model.heat(views)
        found = {scale: rows[0, numbers.index(frame)].cpu().numpy() for scale, rows in heat.items()}
        return {
            scale: np.where(own[view_of(scale)], 0, rows) if view_of(scale) in own else rows
            for scale, rows in found.items()
        }
