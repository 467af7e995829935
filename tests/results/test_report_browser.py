"""The report as a person meets it, in headless Chromium; skipped where there is none (apt: chromium-driver).

The videos are VP8, which every Chromium plays, and each frame is of one grey that
tells its number.
"""

import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ssrl_pipeline.events.rule import ChosenRule, EventRule
from ssrl_pipeline.results.pictures import load_peaks, peak_frames, read_pictures, save_peaks
from ssrl_pipeline.results.report import report_entry, save_report
from ssrl_pipeline.results.video_scores import VideoScores
from ssrl_pipeline.results.video_writer import VideoWriter
from ssrl_pipeline.scoring.stored import frame_scores

pytest.importorskip("selenium")
from helpers.browser import chromium
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

HOSTILE = "<img src=x onerror=alert(1)> & 'c'.webm"
FPS, FRAMES = 8.0, 96
SCORES = {
    "calm.webm": [0.1, 0.2, 0.1, 0.1, 0.1, 0.1],
    HOSTILE: [0.1, 0.7, 0.2, 0.1, 0.9, 0.3],
    "old.avi": [0.1, 0.1, 0.6, 0.1, 0.1, 0.1],
}
TRUTH = np.repeat([False, True, False], 32)  # of the hostile one
EVENTS = "#videos .chosen .event"  # of the chosen video
ORDER = [HOSTILE, "old.avi", "calm.webm"]  # by their highest score


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with chromium("--window-size=1280,900") as browser:
        yield browser


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[VideoScores]:
    folder = tmp_path_factory.mktemp("videos")
    return [_result(folder / name, np.array(scores, np.float32)) for name, scores in SCORES.items()]


def _write(path: Path) -> None:
    frames = [np.full((120, 160, 3), 2 * i + 20, np.uint8) for i in range(FRAMES)]
    if path.suffix == ".mp4":
        with VideoWriter(path, 160, 120, FPS) as ours:
            for frame in frames:
                ours.write(frame)
        return
    plain = path.with_name(f"plain{path.suffix}")
    code = cv2.VideoWriter_fourcc(*("MJPG" if path.suffix == ".avi" else "VP80"))
    writer = cv2.VideoWriter(str(plain), code, FPS, (160, 120))
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    plain.rename(path)


def _result(path: Path, snippet_scores: np.ndarray) -> VideoScores:
    _write(path)
    rule = ChosenRule(EventRule(0.5, hysteresis=1.0, gap=0.0), "the settings")
    scores = frame_scores(snippet_scores, FRAMES)
    recipe = {"backbone": "i3d", "preset": "live"}
    arguments = (FPS, 160, 120, "pyav", Path("runs/a/best.pt"), recipe, rule)
    heat = np.zeros((len(snippet_scores), 6), np.float32)
    heat[4, 2] = 1.0
    return VideoScores(
        path, scores, snippet_scores, *arguments, heat={"2x3": heat} if path.name == HOSTILE else {}
    )


