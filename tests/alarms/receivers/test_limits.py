"""Which alarms a receiver is told: none while muted, none too soon, and no end without its start."""

from typing import Any

from ssrl_pipeline.alarms.receivers.limits import Cooldown, Interval, Muted, Mutes, Only, Pace


class Told:
    """A receiver at a time that is set, and what it was told, as (time, type)."""

    def __init__(self) -> None:
        self.now, self.got, self.closed = 0.0, list[tuple[float, str]](), False
        self.event = 0

    def clock(self) -> float:
        return self.now

    def tell(self, message: Any) -> None:
        self.got.append((self.now, message["type"]))

    def close(self, timeout: float) -> None:
        self.closed = True


def play(told: Told, receiver: Any, *lines: tuple[float, str], camera: str = "gate") -> None:
    """An event has the number of its start."""
    for told.now, kind in lines:
        kind, _, number = kind.partition(" ")
        told.event += kind == START
        receiver.tell({"type": kind, "camera": camera, "event": int(number or told.event)})


START, END = "event_start", "event_end"


def test_cooldown_counts_from_the_end_of_any_event() -> None:
    told = Told()
    rule = Cooldown(told, 60, told.clock)
    play(told, rule, (0, START), (10, END), (69, START), (80, "health_start"), (100, END))
    play(told, rule, (159, START), (160, END), (221, START), (230, END))
    assert told.got == [(0, START), (10, END), (80, "health_start"), (221, START), (230, END)]
    play(told, rule, (231, START), camera="yard")
    assert told.got[-1] == (231, START)
    rule.close(1)
    assert told.closed


def test_one_alarm_in_an_interval_counts_from_the_start_of_the_last_that_was_told() -> None:
    told = Told()
    rule = Interval(told, 60, told.clock)
    play(told, rule, (0, START), (50, END), (59, START), (61, END), (62, START), (63, END))
    assert told.got == [(0, START), (50, END), (62, START), (63, END)]


def test_a_mute_holds_back_events_that_start_in_it_and_nothing_else() -> None:
    told = Told()
    mutes = Mutes(told.clock)
    rule = Muted(told, mutes)
    play(told, rule, (0, START))
    mutes.mute("gate", 60)
    play(told, rule, (5, END), (10, START), (20, "health_start"), (70, END), (71, START), (72, END))
    assert told.got == [(0, START), (5, END), (20, "health_start"), (71, START), (72, END)]
    mutes.mute("gate", 60)
    mutes.mute("gate", 0)
    assert not mutes.is_muted("gate") and not mutes.is_muted("yard")


def test_the_end_of_an_event_may_come_after_the_next_start() -> None:
    """As with --events, where it waits for the clip."""
    lines = [(0, START), (8, START), (9, f"{END} 1"), (20, f"{END} 2"), (70, START), (80, f"{END} 3")]
    told = Told()
    play(told, Interval(told, 60, told.clock), *lines)
    assert told.got == [(0, START), (9, END), (70, START), (80, END)]
    told = Told()
    play(told, Cooldown(told, 60, told.clock), *lines)
    assert told.got == [(0, START), (9, END)]  # the third starts 50 seconds after the end of the second
    told = Told()
    mutes = Mutes(told.clock)
    mutes.mute("gate", 5)
    play(told, Muted(told, mutes), *lines)
    assert told.got == [(8, START), (20, END), (70, START), (80, END)]


def test_scores_are_paced_by_camera_and_types_chosen() -> None:
    told = Told()
    rule = Only(Pace(told, 5, told.clock), ("score", START), ("gate",))
    play(told, rule, (0, "score"), (1, "score"), (2, START), (3, END), (5, "score"), (9.9, "score"))
    play(told, rule, (10, "score"), camera="yard")
    assert told.got == [(0, "score"), (2, START), (5, "score")]
