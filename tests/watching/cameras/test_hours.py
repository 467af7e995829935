"""When a camera alarms."""

from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import pytest

from ssrl_pipeline.watching.cameras.hours import parse_hours

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> datetime:
    """2024-01-01 was a Monday; Berlin's winter is UTC+1."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("said", "inside", "outside"),
    [
        ("08:00-17:30", ["01T08:00", "07T17:29"], ["01T07:59", "01T17:30"]),
        ("22:00-6:00", ["01T22:00", "01T00:00", "02T05:59"], ["01T06:00", "01T21:59"]),
        ({"mon-fri": "18:00-07:00"}, ["01T18:00", "06T06:59"], ["01T06:59", "06T07:00", "06T19:00"]),
        ({"sun": "20:00-04:00"}, ["07T23:00", "08T03:59", "01T03:59"], ["08T04:00", "02T03:00"]),
        ({"fri-mon": "00:00-24:00"}, ["05T00:00", "08T23:59", "07T12:00"], ["02T00:00", "04T23:59"]),
        ({"Monday, wed": ["06:00-08:00", "18:00-20:00"]}, ["01T07:00", "03T19:00"], ["01T09:00", "02T07:00"]),
    ],
)
def test_hours_hold_from_their_begin_until_before_their_end(
    said: object, inside: list[str], outside: list[str]
) -> None:
    hours = parse_hours(said, BERLIN)
    assert [hours.hold(at(f"2024-01-{text}")) for text in inside] == [True] * len(inside)
    assert [hours.hold(at(f"2024-01-{text}")) for text in outside] == [False] * len(outside)


def test_a_moment_counts_by_the_cameras_clock() -> None:
    hours = parse_hours("00:00-01:00", BERLIN)
    assert hours.hold(datetime(2024, 1, 1, 23, 30, tzinfo=timezone.utc))
    assert not hours.hold(datetime(2024, 1, 1, 0, 30, tzinfo=timezone.utc))


@pytest.mark.parametrize(
    ("said", "mention"),
    [
        ("8-17", "'8-17' is no span"),
        ("08:00-25:00", "no span"),
        ("24:00-08:00", "no span"),
        ("08:60-09:00", "no span"),
        (80, "80 is no span"),
        ("08:00-08:00", "no time at all"),
        ({"mo": "08:00-09:00"}, "'mo' is no day"),
        ({"mon-xyz": "08:00-09:00"}, "'xyz' is no day"),
        ({}, "no hours"),
    ],
)
def test_what_reads_otherwise_is_refused(said: object, mention: str) -> None:
    with pytest.raises(ValueError, match=mention):
        parse_hours(said)
