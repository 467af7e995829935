"""When a camera alarms: spans of time by the day of the week."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY, WEEK = 24 * 60, 7 * 24 * 60  # minutes
_SPAN = re.compile(r"(\d{1,2}):(\d\d)\s*-\s*(\d{1,2}):(\d\d)")


@dataclass(frozen=True)
class Hours:
    """Spans of a week in which a camera alarms."""

    spans: tuple[tuple[int, int], ...]  # minutes since Monday began; ends may lie in the next week
    zone: tzinfo | None = None  # None: this machine's

    def hold(self, moment: datetime) -> bool:
        """Whether a moment, of any time zone, is in one of them."""
        local = moment.astimezone(self.zone)
        minute = local.weekday() * DAY + local.hour * 60 + local.minute
        return any(begin <= at < end for begin, end in self.spans for at in (minute, minute + WEEK))


def parse_hours(said: Any, zone: tzinfo | None = None) -> Hours:
    """Spans for every day, as "22:00-06:00", or for some, as {mon-fri: 18:00-07:00, sun: [8:00-9:00]}.

    A span that ends before it begins ends the next day.

    Raises:
        ValueError: it reads otherwise.
    """
    by_day = said if isinstance(said, Mapping) else {"mon-sun": said}
    if not by_day:
        raise ValueError("no hours: write a span such as 18:00-07:00, or leave it out to alarm always")
    spans = []
    for days, texts in by_day.items():
        for day in _days(str(days)):
            for text in texts if isinstance(texts, list) else [texts]:
                begin, end = _minutes(text)
                spans.append((day * DAY + begin, day * DAY + end))
    return Hours(tuple(sorted(spans)), zone)


def _days(text: str) -> list[int]:
    """ "mon-fri" or "sat, sun" -> their numbers, Monday's is 0."""
    found = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        begin, end = _day(first), _day(last if dash else first)
        found += [(begin + i) % 7 for i in range((end - begin) % 7 + 1)]
    return found


def _day(text: str) -> int:
    name = text.strip().lower()
    if len(name) < 3 or name[:3] not in DAYS:
        raise ValueError(f"{text.strip()!r} is no day; there are {', '.join(DAYS)}, as in mon-fri")
    return DAYS.index(name[:3])


def _minutes(text: Any) -> tuple[int, int]:
    """A span's begin and end in minutes of its day; an end in the next day is beyond this one's."""
    match = _SPAN.fullmatch(text.strip()) if isinstance(text, str) else None
    hours = [int(number) for number in match.groups()] if match else [99] * 4
    begin, end = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
    if begin >= DAY or end > DAY or max(hours[1], hours[3]) > 59:
        raise ValueError(f"{text!r} is no span of a day; write it as 18:00-07:00, up to 24:00")
    if begin == end:
        raise ValueError(f"{text!r} is no time at all; the whole day is 00:00-24:00")
    return begin, end if end > begin else end + DAY
