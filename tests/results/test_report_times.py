"""The report of videos whose frames come at times of their own, in headless Chromium."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.report_page import EVENTS, FPS, FRAMES, LEVELS, Report, opened
from selenium.webdriver import ActionChains, Chrome, Keys

from ssrl_pipeline.events.rule import ChosenRule, EventRule
from ssrl_pipeline.results.report import report_entry, save_report
from ssrl_pipeline.results.video_scores import VideoScores
from ssrl_pipeline.scoring.stored import frame_scores


def write_webm(path: Path, stamps: np.ndarray) -> None:
    """Frames of different greys, at times of their own, in whole milliseconds."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=30, options={"auto-alt-ref": "0", "lag-in-frames": "0"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for i, stamp in enumerate(stamps):
            picture = np.full((120, 160, 3), grey(i), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = round(1000 * stamp), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def grey(frame: int) -> int:
    """Of a frame; those near it have quite another."""
    return 20 + 77 * frame % 210


def save_page(video: Path, heat: dict[str, np.ndarray] | None = None, **times: Any) -> Path:
    """The page of one video."""
    scores = np.array([0.1, 0.7, 0.2, 0.1, 0.9, 0.3], np.float32)
    rule = ChosenRule(EventRule(0.5, hysteresis=1.0, gap=0.0), "the settings")
    about = (10.0, 160, 120, "pyav", Path("best.pt"), {"backbone": "i3d", "preset": "live"}, rule)
    result = VideoScores(
        video, frame_scores(scores, FRAMES, times.get("starts")), scores, *about, heat=heat or {}, **times
    )
    save_report(
        video.parent / "report.html",
        [report_entry(result.shown(), result.summary(), video.parent, {"kind": "ssrl"})],
    )
    return video.parent / "report.html"


def uneven_times() -> np.ndarray:
    """Short and long frames by turns, in whole milliseconds, and a pause of 20 s in the middle."""
    lengths = np.random.default_rng(0).choice([0.04, 0.1, 0.13, 0.4], FRAMES).round(3)
    lengths[0] = 0
    lengths[FRAMES // 2] = 20
    return np.cumsum(lengths)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of one video, whose frames come at times of their own."""
    video, stamps = tmp_path_factory.mktemp("uneven") / "uneven.webm", uneven_times()
    write_webm(video, stamps)
    return save_page(video, stamps=stamps)


@pytest.fixture
def uneven_report(browser: Chrome, uneven: Path) -> Iterator[Report]:
    yield from opened(browser, uneven)


def test_frames_of_uneven_times_are_those_that_are_shown(uneven_report: Report) -> None:
    report, stamps = uneven_report, uneven_times()
    length = float(stamps[-1]) + 0.1

    def check(frame: int) -> None:
        assert report.frame() == frame
        time = report.time()
        assert stamps[frame] < time < (stamps[frame + 1] if frame + 1 < FRAMES else length)
        report.shows(grey(frame))

    for frame in (*range(20), *range(40, 56), FRAMES - 2, FRAMES - 1):
        report.run("seek(arguments[0])", frame)
        check(frame)
    box = report.find("#timeline").rect
    left, right = report.run("return [plot.layout.margin.l, plot.layout.margin.r]")
    for place in (0.5, 3.0, 5.0, 15.0, 26.0, 28.0):  # one of them in the pause
        across = left + place / length * (box["width"] - left - right) - box["width"] / 2
        timeline = report.find("#timeline")
        ActionChains(report.browser).move_to_element_with_offset(timeline, round(across), 0).click().perform()
        pixel = length / (box["width"] - left - right)
        near = np.searchsorted(stamps, [place - pixel, place + pixel], side="right") - 1
        frame = report.frame()
        assert near[0] <= frame <= near[1]
        check(frame)
    for button, frame in zip(report.all(EVENTS), (16, 64), strict=True):
        button.click()
        check(frame)
        assert f"frame {frame}: score" in report.find("#readout").text
        assert report.find("#readout").text.startswith(f"0:{stamps[frame]:05.2f}, ")
    report.press(Keys.ARROW_UP)
    check(16)
    report.press(Keys.ARROW_RIGHT)
    check(32)
    report.press(Keys.ARROW_RIGHT)
    check(48)


def test_the_axis_of_uneven_times_is_theirs_and_a_pause_is_empty(uneven_report: Report) -> None:
    report, stamps = uneven_report, uneven_times()
    assert (
        "96 frames over" in report.find("#numbers").text
        and "about 10 a second" in report.find("#numbers").text
    )
    assert report.run("return plot.layout.xaxis.range") == pytest.approx([0, stamps[-1] + 0.1], abs=1e-3)
    x, y = report.run("return [plot.data[1].x, plot.data[1].y]")
    (gap,) = [i for i, score in enumerate(y) if score is None]
    assert (x[gap], x[gap + 1]) == pytest.approx((stamps[47] + 0.1, stamps[48]), abs=1e-3)
    shade = report.run("return plot.data[0].x.filter((x) => x !== null)")
    assert shade == pytest.approx([stamps[i] for i in (16, 16, 32, 32, 64, 64, 80, 80)], abs=0.02)


def test_a_file_that_does_not_begin_at_zero(browser: Chrome, tmp_path: Path) -> None:
    """Chromium takes the clock of a WebM as it is; the times of frames begin with the first."""
    write_webm(tmp_path / "late.webm", 5 + np.arange(FRAMES) / 10)
    browser.get(save_page(tmp_path / "late.webm").as_uri())
    report = Report(browser)
    report.until(lambda: report.run("return ahead > 0"), "the first frame")
    assert report.frame() == 0
    for frame in (0, 1, 50, FRAMES - 2):
        report.run("seek(arguments[0])", frame)
        assert report.time() == pytest.approx(5 + (frame + 0.5) / 10, abs=1e-3) and report.frame() == frame
        report.until(lambda frame=frame: abs(report.shade() - grey(frame)) <= 4, "the picture")


def test_without_a_rate_frames_are_found_by_the_players_length(report: Report) -> None:
    report.run("video = { ...video, fps: null, duration_s: null }; draw(); seek(48)")
    assert report.time() == pytest.approx(48.5 / FPS, abs=0.05) and report.frame() == 48
    report.shows(2 * 48 + 20)
    assert report.run("return plot.layout.xaxis.range") == [0, FRAMES]
    report.press(Keys.ARROW_UP)
    assert report.frame() == 16 and report.find("#readout").text.startswith("frame 16: ")


def test_snippets_of_chosen_frames_begin_where_they_do(browser: Chrome, tmp_path: Path) -> None:
    write_webm(tmp_path / "chosen.webm", np.arange(FRAMES) / 10)
    heat = np.zeros((6, 6), np.float32)
    heat[4, 2] = 1.0
    starts = np.array([0, 20, 32, 60, 64, 90])
    browser.get(save_page(tmp_path / "chosen.webm", {"2x3": heat}, starts=starts).as_uri())
    report, seen = Report(browser), []
    down, up, left, right = Keys.ARROW_DOWN, Keys.ARROW_UP, Keys.ARROW_LEFT, Keys.ARROW_RIGHT
    for key in (right, right, up, down, left, left, down):
        report.press(key)
        seen.append((report.frame(), max(report.run(LEVELS)) > 0))
    assert seen == [(20, False), (32, False), (20, False), (64, True), (60, False), (32, False), (64, True)]
    report.run("seek(89)")
    assert report.run(LEVELS) == [0, 0, pytest.approx(0.9 * 0.6 * 255, abs=1), 0, 0, 0]
    report.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert report.frame() == 90 and max(report.run(LEVELS)) == 0
