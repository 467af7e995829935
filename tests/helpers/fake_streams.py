"""Streams and events of a device that plays CUDA, and whether what they do is in order.

Every stream counts the work that it was given, and knows up to which count the work of other
streams is through before its own goes on; `wait_stream`, events and waits of the host tell it.
Work that meets another stream's traces in memory without knowing of it is an error, as with
`torch.cuda._sanitizer`.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

State = dict["Stream", int]  # of each stream, how much of its work is through


class Owner(Protocol):
    """The device."""

    def wait(self, what: str) -> None: ...


class Late(NamedTuple):
    """What happens at an unknown moment before a stream has done `count`."""

    stream: "Stream"
    count: int
    happen: Callable[[], object]


class Stream:
    """Stands for torch.cuda.Stream."""

    def __init__(self, streams: "Streams", device: int):
        self.device, self.count = device, 0
        self._streams = streams
        self._knows: State = {}

    def state(self) -> State:
        """What is through when all that was given to this stream so far is."""
        return self._knows | {self: self.count}

    def learn(self, state: State) -> None:
        """What comes next begins after all this."""
        for stream, count in state.items():
            self._knows[stream] = max(count, self._knows.get(stream, 0))

    def knows(self, stream: "Stream", count: int) -> bool:
        known = max(self._knows.get(stream, 0), self._streams.host.get(stream, 0))
        return stream is self or known >= count

    def wait_stream(self, other: "Stream") -> None:
        self.learn(other.state())

    def wait_event(self, event: "Event") -> None:
        self.learn(event.state)

    def record_event(self, event: "Event | None" = None) -> "Event":
        event = event or Event(self._streams)
        event.record(self)
        return event

    def synchronize(self) -> None:
        self._streams.wait("Stream.synchronize", self.state())


class Event:
    """Stands for torch.cuda.Event; times are made up."""

    def __init__(self, streams: "Streams", **options: bool):
        self._streams = streams
        self.state: State = {}
        self._asked = False

    def record(self, stream: Stream | None = None) -> None:
        self.state, self._asked = (stream or self._streams.now()).state(), False

    def wait(self, stream: Stream | None = None) -> None:
        (stream or self._streams.now()).wait_event(self)

    def query(self) -> bool:
        """Not at once, and at the second time of asking."""
        if self._asked:
            self._streams.settle(self.state)
        self._asked = True
        return self._streams.settled(self.state)

    def synchronize(self) -> None:
        self._streams.wait("Event.synchronize", self.state)

    def elapsed_time(self, end: "Event") -> float:
        return 1.0


class Streams:
    """All streams of all devices."""

    def __init__(self, owner: Owner, devices: int):
        self.host: State = {}  # what the host knows to be through
        self._owner = owner
        self._defaults = [Stream(self, device) for device in range(devices)]
        self._late: list[Late] = []
        self._local = threading.local()  # as PyTorch's, a device and streams that are current in a thread

    @property
    def device(self) -> int:
        return getattr(self._local, "device", 0)

    @device.setter
    def device(self, index: int) -> None:
        self._local.device = index

    def now(self, device: int | None = None) -> Stream:
        """The current stream of a device."""
        device = self.device if device is None else device
        return getattr(self._local, "streams", {}).get(device, self._defaults[device])

    @contextmanager
    def use(self, stream: Stream | None) -> Iterator[None]:
        """As torch.cuda.stream."""
        if stream is None:
            yield
            return
        before = getattr(self._local, "streams", {}), self.device
        self._local.streams, self.device = before[0] | {stream.device: stream}, stream.device
        try:
            yield
        finally:
            self._local.streams, self.device = before

    def later(self, stream: Stream, happen: Callable[[], object]) -> None:
        """Lets something happen when a wait tells that this stream's work so far is through, not before."""
        stream.count += 1
        self._late.append(Late(stream, stream.count, happen))

    def settled(self, state: State) -> bool:
        return all(self.host.get(stream, 0) >= count for stream, count in state.items())

    def settle(self, state: State) -> None:
        """The host knows from now on that all this is through."""
        for stream, count in state.items():
            self.host[stream] = max(count, self.host.get(stream, 0))
        due = [late for late in self._late if self.settled({late.stream: late.count})]
        self._late = [late for late in self._late if late not in due]
        for late in due:
            late.happen()

    def wait(self, what: str, state: State) -> None:
        """The host waits, if it does not know yet."""
        if not self.settled(state):
            self._owner.wait(what)
            self.settle(state)

    def everything(self) -> State:
        found = {late.stream: late.count for late in self._late}
        for stream in [*self.host, *self._defaults, *found]:
            found[stream] = stream.count
        return found


class Memory:
    """What streams did with a piece of memory."""

    def __init__(self, stream: Stream):
        self._home = stream  # who is given it again without a wait, when it is free
        self._written: tuple[Stream, int] = (stream, 0)
        self._used: State = {}
        self._recorded: set[Stream] = {stream}

    def read(self, stream: Stream) -> None:
        self._meet(stream, dict([self._written]))

    def write(self, stream: Stream) -> None:
        self._meet(stream, self._used)
        self._written = stream, stream.count

    def record(self, stream: Stream) -> None:
        """As Tensor.record_stream."""
        self._recorded.add(stream)

    def _meet(self, stream: Stream, others: State) -> None:
        if not all(stream.knows(other, count) for other, count in others.items()):
            raise RuntimeError(
                "two streams at the same memory, and neither waits for the other: wait_stream is missing"
            )
        stream.count += 1
        self._used[stream] = stream.count

    def faults_at_its_end(self) -> list[str]:
        """What is wrong about giving it to others now."""
        if all(s in self._recorded or self._home.knows(s, count) for s, count in self._used.items()):
            return []
        return ["memory let go while another stream than its own was at it: record_stream is missing"]
