"""What every kind of detector does: all that streams, windows, heat, export and checkpoints know of one.

Dimensions: B videos, T snippets, n of them at a time, R rows of W numbers a snippet, P crops or patches,
F feature size.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ssrl_pipeline.models.lessons import Lesson

Hidden = Mapping[str, Tensor]  # view name -> bool [B, P]: patches that do not count
MOST_LEVEL = 80  # log odds; single precision tells scores down to -87


class Scores(Protocol):
    """What a detector's forward gives, a named tuple; a kind may give more."""

    @property
    def scores(self) -> Tensor:
        """[B, T], 0 to 1."""

    def _replace(self, *, scores: Tensor) -> "Scores": ...


class Footage(Protocol):
    """What one camera normally shows: N snippets, in order of time."""

    @property
    def parts(self) -> np.ndarray:
        """int [N], ascending: which stretch of time each snippet is of."""

    def read(self, view: str) -> Tensor:
        """Features of one view, float32 [N, P, F]."""


class Detector(nn.Module):
    """Scores the snippets of videos from their features.

    A kind is a class in a module of its own, named in :data:`ssrl_pipeline.models.KINDS`. One that
    scores each snippet by itself fulfils :attr:`arguments` and :meth:`forward`, and sets
    `feature_size` and `views`. One that relates the snippets of a video also says `related` and
    fulfils :attr:`reach`, :meth:`summarise`, :meth:`gather`, :meth:`relate` and :meth:`score`, of
    which a video of any length is scored in two passes. One made of others fulfils :attr:`parts`
    and :meth:`combine`.

    What these methods give are raw scores. To others a detector tells :meth:`calibrated` ones, of
    which 0.5 is the threshold of alarms: when it is called, in streams, windows and exported graphs.
    """

    kind: ClassVar[str]  # its name in settings and checkpoints
    related: ClassVar[bool] = False  # whether a snippet's score depends on the other snippets
    feature_size: int  # F
    views: dict[str, int]  # view name -> P, the number of crops or patches that forward takes
    level: float = 0.0  # log odds of the raw score that is 0.5 once calibrated

    @property
    def sizes(self) -> dict[str, int]:
        """View name -> F: a view may have a size of its own."""
        return dict.fromkeys(self.views, self.feature_size)

    @property
    def arguments(self) -> dict[str, Any]:
        """Of its class: what a checkpoint keeps beside the weights, numbers, text, lists and mappings."""
        raise NotImplementedError

    def forward(self, views: Mapping[str, Tensor]) -> Scores:
        """Scores whole videos: view name -> [B, T, P, F].

        Raises:
            ValueError: a view is missing or has another shape.
        """
        raise NotImplementedError

    def require(
        self, views: Mapping[str, Tensor], names: Iterable[str] | None = None, uncounted: Collection[str] = ()
    ) -> None:
        """Sees whether views are those of :meth:`forward`.

        Args:
            names: which of them; None: all.
            uncounted: those that may have any number of crops, which only meet in a mean.

        Raises:
            ValueError: a view is missing or has another shape.
        """
        for name in self.views if names is None else names:
            if name not in views:
                raise ValueError(f"view {name!r} is missing; there are {', '.join(views) or 'none'}")
            shape, count, size = tuple(views[name].shape), self.views[name], self.sizes[name]
            if len(shape) != 4 or shape[3] != size or (shape[2] != count and name not in uncounted):
                raise ValueError(f"view {name!r} is [B, T, {count}, {size}], not {list(shape)}")

    def __call__(self, views: Mapping[str, Tensor]) -> Any:
        """What :meth:`forward` gives, with calibrated scores."""
        output = super().__call__(views)
        return output._replace(scores=self.calibrated(output.scores)) if self.level else output

    def raw(self, views: Mapping[str, Tensor], hidden: Hidden | None = None) -> Tensor:
        """[B, T]: raw scores of whole videos; `views` as of :meth:`forward`, `hidden` as of :meth:`hide`."""
        return self.forward(self.hide(views, hidden) if hidden else views).scores

    def hide(self, views: Mapping[str, Tensor], hidden: Hidden) -> Mapping[str, Tensor]:
        """What is scored where some patches must not count, and do not: whatever they show, it is the same.

        They take the features of the first patch of their view that counts. So they are left out, exactly,
        where the greatest over the patches is taken; a kind that does otherwise has a way of its own.

        Args:
            views: view name -> [B, T, P, F].
            hidden: some of the views -> bool [B, P]; in none of them all of a video's patches.
        """
        return {
            name: _covered(rows, hidden[name]) if name in hidden else rows for name, rows in views.items()
        }

    def calibrated(self, scores: Tensor) -> Tensor:
        """Raw scores with :attr:`level` taken off their log odds: in the same order, 0 and 1 stay."""
        # Each operation rounds in one direction, so that no two scores change places.
        return 1 / (1 + (1 - scores) / scores * math.exp(self.level)) if self.level else scores

    def outward(self, scores: Sequence[Tensor]) -> Tensor:
        """Calibrated scores of the :attr:`parts`' raw ones, which are of one shape."""
        own = [s if part is self else part.calibrated(s) for part, s in zip(self.parts, scores, strict=True)]
        return self.calibrated(self.combine(own))

    def heat(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What each patch adds to the score of its snippet; see :mod:`ssrl_pipeline.models.occlusion`.

        Returns:
            scale, as "3x5" -> [B, T, P], log odds, 0 where the score would not sink; nothing where
            the kind cannot tell.
        """
        return {}

    def adapted(self, footage: Footage) -> "Detector":
        """A copy that takes what one camera normally shows for normal; calibrated to nothing yet.

        It has the same kind, and names of weights. A kind that has nothing to adapt but its level is
        copied as it is.
        """
        copy = deepcopy(self)
        copy.level = 0.0
        return copy

    def learn(self, lessons: Sequence[Lesson]) -> bool:
        """Takes up what people said of moments, from what it is now; the same lessons give the same.

        Its scores are to be calibrated again.

        Returns:
            Whether there was anything for it to learn from.
        """
        return False

    @property
    def parts(self) -> "tuple[Detector, ...]":
        """The detectors that it is made of, which score apart."""
        return (self,)

    def combine(self, scores: Sequence[Tensor]) -> Tensor:
        """The parts' scores, of one shape, as one."""
        return scores[0]

    @property
    def reach(self) -> int:
        """How many snippets to either side a score depends on, what :meth:`gather` tells aside."""
        return 0

    def summarise(self, views: Mapping[str, Tensor]) -> Tensor:
        """What relating takes of each snippet, which depends on it alone: -> [B, R, T, W]."""
        raise NotImplementedError

    def gather(self, summary: Tensor) -> Tensor:
        """What relating takes of all snippets, as a sum over those of [B, R, n, W]; of any shape."""
        raise NotImplementedError

    def relate(self, summary: Tensor, gathered: Tensor | None = None) -> Tensor:
        """Snippets among their neighbours.

        Args:
            summary: [B, R, n, W]. Results less than :attr:`reach` from an end that is not the
                video's own are wrong.
            gathered: :meth:`gather` of the whole video, divided by its length; None where these are
                all of its snippets.

        Returns:
            [B, R, n, W].
        """
        raise NotImplementedError

    def score(self, related: Tensor) -> Tensor:
        """Scores of related snippets: [B, R, n, W] -> [B, n], or of one each: [B, R, W] -> [B]."""
        raise NotImplementedError


def _covered(rows: Tensor, hidden: Tensor) -> Tensor:
    """[B, T, P, F] with each hidden patch, bool [B, P], as the first that is not."""
    place = torch.arange(hidden.shape[1], device=hidden.device).expand_as(hidden)
    first = (~hidden).int().argmax(dim=1, keepdim=True)  # [B, 1]
    taken = torch.where(hidden, first, place)[:, None, :, None]
    return rows.gather(2, taken.expand_as(rows))
