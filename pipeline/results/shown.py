"""What is drawn of a scored video.

Dimensions: N frames, T snippets, P patches.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssrl_pipeline.events import Event
from ssrl_pipeline.times import FrameTimes


class Shown(NamedTuple):
    """Numbers of one video, for timelines, overlays and pages."""

    video: Path
    scores: np.ndarray  # float [N], 0 to 1
    times: FrameTimes  # of the frames
    events: Sequence[Event] = ()  # in order of time
    threshold: float | None = None  # of the events; None: they are not looked for
    truth: np.ndarray | None = None  # bool [N], the anomalous frames; None: not known
    heat: Mapping[str, np.ndarray] = {}  # scale -> float [T, P]; empty where there is none
    starts: np.ndarray | None = None  # int [T], the first frame of each snippet; None: every 16th
