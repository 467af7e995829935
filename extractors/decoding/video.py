"""Videos as a stream of RGB frames with their times, decoded by libav in a process of its own.

A decoder that hangs, crashes or eats the memory over a broken or hostile file is a
:class:`VideoError` and nothing worse, and decoding goes on beside what is done with the
frames. The memory is bounded, however slow the consumer is. Files, streams on the network
and cameras of this machine are read in the same way.
"""

import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from ssrl_pipeline.disk import is_utf8
from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.extractors.decoding.containers import gaps, require_file
from ssrl_pipeline.extractors.decoding.process import WorkerFailed, WorkerProcess
from ssrl_pipeline.extractors.decoding.shared_frames import (
    BLOCK_FRAMES,
    NO_PIXELS,
    SLOTS,
    Layout,
    SharedMemory,
    map_blocks,
)

DECODER = "pyav"  # what decodes, as meta.json and scores.json say it
HEARD = 0.2  # seconds in which a complaint that was written is read
DESCRIPTORS = Path("/proc/self/fd")  # where Linux shows the open files of a process
_HOME = "ssrl_pipeline.extractors.decoding.decoder"
RECORDER = "ssrl_pipeline.extractors.decoding.recording.recorder:Recorder"
TIDYING = 5.0  # seconds after which libav, which has waited for a live stream's next frame, says so itself
OPENERS = {kind: f"{_HOME}:open_{kind}" for kind in ("file", "pictures", "stream", "camera")}


class VideoInfo(NamedTuple):
    """What a container says of its video before any frame is decoded."""

    fps: float  # frames a second; 0 when unknown
    width: int
    height: int
    reported_frames: int  # may be wrong: the decoded frames decide; 0 when unknown


class Limits(NamedTuple):
    """What a decoding process may take before it is ended."""

    seconds: float = 60.0  # without a frame, while somebody waits for one
    memory: int = 6 << 30  # bytes of its own, frames on their way not counted; Linux alone keeps to it
    threads: int = 0  # 0: as many as the decoder likes, which is one a core


class Keep(NamedTuple):
    """How much of a video's packets is kept while it is read, for clips and stills."""

    seconds: float
    size: int = 64 << 20  # bytes at most


