"""A live MPEG-TS stream over HTTP on this machine: whoever connects gets what is shown now, and time goes on.

Every frame carries its number in black and white squares, which show what was received.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

BITS, SQUARE = 20, 16  # pixels a side; the picture is BITS * SQUARE wide at least


def mark(image: np.ndarray, number: int) -> np.ndarray:
    """A copy of an image, uint8 [H, W, 3], with the number along its upper edge."""
    image = image.copy()
    for bit in range(BITS):
        image[:SQUARE, bit * SQUARE : (bit + 1) * SQUARE] = 255 * (number >> bit & 1)
    return image


def read_mark(image: np.ndarray) -> int:
    """What :func:`mark` wrote, also behind a lossy codec."""
    middle = image[4 : SQUARE - 4, : BITS * SQUARE].mean(axis=(0, 2)).reshape(BITS, SQUARE)[:, 4:-4]
    return sum(int(value > 127) << bit for bit, value in enumerate(middle.mean(axis=1)))


class LiveServer:
    """Shows frame(0), frame(1), ... of `frames` from the moment when it is entered.

    Args:
        frame: number -> RGB, uint8 [H, W, 3], of even sides.
        fps: as the stream says.
        pace: how many times faster they are shown.
        outages: (first, end) in frames; whoever is connected is cut off, nobody gets in.
    """

    def __init__(
        self,
        frame: Callable[[int], np.ndarray],
        frames: int,
        fps: int = 10,
        pace: float = 1.0,
        outages: Sequence[tuple[int, int]] = (),
    ):
        self.frame, self.frames, self.fps, self.pace, self.outages = frame, frames, fps, pace, outages
        self.begun = 0.0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                from av.error import FFmpegError

                if not server.on_air(server.position()):
                    self.send_error(503)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "video/mp2t")
                self.end_headers()
                with contextlib.suppress(OSError, FFmpegError):  # the client went away
                    server.show(self.wfile)

            def log_message(self, *arguments: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/live.ts"

    def __enter__(self) -> "LiveServer":
        self.begun = time.monotonic()
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.frames = 0
        self._http.shutdown()
        self._http.server_close()

    def position(self) -> int:
        """The frame that is shown now."""
        return int((time.monotonic() - self.begun) * self.fps * self.pace)

    def on_air(self, number: int) -> bool:
        return number < self.frames and not any(first <= number < end for first, end in self.outages)

    def show(self, file: Any) -> None:
        """From what is shown now until the end, or the next outage."""
        import av

        number = self.position()
        with av.open(
            file, "w", format="mpegts", buffer_size=1316, options={"flush_packets": "1"}
        ) as container:
            stream = container.add_stream("mpeg4", rate=self.fps)
            stream.height, stream.width = self.frame(number).shape[:2]
            stream.gop_size, stream.bit_rate, stream.pix_fmt = 1, 8_000_000, "yuv420p"
            while self.on_air(number):
                time.sleep(max(0.0, self.begun + number / self.fps / self.pace - time.monotonic()))
                picture = av.VideoFrame.from_ndarray(mark(self.frame(number), number), format="rgb24")
                picture.pts, picture.time_base = number, Fraction(1, self.fps)
                for packet in stream.encode(picture):
                    container.mux(packet)
                number = max(number + 1, self.position())
