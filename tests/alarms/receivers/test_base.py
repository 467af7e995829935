"""How lines are handed to a receiver: nobody waits, and what is lost is said."""

import threading
import time
from collections.abc import Callable

import pytest

from ssrl_pipeline.alarms.receivers.base import Message, Notifier, Target, seconds
from ssrl_pipeline.errors import PipelineError


class To(Target):
    """A target that hands each message to a function."""

    def __init__(self, deliver: Callable[[Message], object]):
        self.deliver = deliver  # type: ignore[method-assign, assignment]


def test_a_slow_receiver_delays_nobody_and_what_is_lost_is_said() -> None:
    go, got, said = threading.Event(), [], []  # type: ignore[var-annotated]

    def deliver(message: Message) -> None:
        assert go.wait(30)
        got.append(message["n"])

    notifier = Notifier("slow", To(deliver), said.append, waiting=3)
    notifier.tell({"n": 0})
    while notifier._queue.qsize():  # until the first is being delivered
        time.sleep(0.001)
    for n in range(1, 10):
        notifier.tell({"n": n})
    assert got == []
    assert said == ["slow: too slow, 3 messages wait; newer ones are lost"]
    go.set()
    notifier.close(30)
    assert got == [0, 1, 2, 3]


def test_a_failing_receiver_is_said_and_gets_the_next() -> None:
    said: list[str] = []

    def deliver(message: Message) -> None:
        if message["n"] == 0:
            raise PipelineError("no")
        if message["n"] == 1:
            raise RuntimeError("secret")

    notifier = Notifier("hook", To(deliver), said.append)
    for n in range(3):
        notifier.tell({"n": n})
    notifier.close(30)
    assert said == ["hook: no", "hook: RuntimeError"]


def test_closing_does_not_wait_for_ever() -> None:
    go, said = threading.Event(), []  # type: ignore[var-annotated]
    notifier = Notifier("stuck", To(lambda message: go.wait(30)), said.append)
    notifier.tell({"n": 0})
    notifier.close(0.1)
    go.set()
    assert len(said) == 1 and "stuck: did not take" in said[0]


def test_one_that_was_told_nothing_has_no_thread() -> None:
    before = threading.active_count()
    Notifier("idle", To(print), print).close(1)
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("text", "expected"), [(90, 90), ("90s", 90), ("1.5m", 90), ("2 h", 7200), ("1d", 86400), (0.5, 0.5)]
)
def test_durations(text: float | str, expected: float) -> None:
    assert seconds(text, "cooldown") == expected
    with pytest.raises(ValueError, match="cooldown"):
        seconds(f"-{text}", "cooldown")