@pytest.fixture(scope="module")
def page(results: list[VideoScores], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page in a folder beside that of the videos, and the scores.json of each."""
    out = tmp_path_factory.mktemp("out")
    entries = []
    for result in results:
        (out / result.video.name).mkdir()
        (out / result.video.name / "scores.json").write_text(json.dumps(result.summary()))
        peaks = peak_frames(result.events)
        save_peaks(out / "peaks.npz", read_pictures(result.video, peaks), peaks)
        pictures = load_peaks(out / "peaks.npz")
        truth = TRUTH if result.video.name == HOSTILE else None
        entries.append(report_entry(result.shown(truth), result.summary(), out, {"kind": "ssrl"}, pictures))
    save_report(out / "report.html", entries)
    return out / "report.html"


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
def uneven_report(browser: Chrome, uneven: Path) -> Iterator["Report"]:
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get(uneven.as_uri())
    report = Report(browser)
    report.time()
    yield report
    assert [entry["message"] for entry in browser.get_log("browser")] == []


class Report:
    """The open page."""

    def __init__(self, browser: Chrome):
        self.browser = browser
        self.run: Callable[..., Any] = browser.execute_script
        self.find = partial(browser.find_element, By.CSS_SELECTOR)
        self.all = partial(browser.find_elements, By.CSS_SELECTOR)

    def until(self, condition: Callable[[], Any], what: str) -> None:
        WebDriverWait(self.browser, 30, 0.05).until(lambda _: condition(), f"waited for {what}")

    def time(self) -> float:
        """Of the video, once it stands still."""
        self.until(lambda: self.run("return player.readyState >= 2 && !player.seeking"), "the video to seek")
        return float(self.run("return player.currentTime"))

    def shows(self, shade: int) -> None:
        """Waits for a picture of that shade: it may be drawn some time after the video stands still."""
        self.until(lambda: abs(self.shade() - shade) <= 4, f"a picture of {shade}")

    def frame(self) -> int:
        return int(str(self.find("#timeline").get_attribute("aria-valuenow")))

    def press(self, *keys: str) -> None:
        ActionChains(self.browser).send_keys(*keys).perform()

    def shade(self) -> int:
        """Of the video, as the screen shows it."""
        self.run("player.controls = false")
        picture = cv2.imdecode(
            np.frombuffer(self.find("#player").screenshot_as_png, np.uint8), cv2.IMREAD_COLOR
        )
        height, width = picture.shape[:2]
        return int(picture[height // 2, width // 4].mean())

    def colour(self, selector: str, what: str) -> tuple[int, ...]:
        text = self.run(f"return getComputedStyle(document.querySelector({selector!r})).{what}")
        return tuple(map(int, text.removeprefix("rgb(").removesuffix(")").split(",")))


@pytest.fixture
def report(browser: Chrome, page: Path) -> Iterator[Report]:
    """The page freshly opened, at the first video; a message in the console fails the test."""
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get(page.as_uri())
    report = Report(browser)
    report.time()
    yield report
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def test_numbers_are_those_of_scores_json(report: Report, page: Path) -> None:
    buttons = report.all("#videos .video")
    assert [button.text.partition("\n")[0] for button in buttons] == ORDER
    listed = [len(item.find_elements(By.CSS_SELECTOR, ".event")) for item in report.all("#videos > li")]
    for button, name, events in zip(buttons, ORDER, listed, strict=True):
        said = json.loads((page.parent / name / "scores.json").read_text())
        summary = said["summary"]
        highest = f"highest {summary['max']:.4f} at 0:{summary['peak_time_s']:04.1f}"
        assert button.text.endswith(highest) and ("no event" in button.text) == (said["events"] == 0)
        button.click()
        assert f"mean {summary['mean']:.4f}" in report.find("#numbers").text and events == said["events"]
    buttons[0].click()
    assert report.find("#overview").text == "3 videos, 3 events"
    text = report.find("#origin").text
    assert "ssrl" in text and "runs/a/best.pt" in text and "i3d, live" in text
    assert "threshold 0.5000 of the settings" in text
    assert report.run("return plot.data[1].y.slice(0, -1)") == pytest.approx(SCORES[HOSTILE], abs=1e-4)


def test_a_click_on_the_timeline_seeks(report: Report) -> None:
    box = report.find("#timeline").rect
    left, right = report.run("return [plot.layout.margin.l, plot.layout.margin.r]")
    for share in (0.75, 0.2):
        target = left + share * (box["width"] - left - right) - box["width"] / 2
        ActionChains(report.browser).move_to_element_with_offset(
            report.find("#timeline"), round(target), 0
        ).click().perform()
        frame = report.frame()
        assert frame == pytest.approx(share * FRAMES, abs=1)
        assert report.time() == pytest.approx((frame + 0.5) / FPS, abs=1e-3)
        report.shows(2 * frame + 20)
        assert report.find("#readout").text.endswith(
            f"frame {frame}: score {SCORES[HOSTILE][frame // 16]:.4f}"
        )


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
    report.press("p")
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
    report.press("p")
    assert report.frame() == 16 and report.find("#readout").text.startswith("frame 16: ")


def test_an_event_seeks_and_is_marked(report: Report) -> None:
    events = report.all(EVENTS)
    assert len(events) == 2
    assert "0:08.0 \u2013 0:10.0" in events[1].text and "highest 0.9000" in events[1].text
    widths = "return [...document.querySelectorAll('#videos .chosen img')].map((i) => i.naturalWidth)"
    pictures = report.run(widths)
    assert pictures == [160, 160]
    events[1].click()
    assert report.time() == pytest.approx(64.5 / FPS, abs=1e-3)
    report.shows(2 * 64 + 20)
    assert [event.get_attribute("aria-current") for event in events] == [None, "true"]


def test_keys(report: Report) -> None:
    seen = []
    for key in ("n", "n", "n", "p", Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT, "p"):
        report.press(key)
        seen.append(report.frame())
        assert report.time() == pytest.approx((seen[-1] + 0.5) / FPS, abs=1e-3)
    assert seen == [16, 64, 64, 16, 32, 48, 32, 16]
    report.press(Keys.SPACE)
    report.until(lambda: report.run("return !player.paused") and report.frame() > 18, "the playhead to move")
    assert report.find("#play").text == "Pause"
    report.press(Keys.SPACE)
    report.until(lambda: report.run("return player.paused"), "the pause")
    report.press(Keys.TAB, Keys.TAB)
    outline = report.run("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_the_playhead_lies_on_the_curve(report: Report) -> None:
    place = """
        const dot = $("dot").getBoundingClientRect();
        const box = plot.querySelector(".nsewdrag").getBoundingClientRect();
        return [(dot.x + dot.width / 2 - box.x) / box.width, (dot.y + dot.height / 2 - box.y) / box.height];
    """
    for frame, score in ((16, 0.7), (64, 0.9)):
        report.press("n")
        on_curve = pytest.approx([frame / FRAMES, 1 - score / 1.02], abs=0.005)
        report.until(lambda on_curve=on_curve: report.run(place) == on_curve, "the playhead on the curve")
    metrics = {"width": 700, "height": 600, "deviceScaleFactor": 1, "mobile": False}
    report.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    report.until(lambda: report.find("#plot .main-svg").rect["width"] < 690, "the plot to shrink")
    report.until(lambda: report.run(place) == on_curve, "the playhead on the smaller curve")


def test_the_playhead_follows_the_drawn_plot_while_the_page_has_another_size(report: Report) -> None:
    """Plotly draws a resized plot a little later; a screenshot in between must not lie."""
    assert report.run("return $('readout').clientHeight > 15")
    off = """
        const drawn = plot.querySelector(".nsewdrag").getBoundingClientRect().height;
        timeline.style.flex = "none"; timeline.style.height = "400px"; show(64);
        const dot = $("dot").getBoundingClientRect();
        const box = plot.querySelector(".nsewdrag").getBoundingClientRect();
        return [box.height === drawn, (dot.y + dot.height / 2 - box.y) / box.height];
    """
    same, share = report.run(off)
    assert same and share == pytest.approx(1 - 0.9 / 1.02, abs=0.005)


def test_an_empty_readout_takes_its_room(report: Report) -> None:
    heights = "const full = $('readout').clientHeight; $('readout').textContent = ''; "
    full, empty = report.run(heights + "return [full, $('readout').clientHeight]")
    assert full == empty > 15


def test_ground_truth_is_shaded_where_it_is_known(report: Report) -> None:
    band = "return plot.layout.shapes.filter((s) => s.type === 'rect').map((s) => [s.x0, s.x1])"
    assert report.run(band) == [[32 / FPS, 64 / FPS]] and report.find("#truth").is_displayed()
    report.all("#videos .video")[1].click()
    assert report.run(band) == [] and not report.find("#truth").is_displayed()


def test_zoom_moves_the_playhead_and_the_place_of_clicks(report: Report) -> None:
    report.press("n")
    report.run("Plotly.relayout(plot, {'xaxis.range': [6, 12]})")
    report.until(lambda: report.run("return $('playhead').hidden"), "the playhead, outside, to hide")
    middle = report.run("const m = plot.layout.margin; return (m.l - m.r) / 2")
    timeline = report.find("#timeline")
    ActionChains(report.browser).move_to_element_with_offset(timeline, round(middle), 0).click().perform()
    assert report.frame() == pytest.approx(72, abs=1)
    assert not report.run("return $('playhead').hidden")
    ActionChains(report.browser).drag_and_drop_by_offset(timeline, 120, 0).perform()  # a zoom is no click
    assert report.frame() == pytest.approx(72, abs=1)
    low, high = report.run("return plot.layout.xaxis.range")
    assert high - low < 3


LEVELS = (
    "const copy = new OffscreenCanvas(3, 2).getContext('2d'); copy.drawImage($('heat'), 0, 0);"
    "return [...copy.getImageData(0, 0, 3, 2).data].filter((_, i) => i % 4 == 3)"
)


def test_snippets_of_chosen_frames_begin_where_they_do(browser: Chrome, tmp_path: Path) -> None:
    write_webm(tmp_path / "chosen.webm", np.arange(FRAMES) / 10)
    heat = np.zeros((6, 6), np.float32)
    heat[4, 2] = 1.0
    starts = np.array([0, 20, 32, 60, 64, 90])
    browser.get(save_page(tmp_path / "chosen.webm", {"2x3": heat}, starts=starts).as_uri())
    report, seen = Report(browser), []
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, "p", "n", Keys.ARROW_LEFT, Keys.ARROW_LEFT, "n"):
        report.press(key)
        seen.append((report.frame(), max(report.run(LEVELS)) > 0))
    assert seen == [(20, False), (32, False), (20, False), (64, True), (60, False), (32, False), (64, True)]
    report.run("seek(89)")
    assert report.run(LEVELS) == [0, 0, pytest.approx(0.9 * 0.6 * 255, abs=1), 0, 0, 0]
    report.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert report.frame() == 90 and max(report.run(LEVELS)) == 0


def test_heat_is_that_of_the_playhead(report: Report) -> None:
    report.press("n")
    assert report.run(LEVELS) == [0, 0, 0, 0, 0, 0]
    report.press("n")
    assert report.run(LEVELS) == [0, 0, pytest.approx(0.9 * 0.6 * 255, abs=1), 0, 0, 0]
    report.find("#heat-on").click()
    assert not report.find("#heat").is_displayed()
    report.all("#videos .video")[2].click()
    assert not report.find("#heat-choice").is_displayed()


def test_another_video_is_chosen_from_the_ranking(report: Report) -> None:
    report.press("n")
    report.all("#videos .video")[2].click()
    assert report.find("#name").text == "calm.webm"
    assert report.time() == pytest.approx(0, abs=0.1) and report.frame() == 0
    assert "no event" in report.find("#videos .chosen .video").text and report.all(EVENTS) == []
    assert not report.find("#next").is_enabled()
    chosen = [button.get_attribute("aria-pressed") for button in report.all("#videos .video")]
    assert chosen == ["false", "false", "true"]
    changes = report.run("return plot.data[1].y.slice(0, -1)")
    assert changes == pytest.approx([0.1, 0.2, 0.1], abs=1e-4)


def test_what_a_browser_cannot_play_is_said_and_the_timeline_works(report: Report) -> None:
    report.all("#videos .video")[1].click()
    report.until(lambda: report.find("#unplayable").is_displayed(), "the sentence")
    text = report.find("#unplayable").text
    assert "cannot play old.avi" in text and "AVI" in text and "ffmpeg" in text
    assert not report.find("#play").is_enabled()
    report.press("n")
    assert report.frame() == 32 and report.find("#readout").text.endswith("score 0.6000")
    report.all("#videos .video")[0].click()
    assert not report.find("#unplayable").is_displayed() and report.find("#play").is_enabled()
    report.press("n")
    assert report.time() == pytest.approx(16.5 / FPS, abs=1e-3)


def test_what_we_write_plays(browser: Chrome, tmp_path: Path) -> None:
    """The demo's videos, and overlay.mp4: H.264."""
    result = _result(tmp_path / "demo.mp4", np.array(SCORES[HOSTILE], np.float32))
    save_report(
        tmp_path / "report.html", [report_entry(result.shown(), result.summary(), tmp_path, {"kind": "ssrl"})]
    )
    browser.get((tmp_path / "report.html").as_uri())
    report = Report(browser)
    for _ in range(2):
        report.press("n")
    assert report.time() == pytest.approx(64.5 / FPS, abs=1e-3)
    report.shows(148)
    assert not report.find("#unplayable").is_displayed()
    report.press(Keys.SPACE)
    report.until(lambda: report.frame() > 66, "the playhead to move")


@pytest.mark.parametrize("size", [(1280, 800), (1920, 1080), (1024, 640)])
def test_on_a_desk_there_is_nothing_to_scroll_for(report: Report, size: tuple[int, int]) -> None:
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
    report.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    report.browser.refresh()
    report.time()
    page = "const page = document.documentElement; return [page.scrollWidth, page.scrollHeight]"
    assert report.run(page) == list(size)
    listed, screen, timeline = (report.find(f"#{name}").rect for name in ("videos", "screen", "timeline"))
    assert listed["x"] + listed["width"] < screen["x"] and listed["y"] + listed["height"] <= size[1]
    assert timeline["y"] >= screen["y"] + screen["height"]
    assert timeline["y"] + timeline["height"] <= size[1] and screen["height"] >= 180


def test_an_event_of_another_video_is_a_click_away(report: Report) -> None:
    report.find("#videos > li:nth-child(2) .event").click()
    assert report.find("#name").text == "old.avi" and report.frame() == 32
    report.find("#videos > li:nth-child(1) .events li:nth-child(2) .event").click()
    assert report.find("#name").text == HOSTILE and report.frame() == 64
    report.until(lambda: report.time() == pytest.approx(64.5 / FPS, abs=1e-3), "the event's moment")
    assert [event.get_attribute("aria-current") for event in report.all(".event")] == [None, "true", None]


def test_the_way_to_review_is_told(report: Report, page: Path) -> None:
    command = f"ssrl-pipeline review {page.parent.name}"
    assert report.find("#review-command").text == command
    assert report.find("#review-command").get_attribute("title") == str(page.parent)
    assert not report.find("#review-link").is_displayed()


def test_phone_width(report: Report) -> None:
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    report.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    report.browser.refresh()
    report.time()
    assert report.run("return [document.documentElement.scrollWidth, innerWidth]") == [360, 360]
    video, timeline = report.find("#screen").rect, report.find("#timeline").rect
    assert timeline["y"] > video["y"] + video["height"] and timeline["width"] > 300
    assert report.find("#plot .nsewdrag").rect["width"] == pytest.approx(timeline["width"] - 60, abs=1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_in_light_and_dark(report: Report, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    report.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    paper = report.colour("body", "backgroundColor")
    assert (sum(paper) > 600) == (scheme == "light")
    for selector in ("body", "#numbers", ".hint", "#videos li:last-child .faint", "#origin"):
        assert contrast(report.colour(selector, "color"), paper) >= 4.5, selector
    panel = report.colour(".event", "backgroundColor")
    assert contrast(report.colour(".event span", "color"), panel) >= 4.5
    marked = report.colour(".chosen > .video", "backgroundColor")
    assert contrast(report.colour(".chosen > .video .faint", "color"), marked) >= 4.5
    report.until(
        lambda: contrast(report.colour("#plot .xtick text", "fill"), paper) >= 4.5, "the plot's colours"
    )


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Of WCAG 2.2."""

    def luminance(colour: tuple[int, ...]) -> float:
        share = np.array(colour) / 255
        linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    darker, lighter = sorted(map(luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)
