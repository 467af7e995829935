"""What a receiver is not told: each rule is a filter around it.

Alarms alone are held back, never that a camera is blind or lost. Where the start of an event was not
told its end is not either, and where it was, its end is.
"""

import time
from collections.abc import Callable, Collection

from ssrl_pipeline.alarms.receivers.base import Message, Receiver

Clock = Callable[[], float]


class Mutes:
    """The cameras whose alarms are not told for a while; one for all receivers."""

    def __init__(self, clock: Clock = time.monotonic):
        self._clock, self._until = clock, dict[str, float]()

    def mute(self, camera: str, seconds: float) -> None:
        """From now on; 0 ends it."""
        self._until[camera] = self._clock() + seconds

    def is_muted(self, camera: str) -> bool:
        return self._clock() < self._until.get(camera, float("-inf"))


class Filter:
    """Hands on what is admitted."""

    def __init__(self, receiver: Receiver):
        self._receiver = receiver

    def admits(self, message: Message) -> bool:
        raise NotImplementedError

    def tell(self, message: Message) -> None:
        if self.admits(message):
            self._receiver.tell(message)

    def close(self, timeout: float) -> None:
        self._receiver.close(timeout)


class Only(Filter):
    """Lines of some types, of some cameras; no cameras: of all."""

    def __init__(self, receiver: Receiver, types: Collection[str], cameras: Collection[str] = ()):
        super().__init__(receiver)
        self._types, self._cameras = frozenset(types), frozenset(cameras)

    def admits(self, message: Message) -> bool:
        return message["type"] in self._types and (not self._cameras or message["camera"] in self._cameras)


class Pace(Filter):
    """Of each camera's scores, one in so many seconds."""

    def __init__(self, receiver: Receiver, seconds: float, clock: Clock = time.monotonic):
        super().__init__(receiver)
        self._seconds, self._clock, self._told = seconds, clock, dict[str, float]()

    def admits(self, message: Message) -> bool:
        camera, now = message["camera"], self._clock()
        if message["type"] != "score":
            return True
        if now - self._told.get(camera, float("-inf")) < self._seconds:
            return False
        self._told[camera] = now
        return True


class AlarmRule(Filter):
    """Decides at the start of an event whether it is told; its end follows that.

    The end of an event waits for its clip, and may come after the start of the camera's next event.
    """

    def __init__(self, receiver: Receiver):
        super().__init__(receiver)
        self._held_back = set[tuple[str, int | None]]()  # open events that are not told: camera and number

    def admits(self, message: Message) -> bool:
        kind, camera = message["type"], message["camera"]
        event = camera, message.get("event")
        if kind == "event_start":
            held_back = self.holds_back(camera)
            self.started(*event)
            if held_back:
                self._held_back.add(event)
            return not held_back
        if kind == "event_end":
            self.ended(*event)
            was_held_back = event in self._held_back
            self._held_back.discard(event)
            return not was_held_back
        return True

    def holds_back(self, camera: str) -> bool:
        """Whether an event that starts now is not told."""
        raise NotImplementedError

    def started(self, camera: str, event: int | None) -> None:
        """An event has started, told or not."""

    def ended(self, camera: str, event: int | None) -> None:
        """An event has ended, told or not."""


class Muted(AlarmRule):
    """No alarms of muted cameras."""

    def __init__(self, receiver: Receiver, mutes: Mutes):
        super().__init__(receiver)
        self._mutes = mutes

    def holds_back(self, camera: str) -> bool:
        return self._mutes.is_muted(camera)


class Cooldown(AlarmRule):
    """No alarm within so many seconds of the end of the camera's last event, told or not."""

    def __init__(self, receiver: Receiver, seconds: float, clock: Clock = time.monotonic):
        super().__init__(receiver)
        self._seconds, self._clock, self._end = seconds, clock, dict[str, float]()
        self._open = dict[str, int | None]()  # the camera's last event, until its end is told

    def holds_back(self, camera: str) -> bool:
        """Also where the last event's end is not told yet: it is over, as the next one starts."""
        return camera in self._open or self._clock() - self._end.get(camera, float("-inf")) < self._seconds

    def started(self, camera: str, event: int | None) -> None:
        self._open[camera] = event

    def ended(self, camera: str, event: int | None) -> None:
        self._end[camera] = self._clock()
        if self._open.get(camera) == event:
            del self._open[camera]


class Interval(AlarmRule):
    """One alarm of a camera in so many seconds, from the start of the last that was told."""

    def __init__(self, receiver: Receiver, seconds: float, clock: Clock = time.monotonic):
        super().__init__(receiver)
        self._seconds, self._clock, self._told = seconds, clock, dict[str, float]()

    def holds_back(self, camera: str) -> bool:
        now = self._clock()
        if now - self._told.get(camera, float("-inf")) < self._seconds:
            return True
        self._told[camera] = now
        return False


def limited(receiver: Receiver, mutes: Mutes, cooldown: float, interval: float) -> Receiver:
    """A receiver with the rules that are asked for; what one holds back the next does not count."""
    if interval:
        receiver = Interval(receiver, interval)
    if cooldown:
        receiver = Cooldown(receiver, cooldown)
    return Muted(receiver, mutes)
