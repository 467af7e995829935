"""What `watch` looks at (an address, a camera of this machine or a file), its rate and its clock."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from ssrl_pipeline.console import without_secrets
from ssrl_pipeline.errors import ConfigError, VideoError
from ssrl_pipeline.extractors.decoding import require_file
from ssrl_pipeline.times import measured_rate

# A user and a password in which a character is not escaped: what comes before it would be the host.
_UNESCAPED = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^@/?#]*:[^@]*[/?#][^@]*@")
SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "rtp", "srt", "tcp", "udp")
WAVER = 0.02  # share by which the rate of a few frames may be off
LONGEST_NAME = 100  # characters
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_NAME = re.compile(r"[\w. -]+")
_NAMED = re.compile(rf"({_NAME.pattern})=(.+)", re.DOTALL)


@dataclass(frozen=True)
class Source:
    """One camera, stream or file."""

    name: str  # in all that is told of it
    address: str = field(repr=False)  # what is opened; may hold a password, so it is never shown
    kind: str  # "stream", "device" or "file"
    written: str = field(default="", repr=False, compare=False)  # the address before secrets were put in

    @property
    def shown(self) -> str:
        """The address for people."""
        return (
            f"camera {self.address}"
            if self.kind == "device"
            else without_secrets(self.written or self.address)
        )

    @property
    def hint(self) -> str:
        """What may be wrong with an address that cannot be opened; "" where nothing is seen."""
        if not _UNESCAPED.match(self.address):
            return ""
        return "; in a password, # is written as %23, / as %2F and ? as %3F"


def parse_sources(texts: Sequence[str]) -> list[Source]:
    """Addresses, camera numbers and paths, each with or without `NAME=` in front.

    Raises:
        ConfigError: a kind of address that is not read, or two sources of one name.
        VideoError: a file is not there.
    """
    sources = [_parse(text) for text in texts]
    names = [source.name for source in sources]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"two sources are named {twice[0]!r}; name them, as in gate=rtsp://host/stream")
    return sources


def named_source(name: str, address: str, written: str) -> Source:
    """An address, a camera's number or a path; raises as :func:`parse_sources` does."""
    return Source(name, address, _kind(address), written)


def is_name(text: str) -> bool:
    """Whether a source can be named so; files are named after it."""
    return bool(_NAME.fullmatch(text)) and bool(re.search(r"\w", text)) and len(text) <= LONGEST_NAME


def _parse(text: str) -> Source:
    named = None if Path(text).is_file() else _NAMED.fullmatch(text)
    address = named[2] if named else text
    kind = _kind(address)
    return Source(named[1] if named else Source("", address, kind).shown, address, kind)


def _kind(address: str) -> str:
    if url := _URL.match(address):
        if url[1].lower() not in SCHEMES:
            raise ConfigError(
                f"{without_secrets(address)}: addresses of the kind {url[1]}:// are not read; "
                f"there are {', '.join(SCHEMES)}, a file's path, or a camera's number"
            )
        if fault := _fault_of_host(address):
            raise ConfigError(f"{without_secrets(address)}: {fault}")
        kind = "stream"
    elif address.isdecimal() or Path(address).is_char_device():
        kind = "device"
    else:
        kind = "file"
        if Path(address).is_dir():
            raise VideoError(f"{address}: a folder; name the files in it, or `score` all of them")
        require_file(Path(address))
        if not Path(address).stat().st_size:
            raise VideoError(f"{address}: the file is empty")
    return kind


def _fault_of_host(address: str) -> str:
    """What is wrong with an address's host or port; "" where nothing is, or a password hides them."""
    if _UNESCAPED.match(address):
        return ""
    try:
        parts = urlsplit(address)
        return (
            "" if parts.hostname and parts.port != 0 else "there is no host in it, as in rtsp://host/stream"
        )
    except ValueError:
        return "a port is a number from 1 to 65535, as in rtsp://host:554/stream"


def rate_of(stamps: np.ndarray, said: float) -> float:
    """Frames a second by the times of some, float64 [n]; 0 of less than two.

    A source that says nearly the same is believed, for the times of a few frames waver. Where they
    came in a burst, as at the beginning of a stream, the middle one of the lengths is still right.
    """
    if len(stamps) < 2:
        return 0.0
    usual, fps = 1 / float(np.median(np.diff(stamps))), measured_rate(stamps)
    fps = fps if abs(fps - usual) <= WAVER * usual else usual
    return said if abs(said - fps) <= WAVER * fps else fps


class LiveClock:
    """When the frames of a live stream were taken, by this machine's clock.

    They come late, by the network's moods; how far they are apart is in their stamps. The
    frame that was the least late of late tells what the difference between the clocks is.
    """

    DRIFT = 0.01  # by which the stream's clock may be slower, as a share
    JUMP = 10.0  # seconds between the clocks that make the stream's one that began anew

    def __init__(self) -> None:
        self._late: float | None = None  # this clock's time less the stream's, of the least late frame
        self._now, self._before = 0.0, 0.0  # the last frame: when it came, and its time

    def time(self, now: float, stamp: float) -> float:
        """The time of a frame that comes now, in seconds of this clock; never less than the last frame's."""
        late = now - stamp
        if self._late is None or abs(late - self._late) > self.JUMP:
            self._late = late
        else:
            self._late = min(late, self._late + self.DRIFT * (now - self._now))
        self._now = now
        self._before = max(self._before + 1e-6, stamp + self._late)
        return self._before