class Video:
    """An open video; its process ends with the frames, with :meth:`close`, or when nobody holds it.

    Attributes:
        info: what the container says; the size is that of the frames.
        frames: an iterator over RGB frames, uint8 [H, W, 3]; those that a rate did not choose are
            :data:`NO_PIXELS`, uint8 [0, 0, 3].
        hardware: what decodes it, where the processor does not; else "".
    """

    def __init__(self, info: VideoInfo, conversation: "_Conversation", blocks: np.ndarray, lend: bool):
        self.info, self._conversation = info, conversation
        self.hardware = conversation.hardware
        self.frames = _Frames(conversation.close, conversation.frames(blocks, lend))

    @property
    def time(self) -> float:
        """When the frame that :attr:`frames` gave last is shown, in seconds from the beginning.

        That of a live stream is its first frame.
        """
        return self._conversation.time

    @property
    def codec(self) -> str:
        """The video's, by libav's name for what decodes it; "" of pictures."""
        return self._conversation.codec

    def damage(self) -> str:
        """After the last frame: what libav complained of, what was scaled, whose times were mended; or ""."""
        return self._conversation.damage()

    def ask(self, key: str, message: dict[str, Any], told: Callable[[dict[str, Any]], object] | None) -> None:
        """Asks for a clip or a still, as :mod:`ssrl_pipeline.extractors.decoding.recording.recorder` says.

        A video that was opened to keep packets takes this until it is closed, also after its last frame.

        Args:
            key: that names the answer.
            message: {"ask": ..., ...}.
            told: is given the answer in another thread, which it must not hold up; None: there is none.
        """
        self._conversation.worker.ask(key, message, told)

    @property
    def waits(self) -> bool:
        """Whether something that was asked is not answered yet."""
        return self._conversation.worker.waits

    def close(self) -> None:
        self.frames.close()

    def __enter__(self) -> "Video":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def open_video(
    path: Path,
    limits: Limits | None = None,
    started: Callable[[Callable[[], None]], None] = lambda end: None,
    lend: bool = False,
    picture_fps: float | None = None,
    keep: Keep | None = None,
    rate: float | None = None,
) -> Video:
    """Opens a video file, or a folder of pictures that are its frames.

    A file that ends before its container says (AVI, FLV, Matroska, WebM, WMV, MP4) is
    an error. What states no size and no number of frames is taken as it is: an
    MPEG stream that was cut is a shorter video. Frames that libav mends, as it
    and all players do, are given as they are mended; :meth:`Video.damage` tells.

    Args:
        path: the file, or the folder.
        limits: of time, memory and threads; none given, the usual ones.
        started: told early what ends the decoding from another thread, while it opens the file too.
        lend: a frame is there until the next is asked for; else it is the caller's, who pays for a copy.
        picture_fps: how many of a folder's pictures are shown a second.
        keep: packets, for :meth:`Video.ask`; the process then ends with :meth:`Video.close` alone.
        rate: frames a second whose pixels are wanted, as :class:`FrameChoice` chooses them; None: of all.

    Raises:
        VideoError: the file is missing, empty, or not a video; it is a folder, and there is no
            `picture_fps`; while iterating, the decoder stopped before the end, crashed, hung, or
            took too much memory.
    """
    limits = limits or Limits()
    if path.is_dir():
        if not picture_fps:
            raise VideoError(f"{path}: a folder; if its pictures are a video's frames, give --frames FPS")
        task: dict[str, Any] = {"open": OPENERS["pictures"], "arguments": [str(path), picture_fps]}
    else:
        require_file(path)
        if not is_utf8(str(path)) and not DESCRIPTORS.is_dir():
            raise VideoError(f"{path}: its name is no UTF-8, and the decoder wants that; rename it")
        if path.stat().st_size == 0:
            raise VideoError(f"{path}: the file is empty")
        task = {"open": OPENERS["file"], "arguments": [str(path), limits.threads]}
    task["most"] = BLOCK_FRAMES
    return _open(path, task, limits, started, lend, keep, rate)


def open_live(
    address: str,
    kind: str,
    limits: Limits,
    started: Callable[[Callable[[], None]], None] = lambda end: None,
    lend: bool = False,
    keep: Keep | None = None,
    hwaccel: str = "none",
    rate: float | None = None,
) -> Video:
    """Opens a stream on the network or a camera of this machine; frames come one by one, as they are sent.

    Args:
        address: a URL, or the camera's number or device.
        kind: "stream" or "camera".
        limits, started, lend, keep, rate: as of :func:`open_video`.
        hwaccel: what decodes: "none", the processor; "auto", what there is; or a device as libav names it.

    Raises:
        VideoError: as :func:`open_video`; it tells the reason alone, for the address may hold a password.
    """
    arguments = [address, limits.threads, limits.seconds, hwaccel]
    task = {"open": OPENERS[kind], "arguments": arguments, "most": 1}
    patience = limits.seconds + TIDYING  # libav gives up first, and says why
    opening = limits._replace(seconds=2 * limits.seconds + 30)  # it may be opened twice
    return _open(None, task, opening, started, lend, keep, rate, patience)


def _open(
    path: Path | None,
    task: dict[str, Any],
    limits: Limits,
    started: Callable[[Callable[[], None]], None],
    lend: bool,
    keep: Keep | None,
    rate: float | None,
    patience: float | None = None,
) -> Video:
    """`patience`: seconds without a frame, once the first is there; None: the limits'."""
    memory = SharedMemory()
    try:
        task |= {"limit": limits.memory, "memory": memory.key}
        if keep:
            task["keep"] = [RECORDER, *keep]
        if rate:
            task["rate"] = rate
        worker = WorkerProcess(task, memory.descriptor, ahead=SLOTS)
        started(worker.close)
        conversation = _Conversation(path, limits, worker, stays=keep is not None)
        try:
            answer = conversation.ask()
            info = VideoInfo(*answer["info"])
            conversation.beside = tuple(f"{name}:" for name in answer["beside"])
            conversation.hardware = answer["hardware"]
            conversation.limits = limits._replace(seconds=patience or limits.seconds)
            conversation.codec = answer["codec"]
            layout = Layout(info.height, info.width, task["most"])
            memory.grow(layout.total_bytes)
            blocks = map_blocks(memory.key, layout)
        except BaseException:
            worker.close()
            raise
    finally:
        memory.close()
    for _ in range(1 + SLOTS):  # the memory is there, all of it is free
        worker.send(None)
    return Video(info, conversation, blocks, lend)


