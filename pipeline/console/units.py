"""Times and sizes as people read them."""

import math


def time_code(seconds: float) -> str:
    """``hh:mm:ss.mmm``, rounded to milliseconds; the hours take as many digits as they need."""
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def clock(seconds: float) -> str:
    """``3.4 s``, ``2:03.4`` from a minute on, ``1:02:03.4`` from an hour on."""
    minutes, tenths = divmod(round(10 * seconds), 600)
    if not minutes:
        return f"{tenths / 10:.1f} s"
    hours = f"{minutes // 60}:{minutes % 60:02d}" if minutes >= 60 else f"{minutes}"
    return f"{hours}:{tenths // 10:02d}.{tenths % 10}"


def tick(seconds: float, whole_minutes: bool) -> str:
    """Of an axis: ``2:03`` are minutes and seconds, or of whole minutes hours and minutes."""
    return "{}:{:02d}".format(*divmod(round(seconds / 60 if whole_minutes else seconds), 60))


def duration(seconds: float) -> str:
    """``3.2 hours``: for a person."""
    if math.isnan(seconds):
        return "unknown"
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def hours_or_minutes(seconds: float) -> str:
    """``1.5 hours``, ``30.0 minutes``: as far as rates of an hour go, an hour is the unit."""
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"


def size(count: float) -> str:
    """``2.56 GB``: decimal, as disks are sold."""
    units = ("bytes", "kB", "MB", "GB", "TB")
    power = min(int(math.log(max(count, 1), 1000) + 1e-9), len(units) - 1)
    return f"{count / 1000**power:.3g} {units[power]}"
