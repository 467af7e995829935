"""Times and sizes as people read them."""

import math
import subprocess
import sys

import pytest

from ssrl_pipeline.console.units import clock, duration, hours_or_minutes, size, tick, time_code


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (0.0, "00:00:00.000"),
        (59.9994, "00:00:59.999"),
        (59.9996, "00:01:00.000"),  # rounding carries into the minutes
        (3599.9999, "01:00:00.000"),
        (86399.5, "23:59:59.500"),
        (123 * 3600 + 4 * 60 + 5.678, "123:04:05.678"),
    ],
)
def test_time_codes(seconds: float, code: str) -> None:
    assert time_code(seconds) == code


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(59, "59 seconds"), (119, "119 seconds"), (120, "2.0 minutes"), (9000, "2.5 hours"), (1e6, "11.6 days")],
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(999, "999 bytes"), (1000, "1 kB"), (2_560_000_000, "2.56 GB")])
def test_sizes_are_readable(count: float, text: str) -> None:
    assert size(count) == text


def test_a_duration_that_is_not_known_says_so() -> None:
    assert duration(math.nan) == "unknown"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.44, "3.4 s"), (59.96, "1:00.0"), (123.4, "2:03.4"), (3723.41, "1:02:03.4"), (90_000, "25:00:00.0")],
)
def test_a_clock_has_as_many_parts_as_it_needs(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_ticks_are_minutes_and_seconds_or_hours_and_minutes() -> None:
    assert [tick(123, False), tick(7380, True)] == ["2:03", "2:03"]


def test_lengths_of_footage_are_in_hours_from_one_on() -> None:
    assert [hours_or_minutes(seconds) for seconds in (30, 3599, 3600, 1e6)] == [
        *("0.5 minutes", "60.0 minutes", "1.0 hours", "277.8 hours"),
    ]


def test_what_is_told_of_a_stage_needs_no_library() -> None:
    """The console is below all stages: words and records of progress load without the heavy ones."""
    code = (
        "import sys, ssrl_pipeline.console.progress, ssrl_pipeline.console.units, "
        "ssrl_pipeline.console.terminal; print(sorted({'torch', 'numpy', 'av'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
