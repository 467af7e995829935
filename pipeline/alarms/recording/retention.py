"""Which events' files go, so that an archive stays as small and as young as it is to be."""

from collections.abc import Mapping, Sequence
from typing import Any

from ssrl_pipeline.alarms.recording.archive import CONFIRMED
from ssrl_pipeline.settings import AlarmSettings

DAY = 86400.0


def expired(
    rows: Sequence[Mapping[str, Any]], settings: AlarmSettings, now: float
) -> list[Mapping[str, Any]]:
    """Of events that have files, the oldest first: those that are too old, and then, as far as all are
    too large, the oldest that are not confirmed, and the oldest.

    Args:
        rows: of the index.
        now: seconds since 1970.
    """
    days = {True: settings.keep_confirmed_days, False: settings.keep_days}
    gone, stay = list[Mapping[str, Any]](), list[Mapping[str, Any]]()
    for row in rows:
        most = days[row["verdict"] == CONFIRMED]
        (stay if most is None or now - row["made"] <= most * DAY else gone).append(row)
    if settings.keep_gigabytes is None:
        return gone
    size, most = sum(row["bytes"] for row in stay), settings.keep_gigabytes * 1e9
    for row in sorted(stay, key=lambda row: row["verdict"] == CONFIRMED):  # stable: the oldest first in each
        if size <= most:
            break
        gone.append(row)
        size -= row["bytes"]
    return gone
