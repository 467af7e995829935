"""When a description is taken again, in numbers, and what was saved so and what it cost."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np


@dataclass(frozen=True)
class UnchangedRule:
    """What a recipe says of it."""

    levels: int = 6  # of 255, by which a block must move to have changed; in older recipes 4
    rows: int = 36
    columns: int = 63
    snippets: int = 128  # that a description is for, at most: at 25 frames a second 82 seconds
    checked: int = 200  # one unchanged clip in so many is described
    seconds: int = 180  # that a description is for, at most; 0: any number of them, as in older recipes

    def __post_init__(self) -> None:
        for one in fields(self):
            value, least = getattr(self, one.name), int(one.name != "seconds")
            if type(value) is not int or value < least:
                raise ValueError(
                    f"{one.name} of unchanged patches is a whole number from {least}, not {value!r}"
                )

    def in_recipe(self) -> dict[str, int]:
        return {name: value for name, value in asdict(self).items() if name != "seconds" or value}

    @classmethod
    def of_recipe(cls, recipe: Mapping[str, Any]) -> "UnchangedRule | None":
        """None where the recipe names no rule. Raises TypeError or ValueError where it is damaged."""
        return cls(**{"seconds": 0, **recipe["unchanged"]}) if "unchanged" in recipe else None


class Repeats:
    """Counts clips of some snippets; numbers that do not grow in memory.

    Attributes:
        repeated, clips: view name -> how many descriptions were taken again, of how many.
        checked: clips that were described though they had not changed.
        total, worst: sum and greatest of their errors: the relative L2 distance of the description that
            would have been taken again from the new one.
    """

    def __init__(self) -> None:
        self.repeated: Counter[str] = Counter()
        self.clips: Counter[str] = Counter()
        self.checked, self.total, self.worst = 0, 0.0, 0.0

    def count(self, view: str, repeated: int, clips: int) -> None:
        self.repeated[view] += repeated
        self.clips[view] += clips

    def compare(self, old: np.ndarray, new: np.ndarray) -> None:
        """Of clips that were checked, [n, D] each."""
        for before, now in zip(old.astype(np.float64), new.astype(np.float64), strict=True):
            length = float(np.linalg.norm(now))
            error = float(np.linalg.norm(before - now)) / length if length else 0.0
            self.checked += 1
            self.total += error
            self.worst = max(self.worst, error)

    def add(self, other: "Repeats") -> None:
        self.repeated.update(other.repeated)
        self.clips.update(other.clips)
        self.checked += other.checked
        self.total += other.total
        self.worst = max(self.worst, other.worst)

    def as_json(self) -> dict[str, Any]:
        """{} where nothing was counted."""
        if not self.clips:
            return {}
        clips = {view: [self.repeated[view], count] for view, count in self.clips.items()}
        return {"clips": clips, "checked": self.checked, "total_error": self.total, "worst_error": self.worst}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Repeats":
        """Raises KeyError, TypeError or ValueError where it is none."""
        found = cls()
        if not content:
            return found
        for view, (repeated, clips) in content["clips"].items():
            if not 0 <= repeated <= clips:
                raise ValueError(f"{repeated} of {clips} clips repeated")
            found.count(view, int(repeated), int(clips))
        found.checked = int(content["checked"])
        found.total, found.worst = float(content["total_error"]), float(content["worst_error"])
        return found


def tell_repeats(found: Iterable[Repeats]) -> str:
    """What is said at the end of a run; "" where there is nothing to say."""
    whole = Repeats()
    for one in found:
        whole.add(one)
    if not whole.clips:
        return ""
    shares = [f"{view} {100 * whole.repeated[view] / count:.0f} %" for view, count in whole.clips.items()]
    saved = f"unchanged, so described by their last description: {', '.join(shares)}"
    if not whole.checked:
        return saved
    return (
        f"{saved}; for {whole.checked} that were described to check, that would have been off by "
        f"{100 * whole.total / whole.checked:.1f} % on average and {100 * whole.worst:.1f} % at most"
    )
