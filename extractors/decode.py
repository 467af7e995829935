"""Videos as a stream of RGB frames: decord decodes, OpenCV where decord cannot, PyAV where neither can.

A video is decoded in a process of its own: one that hangs, crashes or eats the
memory over a broken or hostile file is a :class:`VideoError` and nothing worse,
and decoding goes on beside what is done with the frames. The memory is bounded,
however slow the consumer is. A decoder that gives up in the middle raises
:class:`VideoError`; whoever reads the frames starts again with the next of
:data:`DECODERS`, so that no video is ever stitched together from two.
"""

import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.extractors.decoders import DESCRIPTORS, VideoInfo, cut_short, fewer, is_utf8
from ssrl_pipeline.extractors.ring import SLOTS, Layout, SharedMemory, map_blocks
from ssrl_pipeline.extractors.sizes import SizeWatch, can_watch
from ssrl_pipeline.extractors.transport import gaps
from ssrl_pipeline.extractors.worker_process import WorkerFailed, WorkerProcess

__all__ = ["DECODERS", "EXTENSIONS", "Limits", "Video", "VideoInfo", "open_video", "probe"]

DECODERS = ("decord", "opencv", *(["pyav"] if find_spec("av") else []))  # PyAV is of the extra `video`
EXTENSIONS = {  # under which libav's containers and raw streams of video go; not those of sound or pictures
    *(".3g2", ".3gp", ".3gp2", ".3gpp", ".f4v", ".ismv", ".m4v", ".mj2", ".mov", ".mp4", ".mp4v", ".qt"),
    *(".evo", ".m1v", ".m2p", ".m2t", ".m2ts", ".m2v", ".mod", ".mpe", ".mpeg", ".mpg", ".mpv", ".mts"),
    *(".tod", ".tp", ".trp", ".ts", ".vob"),  # MPEG, as those before
    *(".amv", ".asf", ".avi", ".divx", ".dvr-ms", ".wm", ".wmv", ".wtv", ".xvid"),
    *(".flv", ".ivf", ".ivr", ".mk3d", ".mkv", ".nut", ".ogm", ".ogv", ".rm", ".rmvb", ".webm", ".y4m"),
    *(".dif", ".dv", ".gxf", ".mxf"),  # of studios and tapes
    *(".dav", ".ifv", ".mxg"),  # of recorders of cameras
    *(".264", ".265", ".266", ".avc", ".h261", ".h263", ".h264", ".h265", ".h266", ".h26l", ".hevc", ".vvc"),
    *(".av1", ".mjpeg", ".mjpg", ".obu", ".rcv", ".vc1"),  # raw, as those before
}
SCALE = ("decord", "opencv")  # frames of another size to the first's, without a word
SLOWEST_DISK = 10e6  # bytes a second: decord goes through the whole file before its first frame
HEADER_SECONDS = 10.0
_HOME = "ssrl_pipeline.extractors.decoders"
_OPENERS = {name: f"{_HOME}:open_{name}" for name in ("decord", "opencv", "pyav")}


class Limits(NamedTuple):
    """What a decoding process may take before it is ended."""

    seconds: float = 60.0  # without a frame, while somebody waits for one
    memory: int = 6 << 30  # bytes of its own, frames on their way not counted; Linux alone keeps to it
    threads: int = 0  # 0: as many as the decoder likes, which is one a core


class Video(NamedTuple):
    """An open video; its process ends with the frames, with :meth:`close`, or when nobody holds it."""

    info: VideoInfo
    decoder: str
    frames: Iterator[np.ndarray]  # RGB, uint8 [H, W, 3]
    damage: Callable[[], str]  # after the last frame: what libav complained of, what was scaled; or ""

    def close(self) -> None:
        getattr(self.frames, "close", lambda: None)()

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
    decoder: str = "decord",
    limits: Limits | None = None,
    started: Callable[[Callable[[], None]], None] = lambda end: None,
    lend: bool = False,
) -> Video:
    """Opens a video with one decoder of :data:`DECODERS`.

    A file that ends before its container says (AVI, FLV, Matroska, WebM, WMV, MP4) is
    an error. What states no size and no number of frames is taken as it is: an
    MPEG stream that was cut is a shorter video. Frames that libav mends, as it
    and all players do, are given as they are mended; :attr:`Video.damage` tells.

    Args:
        path: the file.
        decoder: which one.
        limits: of time, memory and threads; none given, the usual ones.
        started: told early what ends the decoding from another thread, while it opens the file too.
        lend: a frame is there until the next is asked for; else it is the caller's, who pays for a copy.

    Raises:
        VideoError: the file is missing, empty, or not a video that this decoder
            reads; while iterating, the decoder stopped before the end, crashed,
            hung, or took too much memory.
    """
    require_file(path)
    if not is_utf8(str(path)) and not DESCRIPTORS.is_dir():  # OpenCV crashes over it
        raise VideoError(f"{path}: its name is no UTF-8, and the decoders want that; rename it")
    size = path.stat().st_size
    if size == 0:
        raise VideoError(f"{path}: the file is empty")
    if decoder not in DECODERS:  # said by a file
        raise VideoError(f"{path}: unknown decoder {decoder!r}; there are {', '.join(DECODERS)}")
    limits = limits or Limits()
    task: dict[str, Any] = {"decoder": _OPENERS[decoder], "path": str(path)}
    task |= {"limit": limits.memory, "threads": limits.threads}
    memory = SharedMemory()
    try:
        worker = WorkerProcess({**task, "memory": memory.key}, memory.descriptor, ahead=SLOTS)
        started(worker.close)
        source = _Source(path, decoder, limits, worker)
        try:
            answer = source.ask(limits.seconds + size / SLOWEST_DISK)
            info = VideoInfo(*answer["info"])
            layout = Layout(info.height, info.width)
            memory.grow(layout.total_bytes)
            blocks = map_blocks(memory.key, layout)
        except BaseException:
            worker.close()
            raise
    finally:
        memory.close()
    for _ in range(1 + SLOTS):  # the memory is there, all of it is free
        worker.send(None)
    return Video(info, decoder, _Frames(source.close, source.frames(blocks, lend)), source.damage)


