"""How sources are read: by which clock, and what is told of those that cannot be read."""

import itertools
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from helpers.live_video import Live, marked_video

from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.extractors.decoding import hardware, video
from ssrl_pipeline.extractors.decoding.hardware import acceleration
from ssrl_pipeline.settings import WatchSettings
from ssrl_pipeline.watching import camera as camera_module
from ssrl_pipeline.watching.camera import Camera, Connected, Ended, Item, Lost, Snippet
from ssrl_pipeline.watching.sources import LiveClock, parse_sources, rate_of


def test_a_live_clock_goes_by_the_stream_and_not_by_the_network() -> None:
    rng = np.random.default_rng(0)
    sent = np.arange(500) / 25
    late = rng.exponential(0.05, len(sent))
    late[200:240] += 3 - (sent[200:240] - sent[200])  # three seconds nothing, then all at once
    came = np.maximum.accumulate(1000 + sent + late)
    clock = LiveClock()
    times = np.array([clock.time(now, 7 + stamp) for now, stamp in zip(came, sent, strict=True)])
    assert (np.diff(times) > 0).all()
    assert np.abs(np.diff(times[100:]) - 1 / 25).max() < 0.035  # and not 3 seconds
    assert (times - 1000 - sent)[100:].max() < 0.1


@pytest.mark.parametrize("pace", [0.999, 1.001])
def test_a_live_clock_follows_this_machines_for_months(pace: float) -> None:
    """A camera's clock that is a thousandth too slow or too fast: a minute and a half in a day."""
    clock = LiveClock()
    for now in np.arange(0, 86400, 5.0):
        assert abs(clock.time(now, pace * now) - now) < 0.01


def test_a_live_clock_takes_a_stream_that_begins_anew() -> None:
    clock = LiveClock()
    times = [clock.time(now, stamp) for now, stamp in ((5, 100), (6, 101), (7, 3), (8, 4))]
    assert times == pytest.approx([5, 6, 7, 8])


def test_the_rate_is_that_of_the_times() -> None:
    assert rate_of(np.arange(16) / 8.0, said=25.0) == pytest.approx(8.0)
    assert rate_of(np.arange(16) / 24.9, said=25.0) == 25.0
    assert rate_of(np.array([3.0]), said=25.0) == 0.0


def items(source: str, until: Callable[[list[Item]], bool], timeout: float = 2.0) -> list[Item]:
    """What a camera gives."""
    ready, found = threading.Condition(), list[Item]()
    (parsed,) = parse_sources([source])
    camera = Camera(parsed, ready, WatchSettings(timeout=timeout))
    end = time.monotonic() + 60
    camera.start()
    try:
        while not until(found) and time.monotonic() < end:
            with ready:
                ready.wait_for(camera.waiting, 0.2)
            found += camera.take()
    finally:
        camera.stop()
        begun = time.monotonic()
        assert camera.join(10) and time.monotonic() - begun < 8
    return found


def lost(source: str, timeout: float = 2.0) -> str:
    """Why it is not there."""
    found = items(source, until=bool, timeout=timeout)
    assert isinstance(found[0], Lost), found
    return found[0].reason


@contextmanager
def rtsp_server(answer: str | None) -> Iterator[int]:
    """Refuses with a status, or says nothing; the port."""

    def serve(connection: socket.socket) -> None:
        with connection:
            while answer and (request := connection.recv(4096).decode()):
                number = next(line for line in request.split("\r\n") if line.lower().startswith("cseq"))
                status = "200 OK" if request.startswith("OPTIONS") else answer
                connection.sendall(f"RTSP/1.0 {status}\r\n{number}\r\nPublic: DESCRIBE\r\n\r\n".encode())
            time.sleep(0 if answer else 10)

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]


@contextmanager
def http_server(do_get: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        do_GET = do_get

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("401 Unauthorized", "401 Unauthorized"),
        ("404 Not Found", "404 Not Found"),
        (None, "no answer for 2 "),
    ],
)
def test_an_rtsp_server_that_refuses_is_quoted(status: str | None, reason: str) -> None:
    with rtsp_server(status) as port:
        said = lost(f"rtsp://admin:geheim@127.0.0.1:{port}/a?key=geheim")
    assert reason in said and "geheim" not in said and "Errno" not in said


def test_what_is_wrong_with_an_address_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert lost(f"rtsp://admin:geheim@127.0.0.1:{port}/a") == "Connection refused"
    assert "resolve hostname" in lost("rtsp://admin:geheim@nothing.invalid/a")
    unescaped = lost(f"rtsp://admin:ge#heim@127.0.0.1:{port}/a")
    assert "# is written as %23" in unescaped and "heim" not in unescaped
    assert "%23" not in lost(f"rtsp://admin:ge%23heim@127.0.0.1:{port}/a#x@y")


def test_what_a_web_server_gives_that_is_no_video_is_told() -> None:
    def serve(handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/page.mp4":
            page = b"<html>not found</html>" * 100
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(page)))
            handler.end_headers()
            handler.wfile.write(page)
        else:
            handler.send_error(int(handler.path[1:]))

    with http_server(serve) as port:
        assert lost(f"http://127.0.0.1:{port}/page.mp4").startswith("what it sends is no video")
        assert "404 Not Found" in lost(f"http://u:geheim@127.0.0.1:{port}/404")
        assert "401 Unauthorized" in lost(f"http://u:geheim@127.0.0.1:{port}/401")


def test_a_camera_that_is_not_there_is_told() -> None:
    assert lost("97") == "there is no /dev/video97"
    assert "ioctl" in lost("/dev/null")