class _Conversation:
    """What is said to and by a worker that decodes one video."""

    def __init__(self, path: Path | None, limits: Limits, worker: WorkerProcess, stays: bool):
        self.path, self.limits, self.worker, self.stays = path, limits, worker, stays
        self.hardware = ""
        self.count, self.time = 0, 0.0
        self.beside: tuple[str, ...] = ()  # how complaints of sound begin
        self.codec = ""
        self._notes: list[str] = []  # on the frames, after the last of them

    def close(self) -> None:
        self.worker.close()

    def ask(self) -> dict[str, Any]:
        """The next answer that is no error."""
        try:
            answer = self.worker.receive(self.limits.seconds)
        except WorkerFailed as error:
            raise self._failed(str(error)) from None
        if answer.get("memory"):
            raise self._failed(f"wants more memory than {self.limits.memory / (1 << 30):.3g} GiB")
        if "error" in answer:
            raise VideoError(self._named(answer["error"]) if self.path else self._reason(answer["error"]))
        return answer

    def frames(self, blocks: np.ndarray, lend: bool) -> Iterator[np.ndarray]:
        """uint8 [slots, frames of a block, H, W, 3] -> [H, W, 3] after [H, W, 3], lent or copied."""
        slot = 0
        try:
            while "times" in (answer := self.ask()):
                times = answer["times"]
                for number, self.time in enumerate(times):
                    frame = NO_PIXELS if number in answer["empty"] else blocks[slot, number]
                    yield frame if lend else frame.copy()
                    self.count += 1
                self.worker.given_back()
                slot = (slot + 1) % len(blocks)
            self._notes = answer["notes"]
        finally:
            if not self.stays:
                self.close()

    def damage(self) -> str:
        if self.stays:
            time.sleep(HEARD)
        found = [one for one in self.worker.complaints() if not one.startswith(self.beside)]
        if self.path and self.path.is_file() and (lost := gaps(self.path)):
            found = [f"{lost} gaps in the transport stream", *found]
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        said = [f"perhaps damaged ({found[0][:100]}{more})"] if found else []
        return "; ".join([*said, *self._notes])

    def _failed(self, what: str) -> VideoError:
        way_out = " (re-encode the file or leave it out)" if self.path else ""
        return VideoError(self._named(f"the decoder {what}, after {self.count} frames{way_out}"))

    def _reason(self, said: str) -> str:
        """Why a live stream is not there: what libav complained of tells more than its error's name."""
        if self.stays:
            time.sleep(HEARD)
        else:
            self.worker.close()  # then all complaints are here
        complaints = self.worker.complaints()
        complaints = [one for one in complaints if said not in one and "Immediate exit" not in one]
        return f"{said} ({complaints[-1]})" if complaints else said

    def _named(self, text: str) -> str:
        return text if self.path is None or text.startswith(f"{self.path}: ") else f"{self.path}: {text}"


class _Frames(Iterator[np.ndarray]):
    """Frames whose worker ends when nobody holds them any more, even where none was ever read."""

    def __init__(self, close: Callable[[], None], frames: Iterator[np.ndarray]):
        self._frames = frames
        self._end = weakref.finalize(self, close)

    def __next__(self) -> np.ndarray:
        if not self._end.alive:
            raise StopIteration
        return next(self._frames)

    def close(self) -> None:
        self._end()
