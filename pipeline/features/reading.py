"""What training, evaluation and scoring ask of features, wherever they lie and whoever made them."""

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

import numpy as np

from ssrl_pipeline.features.meta import VideoMeta
from ssrl_pipeline.features.recipe import Recipe
from ssrl_pipeline.times import FrameTimes


class Features(Protocol):
    """The features of many videos, all of one recipe: a feature store's reading half, or released files.

    Dimensions: T snippets, P crops or patches, D feature size. All methods but :meth:`videos` raise
    StoreError where the video is missing, or a file of it is missing, damaged or of another shape.
    """

    recipe: Recipe

    @property
    def root(self) -> Path | str:
        """A folder, or the URL of one."""

    def videos(self) -> list[str]:
        """The names of all videos, sorted. Raises StoreError: two videos have one name."""

    def meta(self, video: str) -> VideoMeta:
        """Its length, rate, size and source."""

    def times(self, video: str) -> FrameTimes:
        """When each of its frames is shown, as far as that is known."""

    def starts(self, video: str) -> np.ndarray | None:
        """The first frame of each snippet, int64 [T]; None: every 16th frame begins one."""

    def read(
        self, video: str, views: Collection[str] | None = None, *, check: bool = True
    ) -> dict[str, np.ndarray]:
        """view name -> [T, P, D], mapped from the disk and not yet in memory.

        Args:
            views: those that are wanted; None: all.
            check: whether to compare checksums, for which the files are read through.
                Whoever wants some snippets of many may do without.
        """
