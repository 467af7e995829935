"""The kinds of detectors by their names, and how one that knows nothing yet is made."""

from typing import Any

from ssrl_pipeline.models.actions import ActionDetector
from ssrl_pipeline.models.blend import PARTS, Blend, FusedDetector
from ssrl_pipeline.models.detector import MOST_LEVEL, Detector
from ssrl_pipeline.models.ssrl import SSRL

KINDS: dict[str, type[Detector]] = PARTS | {
    kind.kind: kind for kind in (FusedDetector, Blend, ActionDetector)
}


def build_model(kind: str = SSRL.kind, level: float = 0.0, **arguments: Any) -> Detector:
    """A detector that knows nothing yet.

    Args:
        kind: one of KINDS.
        level: of its scores; see :class:`Detector`.
        arguments: of its class, as a checkpoint keeps them.

    Raises:
        ValueError: no such kind, or an argument does not fit.
        TypeError: an argument is missing or unknown.
    """
    if kind not in KINDS:
        raise ValueError(f"there is no model {kind!r}; there are {', '.join(KINDS)}")
    if not abs(level) <= MOST_LEVEL:
        raise ValueError(f"level is between -{MOST_LEVEL} and {MOST_LEVEL}, not {level!r}")
    model = KINDS[kind](**arguments)
    model.level = float(level)
    return model
