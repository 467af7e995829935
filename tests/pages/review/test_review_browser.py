"""The page of `review` as a person meets it, in headless Chromium; skipped where there is none."""

import csv
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium")
from helpers.browser import chromium
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from ssrl_pipeline.alarms.recording.archive import open_archive
from ssrl_pipeline.teaching.verdicts import Moment, Verdict, add_verdict

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with chromium("--force-prefers-reduced-motion") as browser:
        yield browser


class Page:
    """The open page."""

    def __init__(self, browser: Chrome, url: str, size: tuple[int, int] = (1280, 800), mobile: bool = False):
        self.browser = browser
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": mobile}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get(url)
        self.run: Callable[..., Any] = browser.execute_script
        self.find = partial(browser.find_element, By.CSS_SELECTOR)
        self.until(lambda: self.progress().startswith("0 of"), "the queue")
        self.still()

    def until(self, condition: Callable[[], Any], what: str) -> None:
        WebDriverWait(self.browser, 30, 0.05).until(lambda _: condition(), f"waited for {what}")

    def still(self) -> None:
        """Until the video, if it can be played, stands at the event's peak."""
        ready = "return detail !== null && (!playable || player.readyState >= 2 && !player.seeking)"
        self.until(lambda: self.run(ready), "the video to seek")

    def press(self, *keys: str) -> None:
        ActionChains(self.browser).send_keys(*keys).perform()

    def progress(self) -> str:
        return self.find("#progress").text

    def shown(self) -> int:
        """Which event of the queue."""
        return int(self.run("return items.indexOf(shown)"))


def said(feedback: Path) -> list[tuple[str, str, str]]:
    if not feedback.exists():
        return []
    with feedback.open(newline="") as file:
        return [(row["video"], row["verdict"], row["frame"]) for row in csv.DictReader(file)]


@pytest.fixture
def page(browser: Chrome, open_it: Callable[..., Any]) -> Iterator[Page]:
    """Freshly opened; a message in the console fails the test, but of pictures that the results lack."""
    browser.get_log("browser")
    yield Page(browser, open_it().url)
    messages = [entry["message"] for entry in browser.get_log("browser")]
    assert [message for message in messages if "/still/" not in message] == []


