"""A video file as a live stream over HTTP on this machine, packet by packet; and a detector of light."""

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import torch
from live_stream import mark
from torch import Tensor

from ssrl_pipeline.models import Detector

SIZE = (320, 240)
FPS = 25


def marked_video(
    path: Path,
    frames: int,
    bright: Sequence[tuple[int, int]] = (),
    codec: str = "libx264",
    bframes: int = 2,
    keys: int = 25,
) -> Path:
    """Frames that carry their number along the upper edge; light noise below in (first, end) of `bright`.

    Args:
        codec: of the video; its B-frames and the frames from one key frame to the next are `bframes`, `keys`.
    """
    noise = np.random.default_rng(0).integers(0, 60, (SIZE[1], SIZE[0], 3), np.uint8)
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=FPS)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size = keys
        if codec == "libsvtav1":
            stream.options = {"preset": "12", "crf": "18", "svtav1-params": f"keyint={keys}"}
        elif codec.startswith("lib"):
            stream.options = {"bf": str(bframes), "preset": "ultrafast", "crf": "18"}
            stream.options |= {
                "x265-params": f"keyint={keys}:log-level=none",
                "x264-params": "sliced-threads=0",
            }
        else:
            stream.bit_rate = 8_000_000
        for i in range(frames):
            light = 180 if any(first <= i < end for first, end in bright) else 0
            picture = mark(np.roll(noise, 2 * i, 1) + np.uint8(light), i)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


class Live:
    """Who connects gets what is shown now, from a key frame on.

    Attributes:
        url: of the stream.
        cut: while it is set, whoever is connected is cut off, and nobody gets in.
    """

    def __init__(self, path: Path, pace: float = 1.0):
        self.cut, self._ended = threading.Event(), threading.Event()
        self._path, self._pace = path, pace
        self._begun = 0.0
        live = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if live.cut.is_set():
                    self.send_error(503)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "video/mp2t")
                self.end_headers()
                with contextlib.suppress(OSError, av.FFmpegError):
                    live.show(self.wfile)

            def log_message(self, *arguments: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/live.ts"

    def __enter__(self) -> "Live":
        self._begun = time.monotonic()
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._http.shutdown()
        self._http.server_close()

    def show(self, file: object) -> None:
        options = {"flush_packets": "1"}
        with (
            av.open(str(self._path)) as source,
            av.open(file, "w", format="mpegts", buffer_size=1316, options=options) as sink,
        ):
            stream = source.streams.video[0]
            target, begun = sink.add_stream_from_template(stream), False
            for packet in source.demux(stream):
                if packet.pts is None:
                    continue
                due = self._begun + float((packet.dts or 0) * packet.time_base) / self._pace
                begun = begun or (packet.is_keyframe and due > time.monotonic() - 0.5)
                if not begun:
                    continue
                if self._ended.wait(max(0.0, due - time.monotonic())) or self.cut.is_set():
                    return
                packet.stream = target
                sink.mux(packet)


class Score(NamedTuple):
    scores: Tensor


class Light(Detector):
    """Scores how light the lower part of the picture is."""

    kind, related = "light", False
    feature_size, views = 1, {"clip": 1}

    def forward(self, views: Mapping[str, Tensor]) -> Score:
        return Score(views["clip"][..., 0, 0])


def describe_light(snippets: Sequence[np.ndarray], wanted: object = None) -> list[dict[str, np.ndarray]]:
    """Of each snippet, uint8 [16, H, W, 3]: its mean as the one feature, whatever is wanted of it."""
    return [{"clip": np.full((1, 1, 1), images[:, 32:].mean() / 255, np.float32)} for images in snippets]


@contextlib.contextmanager
def stopped_after(seconds: float) -> Iterator[threading.Event]:
    """An event that is set then at the latest, so that no test hangs."""
    stop = threading.Event()
    timer = threading.Timer(seconds, stop.set)
    timer.start()
    try:
        yield stop
    finally:
        timer.cancel()


LIGHT = Light().eval()
CPU = torch.device("cpu")
