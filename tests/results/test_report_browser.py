"""The report as a person uses it, in headless Chromium."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.report_page import (
    EVENTS,
    FPS,
    FRAMES,
    HOSTILE,
    ORDER,
    SCORES,
    Report,
    result_of,
)
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By

from ssrl_pipeline.results.report import report_entry, save_report


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
    down, up, left, right = Keys.ARROW_DOWN, Keys.ARROW_UP, Keys.ARROW_LEFT, Keys.ARROW_RIGHT
    for key in (down, down, down, up, right, right, left, up):
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


def test_another_video_is_chosen_from_the_ranking(report: Report) -> None:
    report.press(Keys.ARROW_DOWN)
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
    report.press(Keys.ARROW_DOWN)
    assert report.frame() == 32 and report.find("#readout").text.endswith("score 0.6000")
    report.all("#videos .video")[0].click()
    assert not report.find("#unplayable").is_displayed() and report.find("#play").is_enabled()
    report.press(Keys.ARROW_DOWN)
    assert report.time() == pytest.approx(16.5 / FPS, abs=1e-3)


def test_what_we_write_plays(browser: Chrome, tmp_path: Path) -> None:
    """The demo's videos, and overlay.mp4: H.264."""
    result = result_of(tmp_path / "demo.mp4", np.array(SCORES[HOSTILE], np.float32))
    save_report(
        tmp_path / "report.html", [report_entry(result.shown(), result.summary(), tmp_path, {"kind": "ssrl"})]
    )
    browser.get((tmp_path / "report.html").as_uri())
    report = Report(browser)
    for _ in range(2):
        report.press(Keys.ARROW_DOWN)
    assert report.time() == pytest.approx(64.5 / FPS, abs=1e-3)
    report.shows(148)
    assert not report.find("#unplayable").is_displayed()
    report.press(Keys.SPACE)
    report.until(lambda: report.frame() > 66, "the playhead to move")


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
