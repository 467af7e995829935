"""Patches that do not change are not described again: their last description is taken once more.

Each frame is reduced to the means of blocks, 36 rows of 63: their grey, and half of each colour. A clip,
which is a crop or a patch of a snippet, is unchanged if none of these in it has moved by 6 levels or more
over all frames of two snippets together: this one, and the last one that the clip was described of. So what
was described was as still, and what drifts slowly is compared to where its drift began, until it has gone
too far. A description is for 128 snippets and three minutes at most; then a video's clips are described
again, those of the same age together: a camera whose snippet is described waits for others, so it should
seldom be. In each 200th snippet all are described though they have not changed, which tells what the rule
costs. When that is, and how much less than 128 it is, depends on what a video shows first, or cameras that
began together would come of age together.

What may be lost, reckoned for a frame of height H: a block is H / 36 high and, at 16:9, H / 35 wide. Where
four blocks share a square of H / 40 evenly, it covers a fifth of each: it moves them by 6 if its grey is 30
levels off the ground's. One that is 0.4 times as wide, like a person, has to be 75 off for that. But what
moves fills a block now and then, so that 8 and 20 are enough. What the sensor adds to a block of n pixels has
the deviation sigma / sqrt(n).

The means are compared as whole sums of pixels: every machine decides the same, and nothing depends on how
snippets are grouped. The rule looks at no more than the snippets of a video so far, in order, and at
their times.

Dimensions: P clips of a cut, U of all cuts, R x C blocks, D feature size.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ssrl_pipeline.extractors.passes import Pass, Wanted
from ssrl_pipeline.extractors.repeats import Repeats, UnchangedRule
from ssrl_pipeline.extractors.views import Box

_PARTS = 256  # of a level
_SHARES = 251  # into which what is seen first parts videos
_WEIGHTS = np.array(
    [(77, 150, 29), (128, 0, 0), (0, 128, 0), (0, 0, 128)]
)  # grey, as of JPEG; half of colours


class Blocks(NamedTuple):
    """The range of what is compared over the frames of a snippet, int64 [R, C, 4]."""

    low: np.ndarray
    high: np.ndarray


class BlockGrid:
    """The blocks of frames of one size. Where a side has fewer pixels than blocks, each pixel is one."""

    def __init__(self, height: int, width: int, rule: UnchangedRule):
        rows, columns = min(rule.rows, height), min(rule.columns, width)
        self.height, self.width = height, width
        self.tops = np.arange(rows + 1) * height // rows
        self.lefts = np.arange(columns + 1) * width // columns
        pixels = np.diff(self.tops)[:, None, None] * np.diff(self.lefts)[:, None]
        self.limits = rule.levels * _PARTS * pixels  # int64 [R, C, 1]: what moves by less has not changed

    def of(self, frames: np.ndarray) -> Blocks:
        """Of a snippet, uint8 [t, H, W, 3]."""
        sums = self._sums(frames)
        return Blocks(sums.min(0), sums.max(0))

    def _sums(self, frames: np.ndarray) -> np.ndarray:
        """int64 [t, R, C, 4]. Row by row of blocks of all frames, which is much faster than all at once."""
        lines = frames.reshape(len(frames), self.height, -1)
        # The smaller is faster, and holds the sum of 257 lines.
        dtype = np.uint16 if np.diff(self.tops).max() < 256 else np.uint32
        rows = np.stack([lines[:, a:b].sum(1, dtype=dtype) for a, b in pairwise(self.tops)], axis=1)
        rows = rows.reshape(*rows.shape[:2], self.width, -1)
        sums = np.add.reduceat(rows, self.lefts[:-1], axis=2, dtype=np.int64)
        return sums @ _WEIGHTS.T

    def within(self, box: Box, height: int, width: int) -> tuple[slice, slice]:
        """The blocks that a box of a frame of another size has a share in."""
        top, bottom, left, right = box
        return (
            _cells(self.tops, top * self.height // height, -(-bottom * self.height // height)),
            _cells(self.lefts, left * self.width // width, -(-right * self.width // width)),
        )


def _cells(borders: np.ndarray, begin: int, end: int) -> slice:
    first = int(np.searchsorted(borders, begin, "right")) - 1
    return slice(first, int(np.searchsorted(borders, end, "left")))


class Unchanged:
    """Follows one video or camera: decides, snippet by snippet, what is described, and completes it.

    Args:
        rule: that decides; None: all is described.
        passes: of the extractor.
    """

    def __init__(self, rule: UnchangedRule | None, passes: Sequence[Pass]):
        self.repeats = Repeats()
        self._rule, self._passes = rule, tuple(passes)
        self._counts = [one.cut.count for one in self._passes]
        self._size: tuple[int, int] | None = None
        self._last: dict[str, np.ndarray] = {}  # view -> [1, P, D]

    def decide(self, frames: np.ndarray, time_s: float = 0.0) -> Wanted:
        """Of the next snippet. What it says is to be described, must be.

        Args:
            frames: uint8 [t, H, W, 3].
            time_s: when the first is shown; always the same where that is not known.
        """
        if self._rule is None:
            return Wanted.everything(self._passes)
        size = frames.shape[1], frames.shape[2]
        if size != self._size:
            self._begin(self._rule, *size)
        blocks = self._grid.of(frames)
        if not self._snippets:
            self._plan(self._rule, int(blocks.low.sum()) % _SHARES / _SHARES)
        changed = np.array([not self._is_still(unit, blocks) for unit in range(sum(self._counts))])
        checked = ~changed & self._is_checked(self._rule, time_s)
        self._ages += 1
        self._snippets += 1
        for unit in np.flatnonzero(changed | checked):
            region = self._regions[unit]
            self._low[unit], self._high[unit] = blocks.low[region], blocks.high[region]
            self._ages[unit], self._times[unit] = 0, time_s
        ends = np.cumsum(self._counts)[:-1]
        return Wanted(tuple(np.split(changed | checked, ends)), tuple(np.split(checked, ends)))

    def complete(self, features: Mapping[str, np.ndarray], wanted: Wanted) -> dict[str, np.ndarray]:
        """What was described of a snippet, with the last description of the rest.

        Args:
            features: view name -> [1, P, D]; rows that were not described may be anything.
            wanted: what :meth:`decide` said of it. Snippets come in the same order.
        """
        if self._rule is None:
            return dict(features)
        full = dict(features)
        for one, described, checked in zip(self._passes, *wanted, strict=True):
            for view in one.views:
                new, share = features[view.name], view.count // one.cut.count  # a dense pass has one clip
                rows, again = np.repeat(described, share), np.repeat(checked, share)
                last = self._last.get(view.name, new)
                self.repeats.count(view.name, int((~rows).sum()), len(rows))
                self.repeats.compare(last[0, again], new[0, again])
                full[view.name] = self._last[view.name] = np.where(rows[:, None], new, last)
        return full

    def restart(self) -> None:
        """What follows is not compared to what was; the counts go on."""
        self._size = None

    def _begin(self, rule: UnchangedRule, height: int, width: int) -> None:
        """With frames of another size, all is described."""
        self._size, self._snippets = (height, width), 0
        self._grid = BlockGrid(height, width, rule)
        self._regions = []
        for one in self._passes:
            resized = one.cut.resize.fitted(height, width)
            self._regions += [self._grid.within(box, *resized) for box in one.cut.boxes(*resized)]
        units = len(self._regions)
        self._ages = np.zeros(units, np.int64)  # snippets since each was described
        self._times = np.zeros(units)  # when it was
        self._low: list[np.ndarray] = [np.empty(0)] * units
        self._high: list[np.ndarray] = [np.empty(0)] * units

    def _plan(self, rule: UnchangedRule, share: float) -> None:
        """When descriptions come of age, in the last quarter of what the rule allows, and are checked."""
        self._oldest = rule.snippets - 1 - int(share * rule.snippets / 4)
        self._longest = (rule.seconds or np.inf) * (1 - share / 4)
        self._turn = int(share * rule.checked)

    def _is_still(self, unit: int, blocks: Blocks) -> bool:
        if not self._snippets:
            return False
        region = self._regions[unit]
        high = np.maximum(blocks.high[region], self._high[unit])
        moved = high - np.minimum(blocks.low[region], self._low[unit])
        return bool((moved < self._grid.limits[region]).all())

    def _is_checked(self, rule: UnchangedRule, time_s: float) -> np.ndarray:
        """bool [U]: the clips that are described even where they have not changed."""
        of_age = (self._ages >= self._oldest) | (time_s - self._times >= self._longest)
        checked: np.ndarray = of_age | (self._snippets % rule.checked == self._turn)
        return checked


def describe_all() -> Unchanged:
    """By no rule: all of every snippet is described."""
    return Unchanged(None, ())
