"""Checkpoints of the published SSRL code: its names for our parameters."""

import re
from collections.abc import Callable, Mapping

from torch import Tensor

REFERENCE_SCALES = ("2x3", "3x5", "4x7")

_RELATION: list[tuple[str, Callable[[re.Match[str]], str]]] = [
    (r"local\.(\d)\.(.+)", lambda m: f"conv_{int(m[1]) + 1}.{m[2]}"),
    (r"reduce\.(.+)", lambda m: f"conv_4.{m[1]}"),
    (r"fuse\.(.+)", lambda m: f"conv_5.{m[1]}"),
    (r"non_local\.out\.(.+)", lambda m: f"non_local.W.0.{m[1]}"),
    (r"non_local\.norm\.(.+)", lambda m: f"non_local.W.1.{m[1]}"),
    (r"(non_local\..+)", lambda m: m[1]),
]
_HEAD = {"0": "fc1", "3": "fc2", "6": "fc3"}


def reference_name(name: str) -> str:
    """``patches.3x5.grid.0.weight`` -> ``patch_to_clip.1.0.weight``."""
    if match := re.fullmatch(r"head\.(\d)\.(.+)", name):
        return f"classfier.{_HEAD[match[1]]}.{match[2]}"
    if match := re.fullmatch(r"relation\.(.+)", name):
        return f"Aggregate_clip.{_relation_name(match[1])}"
    match = re.fullmatch(r"patches\.(\w+)\.(relation|grid|linear)\.(.+)", name)
    if match is None:
        raise KeyError(name)
    index = REFERENCE_SCALES.index(match[1])
    if match[2] == "relation":
        return f"Aggregate_patch.{index}.{_relation_name(match[3])}"
    return f"{'patch_to_clip' if match[2] == 'grid' else 'linear_out'}.{index}.{match[3]}"


def reference_shape(state: Mapping[str, Tensor]) -> tuple[int, list[str]]:
    """The feature size and the scales of a published checkpoint.

    Raises:
        ValueError: it is none.
    """
    if "classfier.fc1.weight" not in state:
        raise ValueError("no classfier.fc1.weight: not a state dict of the published SSRL code")
    scales = [s for i, s in enumerate(REFERENCE_SCALES) if f"linear_out.{i}.weight" in state]
    return state["classfier.fc1.weight"].shape[1], scales


def _relation_name(name: str) -> str:
    for pattern, rename in _RELATION:
        if match := re.fullmatch(pattern, name):
            return rename(match)
    raise KeyError(name)
