"""What cells of tables say: frame numbers, and times as people write them."""

import re
from collections.abc import Sequence

from ssrl_pipeline.errors import LabelError

MOST_DIGITS = 9  # of a frame number, a year of video at 30 frames per second; and of seconds before the point
_INTEGER = re.compile(r"[+-]?[0-9]+")
_UNIT = re.compile(r"\s*(s|sec|secs|seconds)$", re.IGNORECASE)
_TIME = re.compile(r"[+-]?([0-9]+:)*[0-9]*([.,][0-9]*)?\s*(s|sec|secs|seconds)?", re.IGNORECASE)


def frame_pairs(numbers: Sequence[str], place: str) -> list[tuple[int, int]]:
    """``["165", "240", "-1", "-1"]`` -> [(165, 240)], as written; pairs of -1 stand for nothing.

    Args:
        place: file and line, for messages.

    Raises:
        LabelError: they are not frame numbers, are odd in number, or a pair is negative or runs backwards.
    """
    written = " ".join(number or "''" for number in numbers)
    whole = [bool(_INTEGER.fullmatch(number)) for number in numbers]
    if not all(whole) and all(map(is_number, numbers)):
        raise LabelError(
            f"{place}: {written!r} look like times, and frames are wanted, whole numbers from 0: "
            "frame = seconds * frames per second of the video"
        )
    if not all(whole) or any(len(number) > MOST_DIGITS for number in numbers):
        raise LabelError(f"{place}: {written!r} are not all frame numbers")
    if len(numbers) % 2:
        raise LabelError(
            f"{place}: {written!r} is an odd number of frame numbers; a start and an end make an interval"
        )
    values = [int(number) for number in numbers]
    pairs = [pair for pair in zip(values[::2], values[1::2], strict=True) if pair != (-1, -1)]
    for start, end in pairs:
        if not 0 <= start <= end:
            raise LabelError(f"{place}: interval {start} to {end} is negative or runs backwards")
    return pairs


def are_times(numbers: Sequence[str], place: str) -> bool:
    """Whether some of a row's numbers can be nothing but times, so that all are: 12.5, 3 s, 0:12.

    Raises:
        LabelError: they are written with a point, and may be frames as well: 3.0, 7.0.
    """
    written = [number for number in numbers if number not in ("", "-1") and is_number(number)]
    unsure = [number for number in written if not _INTEGER.fullmatch(number)]
    if not unsure or len(written) < len([number for number in numbers if number not in ("", "-1")]):
        return False
    if any(":" in number or _UNIT.search(number) or float(number.replace(",", ".")) % 1 for number in unsure):
        return True
    raise LabelError(
        f"{place}: {' '.join(unsure)!r} may be frames or seconds; write frames as 3, seconds as 3s"
    )


def time_pairs(numbers: Sequence[str], place: str) -> list[tuple[float, float]]:
    """``["2.5", "0:04"]`` -> [(2.5, 4.0)] seconds; pairs of -1 stand for nothing.

    Raises:
        LabelError: as of :func:`frame_pairs`.
    """
    if len(numbers) % 2:
        raise LabelError(f"{place}: {' '.join(numbers)!r} is an odd number of times")
    pairs = []
    for start, end in zip(numbers[::2], numbers[1::2], strict=True):
        if (start, end) == ("-1", "-1"):
            continue
        first, last = seconds_of(start), seconds_of(end)
        if first is None or last is None or not first < last:
            raise LabelError(f"{place}: {start!r} to {end!r} is no interval of times")
        pairs.append((first, last))
    return pairs


def is_number(cell: str) -> bool:
    """Whether a cell is a frame number or a time: 12, 0.4, 0,4, 1.5 s, 00:00:01.5."""
    return any(map(str.isdigit, cell)) and bool(_TIME.fullmatch(cell))


def seconds_of(cell: str) -> float | None:
    """A time as people write it: 12.5, 12,5 s, 1:02, 0:01:02.5; None where it is none."""
    text = _UNIT.sub("", cell.strip()).replace(",", ".")
    if not is_number(cell) or text.startswith("-"):
        return None
    *clock, seconds = text.removeprefix("+").split(":")
    if len(clock) > 2 or any(len(part) > MOST_DIGITS for part in (*clock, seconds.partition(".")[0])):
        return None
    value = float(seconds or 0)
    for power, part in enumerate(reversed(clock), start=1):
        value += 60**power * int(part)
    return value
