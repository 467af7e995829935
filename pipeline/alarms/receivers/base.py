"""How lines of `watch` are handed to a receiver, beside the scoring, which never waits for it.

Each receiver has a thread and a queue of its own. What a full queue cannot take, and what
a receiver does not accept, is lost, and said.
"""

import queue
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ssrl_pipeline.errors import PipelineError

Message = Mapping[str, Any]  # a line of `watch`
Say = Callable[[str], object]
ALARMS = ("event_start", "event_end", "health_start", "health_end")  # the types that people are told of
TYPES = (*ALARMS, "score", "connected", "lost", "dropped", "end")  # all that there are
WAITING = 100  # messages in a queue
TICK = 1.0  # seconds without a message after which a target gets to look after itself
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Receiver(Protocol):
    """What lines are told to."""

    def tell(self, message: Message) -> None:
        """Returns at once; takes lines of any type, and leaves out those that are not for it."""

    def close(self, timeout: float) -> None:
        """Gives what waits that many seconds more."""


class Target:
    """What a kind of receiver does with a message; all of it happens in one thread."""

    def deliver(self, message: Message) -> None:
        """Raises PipelineError where it is not accepted."""
        raise NotImplementedError

    def tick(self) -> None:
        """Called now and then."""

    def close(self, timeout: float) -> None:
        """Nothing follows."""


class Recipient(NamedTuple):
    """What a kind of receiver is made of."""

    target: Target
    types: tuple[str, ...] = ALARMS  # of the lines that it is told
    pace: float = 0.0  # seconds from one score of a camera to the next


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every kind of receiver can be told; a kind adds its own."""

    cameras: tuple[str, ...] = ()  # the only ones it is told of; none: all
    cooldown: float | str = 0.0  # from the end of a camera's event: what starts sooner is not told
    interval: float | str = 0.0  # from the start of a camera's alarm to the next one that is told

    def __post_init__(self) -> None:
        for name in ("cooldown", "interval"):
            seconds(getattr(self, name), name)


class Notifier:
    """Hands messages to a target, one after the other. Nothing happens before the first.

    Args:
        name: of the receiver, for what is said.
        target: takes them.
        say: takes a line for people.
        waiting: messages that may wait; what comes then is lost.
    """

    def __init__(self, name: str, target: Target, say: Say, waiting: int = WAITING):
        self.name, self._target, self._say = name, target, say
        self._queue: queue.Queue[Message | None] = queue.Queue(waiting)
        self._overflowing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def tell(self, message: Message) -> None:
        """Returns at once."""
        if self._thread.ident is None:
            self._thread.start()
        try:
            self._queue.put_nowait(message)
            self._overflowing = False
        except queue.Full:
            if not self._overflowing:  # once, not for each of many
                self._say(f"{self.name}: too slow, {self._queue.maxsize} messages wait; newer ones are lost")
            self._overflowing = True

    def close(self, timeout: float) -> None:
        """Gives what waits that many seconds more."""
        if self._thread.ident is None:
            return
        end = time.monotonic() + timeout
        while self._thread.is_alive() and time.monotonic() < end:
            try:
                self._queue.put(None, timeout=max(0.0, end - time.monotonic()))
                break
            except queue.Full:
                pass
        self._thread.join(max(0.0, end - time.monotonic()))
        if self._thread.is_alive():
            left = max(1, self._queue.qsize() - 1)
            self._say(f"{self.name}: did not take the last {left} messages in time")
        self._attempt(lambda: self._target.close(max(0.0, end - time.monotonic())))

    def _run(self) -> None:
        looked = time.monotonic()
        while True:
            try:
                message = self._queue.get(timeout=TICK)
                if message is None:
                    return
                self._attempt(lambda message=message: self._target.deliver(message))  # type: ignore[misc]
            except queue.Empty:
                pass
            if time.monotonic() - looked >= TICK:
                self._attempt(self._target.tick)
                looked = time.monotonic()

    def _attempt(self, act: Callable[[], None]) -> None:
        try:
            act()
        except PipelineError as error:
            self._say(f"{self.name}: {error}")
        except Exception as error:  # a receiver's fault never ends the telling of later events
            self._say(f"{self.name}: {type(error).__name__}")


def seconds(value: float | str, name: str) -> float:
    """90, "90s", "10m", "2h" or "1d" -> seconds.

    Raises:
        ValueError: none of these; the message holds the name.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([smhd]?)", str(value))
    if not match:
        raise ValueError(f"{name} is a duration like 90, 90s, 10m or 2h, not {value!r}")
    return float(match[1]) * _UNITS[match[2]]


def picture_of(message: Message) -> bytes | None:
    """The JPEG that a line names as its still; None where it has none, or it is gone."""
    still = message.get("still")
    try:
        return Path(still).read_bytes() if still else None
    except OSError:
        return None
