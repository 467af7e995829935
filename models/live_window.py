"""Scores of a stream that never ends: each snippet among the latest, in constant time and memory.

What the relation over time takes of a snippet, crops and patch branches summed up, does not
depend on the other snippets. So it is computed once, and a window keeps these sums alone; the
relation and the head pass over the window for each new snippet. Scores are those that the
model gives the window as if it were a whole video.

Dimensions: B cameras, n snippets of a window, C crops, P crops or patches, F feature size.
"""

from collections import deque
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ssrl_pipeline.models.fused import FusedDetector, blend
from ssrl_pipeline.models.long_video import summed_views
from ssrl_pipeline.models.memory import PatchMemory
from ssrl_pipeline.models.ssrl import SSRL
from ssrl_pipeline.tf32 import allow_tf32


class Window:
    """The latest snippets of one camera; :class:`WindowScorer` fills and reads it."""

    def __init__(self, size: int):
        self.sums: deque[Tensor] = deque(maxlen=size)  # [C, F] each; of SSRL
        self.alone: deque[Tensor] = deque(maxlen=size)  # [] each: scores of the memory
        self.unscored = 0  # how many of the newest have no score yet

    def clear(self) -> None:
        """What follows is no neighbour of what was."""
        self.sums.clear()
        self.alone.clear()
        self.unscored = 0


class WindowScorer:
    """Scores the snippets of several cameras at once, each among the latest of its own.

    Args:
        model: on `device` and in evaluation mode.
        size: snippets that a window holds.
        delay: how many newer snippets a score waits for, fewer than `size`. The
            relation's convolutions look :func:`~ssrl_pipeline.models.long_video.reach`
            snippets ahead.

    Raises:
        ValueError: the model is in training mode, or size and delay do not go together.
    """

    def __init__(
        self, model: SSRL | PatchMemory | FusedDetector, device: torch.device, size: int, delay: int = 0
    ):
        if model.training:
            raise ValueError(
                "the model is in training mode, where a window differs from the whole; use eval()"
            )
        if not 0 <= delay < size:
            raise ValueError(
                f"a delay is zero or more snippets and less than the window's {size}, not {delay}"
            )
        self.device, self.size, self.delay, self._views = device, size, delay, tuple(model.views)
        self._ssrl: SSRL | None = None
        self._memory: PatchMemory | None = None
        self._weight = 1.0
        if isinstance(model, FusedDetector):
            self._ssrl, self._memory, self._weight = model.ssrl, model.memory, model.weight
        elif isinstance(model, SSRL):
            self._ssrl = model
        else:
            self._memory = model

    def window(self) -> Window:
        """An empty one."""
        return Window(self.size)

    @torch.inference_mode()
    def add(self, windows: Sequence[Window], views: Mapping[str, Tensor]) -> list[float | None]:
        """The next snippet of each of several cameras.

        Args:
            windows: B different ones.
            views: view name -> [B, P, F], in the order of the windows.

        Returns:
            For each the score of its snippet `delay` ago; None where there was none yet.
        """
        rows = {name: views[name][:, None].to(self.device) for name in self._views}  # [B, 1, P, F]
        with allow_tf32(False, self.device):
            self._take(windows, rows)
        for window in windows:
            window.unscored += 1
        due = [window for window in windows if window.unscored > self.delay]
        scores = dict(zip(map(id, due), self._score(due), strict=True))
        for window in due:
            window.unscored -= 1
        return [scores.get(id(window)) for window in windows]

    def _take(self, windows: Sequence[Window], rows: Mapping[str, Tensor]) -> None:
        """What of each snippet does not depend on others."""
        if self._ssrl:
            for window, sums in zip(windows, summed_views(self._ssrl, rows)[:, :, 0], strict=True):
                window.sums.append(sums.clone())  # a view would keep the whole batch
        if self._memory:
            for window, score in zip(windows, self._memory(rows).scores[:, 0], strict=True):
                window.alone.append(score.clone())

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
        ahead = [window.unscored for window in windows]
        memory = [w.alone[-k] for w, k in zip(windows, ahead, strict=True)] if self._memory else []
        if not self._ssrl:
            return torch.stack(memory).tolist()
        related: list[Tensor] = [torch.empty(0)] * len(windows)
        for length in {len(window.sums) for window in windows}:  # one, once all have been full
            same = [i for i, window in enumerate(windows) if len(window.sums) == length]
            x = torch.stack([torch.stack(tuple(windows[i].sums), dim=1) for i in same])  # [B, C, n, F]
            with allow_tf32(False, self.device):
                features = self._ssrl.relation(x.flatten(0, 1)).view(x.shape)
            chosen = torch.stack([features[row, :, -ahead[i]] for row, i in enumerate(same)])  # [B, C, F]
            for i, score in zip(same, self._ssrl.head(chosen).squeeze(-1).mean(dim=1), strict=True):
                related[i] = score
        scores = torch.stack(related)
        return (blend(scores, torch.stack(memory), self._weight) if memory else scores).tolist()