def test_by_keys_alone(page: Page, tmp_path: Path) -> None:
    feedback = tmp_path / "feedback.csv"
    assert page.find("#title").text == "gate/a.webm" and "score 0.90" in page.find("#readout").text
    assert page.run("return player.currentTime") == pytest.approx(2.875, abs=0.01)
    page.press("n")
    page.until(lambda: page.progress() == "1 of 3: 1 normal, 0 abnormal" and page.shown() == 1, "the next")
    assert said(feedback) == [("gate/a.webm", "normal", "23")]
    page.still()
    page.press(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    page.until(
        lambda: page.run("return player.currentTime") == pytest.approx(9.875, abs=0.01), "the playhead"
    )
    assert page.find("#here").text == "0:09.9"
    page.press("a")
    page.until(lambda: page.shown() == 2, "the next")
    assert said(feedback)[1:] == [("gate/a.webm", "abnormal", "79")]
    page.press("s")
    page.until(lambda: page.find("#queue li:nth-child(3) .said").text == "skipped", "the skip to be told")
    assert page.shown() == 2, "it is the only one left"
    page.press("u")
    page.until(lambda: page.shown() == 1, "the one that is taken back")
    assert said(feedback)[2:] == [("gate/a.webm", "undo", "79")]
    page.press("n")
    page.until(lambda: page.shown() == 2, "the next")
    assert not page.find("#done").is_displayed()
    page.press("n")
    page.until(lambda: page.progress() == "3 of 3: 3 normal, 0 abnormal", "the end")
    assert page.find("#done").is_displayed()
    assert page.find("#advice").text == "ssrl-pipeline learn runs/a/best.pt --out taught.pt"
    page.press(Keys.ARROW_UP)
    page.until(lambda: page.shown() == 1, "the one before")
    assert page.find("#stamp").text == "normal"


def test_the_playhead_plays_and_is_where_one_clicks(page: Page) -> None:
    page.press(Keys.SPACE)
    page.until(lambda: page.run("return !player.paused"), "the video to play")
    page.until(lambda: page.run("return player.paused"), "the event to be over")
    assert page.run("return playhead") == pytest.approx(2.875, abs=0.01), "here is the peak then"
    box = page.find("#timeline").rect
    moved = ActionChains(page.browser).move_to_element_with_offset(
        page.find("#timeline"), round(0.25 * box["width"]), 0
    )
    moved.click().perform()
    assert page.run("return playhead") == pytest.approx(0.75 * 14, abs=0.1)  # of 0 to 4 + 10 seconds
    levels = (
        "const copy = new OffscreenCanvas(3, 2).getContext('2d'); copy.drawImage($('heat'), 0, 0);"
        "return [...copy.getImageData(0, 0, 3, 2).data].filter((_, i) => i % 4 == 3)"
    )
    assert max(page.run(levels)) > 0, "an event of the same video"
    page.run("seek(3)")
    assert [i for i, level in enumerate(page.run(levels)) if level > 0] == [4]
    page.find("#heat-on").click()
    assert not page.find("#heat").is_displayed()


def test_space_plays_whatever_was_clicked_on_before(page: Page, tmp_path: Path) -> None:
    for clicked in ("#normal", "#heat-choice", "#heat-on"):
        page.find(clicked).click()
        page.until(lambda: page.shown() == 1, "the next")
        page.still()
        heat = page.run("return $('heat-on').checked")
        page.press(Keys.SPACE)
        page.until(lambda: page.run("return !player.paused"), f"the video to play after {clicked}")
        page.press(Keys.SPACE)
        page.until(lambda: page.run("return player.paused"), "the video to stand")
        assert page.run("return $('heat-on').checked") is heat
    assert [word for _, word, _ in said(tmp_path / "feedback.csv")] == ["normal"]
    page.run("$('normal').focus()")
    page.press(Keys.SPACE)  # by keys alone it presses what has the focus
    page.until(lambda: page.shown() == 2, "the next")


def test_two_reviewers_at_once(page: Page, tmp_path: Path) -> None:
    """What another says is shown soon, and not asked again."""
    feedback = tmp_path / "feedback.csv"
    add_verdict(feedback, Verdict(Moment("gate/a.webm", 87, None), "abnormal", who="ben"))
    page.until(lambda: page.progress() == "1 of 3: 0 normal, 1 abnormal", "what ben said")
    assert page.find("#queue li:nth-child(2) .said").text == "abnormal (ben)"
    name = page.find("#who")
    name.clear()
    name.send_keys("nan")  # its letters are no verdicts
    page.find("h1").click()
    assert len(said(feedback)) == 1
    page.press("n")
    page.until(lambda: page.shown() == 2, "the one that ben left")
    assert "nan" in feedback.read_text()
    page.press("u")
    page.until(lambda: page.shown() == 0, "mine, not ben's")
    assert [word for _, word, _ in said(feedback)] == ["abnormal", "normal", "undo"]
    page.press(Keys.ARROW_DOWN, "u")
    page.until(lambda: page.find("#trouble").is_displayed(), "that ben's is not taken back")
    page.run("return look()")
    assert "feedback undo" in page.find("#trouble").text and len(said(feedback)) == 3
    page.press(Keys.ARROW_UP)
    assert not page.find("#trouble").is_displayed()


def test_a_watch_that_goes_on_while_it_is_reviewed(
    browser: Chrome, open_it: Callable[..., Any], results: Path, tmp_path: Path
) -> None:
    """The event that is shown stays, whatever comes and goes; once it has gone, the next is shown."""
    folder = tmp_path / "events"
    with open_archive(folder, print) as archive:

        def event(score: float) -> str:
            name, clip = archive.place("gate")
            clip.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(results.parent / "videos" / "gate" / "a.webm", clip)
            row = {"id": name, "camera": "gate", "state": "done", "made": time.time(), "peak_score": score}
            row |= {"start": 16, "end": 32, "peak": 23, "clip_first": 0, "start_s": 2.0, "end_s": 4.0}
            archive.write({**row, "clip": archive.relative(clip)})
            return name

        def shown() -> str:
            return str(page.run("return shown?.id"))

        def expire(name: str) -> None:
            archive.expire({"id": name, "camera": "gate"})
            page.run("return look()")

        first, third, second = event(0.9), event(0.8), event(0.7)  # the lowest is asked after the highest
        page = Page(browser, open_it(folder).url)
        page.press(Keys.ARROW_DOWN)
        assert shown() == second
        page.still()
        page.press(Keys.ARROW_LEFT)
        fourth = event(0.95)
        expire(first)
        assert page.run("return items.map((item) => item.id)") == [second, third, fourth]
        assert [
            element.get_attribute("id")
            for element in page.browser.find_elements(By.CSS_SELECTOR, "#queue button")
        ] == [f"go-{name}" for name in (second, third, fourth)]
        assert (shown(), page.shown()) == (second, 0)
        assert page.run("return playhead") == pytest.approx(2.375), "it is as it was left"
        expire(second)
        assert shown() == third and "no longer kept" in page.find("#trouble").text
        page.press("n")
        page.until(lambda: shown() == fourth, "the next")
        assert not page.find("#trouble").is_displayed()
        page.press(Keys.ARROW_UP)
        assert shown() == third
        expire(third)
        page.press("u")  # the verdict that was given is on nothing that is there
        expire(fourth)
        assert page.progress() == "No events" and page.find("#empty").is_displayed()
        assert shown() == "None" and not page.find("#normal").is_enabled()
        fifth = event(0.5)
        page.run("return look()")
        assert shown() == fifth
    assert [word for _, word, _ in said(tmp_path / "feedback.csv")] == ["normal"]


def test_a_video_that_no_browser_plays(
    browser: Chrome, open_it: Callable[..., Any], unplayable: Path
) -> None:
    page = Page(browser, open_it(unplayable).url)
    for index in (0, 1):  # an event, and a near miss
        page.until(lambda: "at the peak." in page.find("#unplayable").text, "its picture")
        assert page.find("#still").is_displayed() and page.run("return $('still').naturalWidth") == 160
        assert page.shown() == index and not page.find("#play").is_enabled()
        page.press(Keys.ARROW_DOWN)
    (unplayable.parent / "videos" / "gate" / "c.avi").unlink()
    page = Page(browser, open_it(unplayable).url)
    page.until(lambda: "no picture" in page.find("#unplayable").text, "that there is none")
    assert not page.find("#still").is_displayed()


@pytest.mark.parametrize("size", [(1280, 800), (1920, 1080)])
def test_on_a_desk_there_is_nothing_to_scroll_for(page: Page, size: tuple[int, int]) -> None:
    page = Page(page.browser, page.browser.current_url, size)
    whole = "const page = document.documentElement; return [page.scrollWidth, page.scrollHeight]"
    assert page.run(whole) == list(size)
    assert page.find("#verdicts").rect["y"] + page.find("#verdicts").rect["height"] < size[1]


def test_a_phone(page: Page, tmp_path: Path) -> None:
    """Buttons do what keys do, and are in sight beside the video."""
    page = Page(page.browser, page.browser.current_url, (390, 844), mobile=True)
    assert page.run("return [document.documentElement.scrollWidth, innerWidth]") == [390, 390]
    for name in ("normal", "abnormal", "skip", "undo"):
        rect = page.find(f"#{name}").rect
        assert rect["y"] + rect["height"] < 844 and rect["height"] >= 44, name
    page.find("#abnormal").click()
    page.until(lambda: page.shown() == 1, "the next")
    page.find("#undo").click()
    page.until(lambda: page.shown() == 0, "the one that is taken back")
    assert [word for _, word, _ in said(tmp_path / "feedback.csv")] == ["abnormal", "undo"]


def test_a_server_that_has_ended_is_told_and_nothing_is_lost(
    browser: Chrome, open_it: Callable[..., Any]
) -> None:
    page = Page(browser, open_it().url)
    page.run("fetch = () => Promise.reject(new TypeError())")
    page.press("n")
    page.until(lambda: page.find("#trouble").is_displayed(), "the word")
    assert "does not answer" in page.find("#trouble").text and page.shown() == 0
    assert page.progress().startswith("0 of 3")
