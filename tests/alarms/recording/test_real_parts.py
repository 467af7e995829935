"""Clips with real parts: GStreamer's RTSP server, and a Chromium that plays; skipped without them."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.live_video import marked_video
from helpers.recorded import Watched, check_clip, rows_of

from ssrl_pipeline.settings import AlarmSettings

SYSTEM_PYTHON = "/usr/bin/python3"
NEEDS = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
SERVER = Path(__file__).resolve().parents[2] / "helpers" / "rtsp_server.py"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "a.mp4"
    return marked_video(path, 200, bright=[(75, 115)], bframes=0)


@pytest.fixture
def rtsp(source: Path) -> Iterator[str]:
    if (
        not Path(SYSTEM_PYTHON).exists()
        or subprocess.run([SYSTEM_PYTHON, "-c", NEEDS], capture_output=True).returncode
    ):
        pytest.skip("GStreamer's RTSP server is not there (apt: python3-gi gir1.2-gst-rtsp-server-1.0)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen([SYSTEM_PYTHON, str(SERVER), str(port), str(source)])
    try:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"rtsp://127.0.0.1:{port}/cam"
    finally:
        server.kill()
        server.wait()


def test_an_event_over_rtsp_has_a_clip_of_the_streams_frames(rtsp: str, source: Path, tmp_path: Path) -> None:
    watched = Watched([f"gate={rtsp}"], AlarmSettings(str(tmp_path / "events"), before=1.0, after=1.0))
    watched.until = lambda line: line["type"] == "event_end"
    watched.run()
    (row,) = rows_of(tmp_path / "events")
    assert row["state"] == "done"
    numbers = check_clip(tmp_path / "events", row, source)
    shift = numbers[0] - row["clip_first"]
    assert numbers[0] <= row["start"] + shift - 25 and numbers[-1] >= row["end"] + shift + 23


@pytest.mark.parametrize("codec", ["libx264", "mjpeg"])
def test_a_clip_plays_in_a_browser(codec: str, tmp_path: Path) -> None:
    selenium = pytest.importorskip("selenium.webdriver")
    service = pytest.importorskip("selenium.webdriver.chrome.service")
    chromium, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no Chromium with its chromedriver is installed")
    video = marked_video(tmp_path / ("a.mp4" if codec == "libx264" else "a.avi"), 130, [(50, 80)], codec)
    Watched([f"gate={video}"], AlarmSettings(str(tmp_path / "events"), before=0.5, after=0.5)).run()
    (row,) = rows_of(tmp_path / "events")
    options = selenium.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--autoplay-policy=no-user-gesture-required",
    ):
        options.add_argument(argument)
    page = tmp_path / "page.html"
    page.write_text(f'<video muted src="events/{row["clip"]}"></video>')
    browser = selenium.Chrome(options=options, service=service.Service(driver))
    try:
        browser.get(page.as_uri())
        browser.set_script_timeout(60)
        played = browser.execute_async_script(
            "const done = arguments[0], video = document.querySelector('video');"
            "video.onended = () => done([video.currentTime, video.duration, video.videoWidth]);"
            "video.onerror = () => done(video.error.message);"
            "video.playbackRate = 2; video.play();"
        )
    finally:
        browser.quit()
    frames = row["clip_last"] - row["clip_first"] + 1
    assert played[0] == played[1] == pytest.approx(frames / 25, abs=0.1) and played[2] == 320
