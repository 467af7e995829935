"""The packets of a video that came last, as they came: what a clip or a still of a moment ago is made of.

Runs in the decoding process. The decoder gives every packet its number on the way in and finds it on the
frame that comes out, so that it is known which frame is which packet, whatever the order they come in.
"""

import threading
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from ssrl_pipeline.extractors.decoding.stamps import BACK, FORWARD

LEAST = 512  # packets that are kept however short a time they last, if they fit


class Kept(NamedTuple):
    """A packet."""

    serial: int  # of all packets
    data: bytes
    pts: int
    dts: int | None
    duration: int
    key: bool
    seconds: float  # of pts, by the stream's own clock

    def follows(self, before: "Kept | None") -> bool:
        """Whether its clock is that of the packet before; else it began anew."""
        return before is None or -BACK <= self.seconds - before.seconds <= FORWARD


def label(serial: int) -> tuple[int]:
    """What a packet carries and its frame then has; PyAV tells labels apart by their place in memory."""
    return (serial,)


class PacketRing:
    """Holds whole groups of pictures, from a key frame to the next; the oldest goes first.

    Args:
        seconds: that are kept at least, and :data:`LEAST` packets, if they fit.
        size: bytes that are kept at most.
    """

    def __init__(self, seconds: float, size: int):
        self.lock = threading.RLock()
        self._seconds, self._most = seconds, size
        self._packets: deque[Kept] = deque()
        self._keys: deque[int] = deque()  # serials of those that a decoder can begin with
        self._size, self._serial = 0, 0
        self._frames: dict[int, int] = {}  # a frame's number -> its packet's
        self._numbers: dict[int, int] = {}  # the other way round

    def add(self, packet: Any) -> Kept | None:
        """The next packet, on its way to the decoder; None where it says no time."""
        stamp = packet.dts if packet.pts is None else packet.pts
        with self.lock:
            self._serial += 1
            packet.opaque = label(self._serial)
            if stamp is None:
                return None
            kept = Kept(
                self._serial,
                bytes(packet),
                stamp,
                packet.dts,
                packet.duration or 0,
                bool(packet.is_keyframe),
                float(stamp * packet.time_base),
            )
            if kept.key:
                self._keys.append(kept.serial)
            self._packets.append(kept)
            self._size += len(kept.data)
            self._trim()
            return kept

    def name(self, serial: int, number: int) -> None:
        """A packet has become a frame."""
        with self.lock:
            self._frames[number], self._numbers[serial] = serial, number

    def number(self, serial: int) -> int | None:
        """Of the frame that a packet has become."""
        return self._numbers.get(serial)

    def seconds(self, number: int) -> float | None:
        """When a frame is shown, by the stream's own clock; of one that is too old or yet to come: None."""
        with self.lock:
            kept = self._at(self._frames.get(number, -1))
        return kept.seconds if kept else None

    def since(self, number: int, before: float = 0.0) -> list[Kept]:
        """The packets from a frame on, and so many seconds before it, from the last key frame up to there.

        Where these are not kept any more, those that are, from a key frame on; none of another clock.
        """
        with self.lock:
            serial = self._frames.get(number)
            if serial is None and self._frames:
                serial = self._frames[min(self._frames, key=lambda one: abs(one - number))]
            wanted = self._at(serial or -1) or (self._packets[0] if self._packets else None)
            if wanted is None:
                return []
            first, later = None, wanted
            for kept in self._backwards(wanted.serial):
                if not later.follows(kept):
                    break
                later = kept
                if kept.key:
                    first = kept.serial
                    if kept.seconds <= wanted.seconds - before + 1e-6:
                        break
            if first is None:
                first = next((key for key in self._keys if key >= later.serial), None)
            return [] if first is None else list(self._from(first))

    def _at(self, serial: int) -> Kept | None:
        place = self._place(serial)
        return self._packets[place] if 0 <= place < len(self._packets) else None

    def _place(self, serial: int) -> int:
        """Where it is; those without a time leave gaps, so it is looked for."""
        if not self._packets or serial < self._packets[0].serial:
            return -1
        place = min(serial - self._packets[0].serial, len(self._packets) - 1)
        while place >= 0 and self._packets[place].serial > serial:
            place -= 1
        return place if place >= 0 and self._packets[place].serial == serial else -1

    def _backwards(self, serial: int) -> Iterator[Kept]:
        return islice(reversed(self._packets), len(self._packets) - 1 - self._place(serial), None)

    def _from(self, serial: int) -> Iterator[Kept]:
        return islice(self._packets, self._place(serial), None)

    def _trim(self) -> None:
        newest = self._packets[-1]
        while self._packets:
            if self._size <= self._most:
                if len(self._keys) < 2:
                    return
                following = self._at(self._keys[1])
                assert following
                old = abs(newest.seconds - following.seconds) >= self._seconds
                if not old or newest.serial - following.serial < LEAST:
                    return
            self._drop_group()

    def _drop_group(self) -> None:
        """What comes before the second key frame; without one, all: the rest of a group is of no use."""
        if self._keys and self._keys[0] == self._packets[0].serial:
            self._keys.popleft()
        end = self._keys[0] if self._keys else self._serial + 1
        while self._packets and self._packets[0].serial < end:
            self._size -= len(self._packets[0].data)
            number = self._numbers.pop(self._packets.popleft().serial, None)
            self._frames.pop(number, None)  # type: ignore[arg-type]
        for numbers, where in ((self._numbers, 0), (self._frames, 1)):
            for one in [one for one in islice(numbers.items(), 64) if one[where] < end]:
                del numbers[one[0]]
