"""A report of three videos, and the open page, in headless Chromium (apt: chromium-driver).

The videos are VP8, which every Chromium plays, and each frame is of one grey that
tells its number.
"""

import json
from collections.abc import Callable, Iterator
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
from selenium.webdriver import ActionChains, Chrome
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
LEVELS = (
    "const copy = new OffscreenCanvas(3, 2).getContext('2d'); copy.drawImage($('heat'), 0, 0);"
    "return [...copy.getImageData(0, 0, 3, 2).data].filter((_, i) => i % 4 == 3)"
)


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


def result_of(path: Path, snippet_scores: np.ndarray) -> VideoScores:
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


def save_results(videos: Path, out: Path) -> Path:
    """Makes the videos, the scores.json of each, and the page of all, in a folder beside theirs."""
    entries = []
    for name, scores in SCORES.items():
        result = result_of(videos / name, np.array(scores, np.float32))
        (out / name).mkdir()
        (out / name / "scores.json").write_text(json.dumps(result.summary()))
        peaks = peak_frames(result.events)
        save_peaks(out / "peaks.npz", read_pictures(result.video, peaks), peaks)
        pictures = load_peaks(out / "peaks.npz")
        truth = TRUTH if name == HOSTILE else None
        entries.append(report_entry(result.shown(truth), result.summary(), out, {"kind": "ssrl"}, pictures))
    save_report(out / "report.html", entries)
    return out / "report.html"


def opened(browser: Chrome, page: Path) -> Iterator[Report]:
    """The page, in a window of the usual size; a message in the console fails the test."""
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get(page.as_uri())
    report = Report(browser)
    report.time()
    yield report
    assert [entry["message"] for entry in browser.get_log("browser")] == []