def test_a_camera_without_a_clock_has_the_rate_at_which_its_pictures_come() -> None:
    """Pictures over HTTP say no rate; libav would count 25 a second."""
    pictures = [
        cv2.imencode(".jpg", np.full((48, 64, 3), shade, np.uint8))[1].tobytes() for shade in (50, 90)
    ]

    def serve(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        handler.end_headers()
        try:
            for picture in itertools.cycle(pictures):
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                handler.wfile.write(head.encode() + picture + b"\r\n")
                time.sleep(1 / 8)
        except OSError:
            pass

    with http_server(serve) as port:
        found = items(f"http://127.0.0.1:{port}/", until=lambda some: sum(map(is_snippet, some)) == 3)
    assert isinstance(found[0], Connected) and 6.5 < found[0].fps < 9.5
    begun = [one.time_s for one in found if isinstance(one, Snippet)]
    assert np.diff(begun) == pytest.approx([2.0] * 2, rel=0.4)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux alone")
@pytest.mark.parametrize(
    ("decoder", "timeout", "frames", "reason"),
    [
        ("hang_later", 1.0, 20, "the decoder gave no answer for 1.5 seconds, after 20 frames"),
        ("abort", 20.0, 16, "the decoder crashed: its process was ended by SIGABRT (corrupted"),
        ("eat_memory", 20.0, 16, "the decoder wants more memory than 0.5 GiB"),
    ],
)
def test_a_decoder_that_hangs_crashes_or_grows_is_ended_and_the_stream_opened_again(
    decoder: str, timeout: float, frames: int, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(video.OPENERS, "stream", f"helpers.fake_decoders:{decoder}")
    monkeypatch.setattr(video, "TIDYING", 0.5)
    monkeypatch.setattr(camera_module, "MEMORY", 1 << 29)
    monkeypatch.setattr(camera_module, "FIRST_WAIT", 0.01)

    def twice(some: list[Item]) -> bool:
        return sum(isinstance(item, Lost) for item in some) == 2

    found = items("rtsp://127.0.0.1/x", until=twice, timeout=timeout)
    reasons = [(item.frames, item.reason) for item in found if isinstance(item, Lost)]
    assert [count for count, _ in reasons] == [frames, 2 * frames]
    assert all(said.startswith(reason) for _, said in reasons)
    assert [item.frame for item in found if isinstance(item, Connected)] == [0, frames]
    assert sum(map(is_snippet, found)) == 2


def test_a_machine_without_room_for_another_process_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a stream that is not there: it is told, and the camera goes on when there is room."""
    tries = itertools.count()

    def full(*arguments: object, **options: object) -> None:
        next(tries)
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Camera, "_open", full)
    monkeypatch.setattr(camera_module, "FIRST_WAIT", 0.01)
    found = items("rtsp://127.0.0.1/x", until=lambda some: bool(some) and next(tries) > 5)
    assert [type(item) for item in found] == [Lost]
    assert isinstance(found[0], Lost) and "Too many open files" in found[0].reason


def test_hardware_decodes_where_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert acceleration("none") == ("", None)
    with pytest.raises(VideoError, match="no decoding by abacus .*auto takes what there is"):
        acceleration("abacus")

    class Missing:
        def __init__(self, name: str, **options: object):
            pass

        def create(self, codec: object) -> None:
            raise OSError("no such device")

    class There(Missing):
        def create(self, codec: object) -> None:
            pass

    offered = SimpleNamespace(
        hardware_configs=[
            SimpleNamespace(device_type=SimpleNamespace(name="cuda"), is_supported=True),
            SimpleNamespace(device_type=SimpleNamespace(name="qsv"), is_supported=False),
        ]
    )
    monkeypatch.setattr(hardware.av, "Codec", lambda name, mode: offered)
    monkeypatch.setattr(hardware, "hwdevices_available", lambda: ["qsv", "cuda"])
    monkeypatch.setattr(hardware, "HWAccel", Missing)
    assert acceleration("auto") == ("", None)
    with pytest.raises(VideoError, match=r"no decoding by cuda \(no such device\)"):
        acceleration("cuda")
    monkeypatch.setattr(hardware, "HWAccel", There)
    name, setting = acceleration("auto")
    assert name == "cuda" and isinstance(setting, There)


def test_a_stream_is_decoded_by_the_processor_where_nothing_else_is_there(tmp_path: Path) -> None:
    with Live(marked_video(tmp_path / "a.mp4", 100)) as live:
        ready = threading.Condition()
        (source,) = parse_sources([live.url])
        settings = WatchSettings(hwaccel="auto")
        camera = Camera(source, ready, settings, opener=partial(camera_module.open_source, hwaccel="auto"))
        camera.start()
        with ready:
            assert ready.wait_for(camera.waiting, 30)
        (first, *_) = camera.take()
        camera.stop()
        assert camera.join(10)
    assert isinstance(first, Connected) and first.width == 320


def is_snippet(item: Item) -> bool:
    return isinstance(item, Snippet)


def is_end(some: list[Item]) -> bool:
    return any(isinstance(item, Ended) for item in some)


@pytest.mark.parametrize(
    ("name", "frames", "last_s"),
    [
        ("editlist.mp4", 77, 2.56),
        ("late.mkv", 40, 1.28),
        ("gap5s.avi", 40, 6.28),
        ("interlaced.ts", 40, 1.28),
    ],
)
def test_files_that_are_whole_are_read_to_their_end(
    shared: Path, name: str, frames: int, last_s: float
) -> None:
    found = items(str(shared / "data" / "faults" / "watch" / name), until=is_end)
    assert found[-1] == Ended(frames, None)
    snippets = [one for one in found if isinstance(one, Snippet)]
    assert snippets[-1].time_s == pytest.approx(last_s, abs=0.02)
    assert all(one.images.mean() > 80 for one in snippets)