def require_file(path: Path) -> None:
    """Raises VideoError where there is no file that can be read; a pipe would be waited for."""
    if not path.exists():
        raise VideoError(f"{path}: no such file")
    if not os.access(path, os.R_OK):
        raise VideoError(f"{path}: may not be read; change its permissions")
    if not path.is_file():
        raise VideoError(f"{path}: not a regular file")


def probe(
    paths: Iterable[Path], seconds: float = HEADER_SECONDS, guess: bool = False
) -> Iterator[VideoInfo | None]:
    """What the containers say, one after the other, read in one process; None for what cannot be read.

    Args:
        paths: of the videos.
        seconds: after which a file is given up.
        guess: whether the frames of one that tells no number, or an unlikely rate, are reckoned from
            its first packets and its size, as a negative number; 0 where it has none. They are no promise.
    """
    worker: WorkerProcess | None = None
    try:
        for path in paths:
            if not path.is_file() or path.stat().st_size == 0:
                yield None
                continue
            worker = worker or WorkerProcess({"limit": Limits().memory})
            worker.send({"path": str(path), "guess": guess})
            try:
                answer = worker.receive(seconds)
            except WorkerFailed:
                worker = None
                yield None
            else:
                yield VideoInfo(*answer["info"]) if "info" in answer else None
    finally:
        if worker:
            worker.close()


class _Source:
    """The conversation with a worker that decodes one video."""

    def __init__(self, path: Path, decoder: str, limits: Limits, worker: WorkerProcess):
        self.path, self.decoder, self.limits, self.worker = path, decoder, limits, worker
        self.count = 0
        self.remark = ""  # on the frames, after the last of them
        self._sizes: SizeWatch | None = None  # once there are frames

    def close(self) -> None:
        self.worker.close()
        if self._sizes:
            self._sizes.close()

    def ask(self, seconds: float) -> dict[str, Any]:
        """The next answer that is no error."""
        try:
            answer = self.worker.receive(seconds)
        except WorkerFailed as error:
            raise self._failed(str(error)) from None
        if answer.get("memory"):
            raise self._failed(f"wants more memory than {self.limits.memory / (1 << 30):.3g} GiB")
        if "error" in answer:
            raise VideoError(answer["error"])
        return answer

    def frames(self, blocks: np.ndarray, lend: bool) -> Iterator[np.ndarray]:
        """uint8 [slots, frames of a block, H, W, 3] -> [H, W, 3] after [H, W, 3], lent or copied."""
        slot = 0
        try:
            while "frames" in (answer := self.ask(self.limits.seconds)):
                self._check_colours()
                if self._sizes is None and self.decoder in SCALE and can_watch():
                    self._sizes = SizeWatch(self.path, self.limits.memory)
                for frame in blocks[slot, : answer["frames"]]:
                    yield frame if lend else frame.copy()
                    self.count += 1
                self.worker.given_back()
                slot = (slot + 1) % len(blocks)
            if self._sizes:
                self.remark = self._sizes.result(self.limits.seconds)
        finally:
            self.close()
        self._check_colours()
        self._check_end()

    def damage(self) -> str:
        found = self.worker.complaints()
        if lost := gaps(self.path):
            found = [f"{lost} gaps in the transport stream", *found]
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        said = [f"perhaps damaged ({found[0][:100]}{more})"] if found else []
        return "; ".join([*said, self.remark] if self.remark else said)

    def _check_colours(self) -> None:
        """OpenCV 5.0 gives interlaced frames as black ones without an error; libav's complaint is there."""
        if any(complaint.startswith("swscaler: Cannot convert") for complaint in self.worker.complaints()):
            raise VideoError(
                f"{self.path}: {self.decoder} cannot convert its frames, which are interlaced "
                "(re-encode the file, or install the extra `video`)"
            )

    def _check_end(self) -> None:
        """What a decoder passes over because it is damaged may be the rest of the video."""
        if self.worker.complaints() and self.decoder != "opencv":
            header = next(iter(probe([self.path])), None)
            if header and fewer(self.count, header.reported_frames):
                raise cut_short(self.path, self.count, header.reported_frames)

    def _failed(self, what: str) -> VideoError:
        return VideoError(
            f"{self.path}: {self.decoder} {what}, after {self.count} frames "
            "(re-encode the file or leave it out)"
        )


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
