"""What of the report lies where, and its colours, in headless Chromium."""

import numpy as np
import pytest
from helpers.report_page import FPS, FRAMES, LEVELS, Report
from selenium.webdriver import ActionChains, Keys


def test_the_playhead_lies_on_the_curve(report: Report) -> None:
    place = """
        const dot = $("dot").getBoundingClientRect();
        const box = plot.querySelector(".nsewdrag").getBoundingClientRect();
        return [(dot.x + dot.width / 2 - box.x) / box.width, (dot.y + dot.height / 2 - box.y) / box.height];
    """
    for frame, score in ((16, 0.7), (64, 0.9)):
        report.press(Keys.ARROW_DOWN)
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
    report.press(Keys.ARROW_DOWN)
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


def test_heat_is_that_of_the_playhead(report: Report) -> None:
    report.press(Keys.ARROW_DOWN)
    assert report.run(LEVELS) == [0, 0, 0, 0, 0, 0]
    report.press(Keys.ARROW_DOWN)
    assert report.run(LEVELS) == [0, 0, pytest.approx(0.9 * 0.6 * 255, abs=1), 0, 0, 0]
    report.find("#heat-on").click()
    assert not report.find("#heat").is_displayed()
    report.all("#videos .video")[2].click()
    assert not report.find("#heat-choice").is_displayed()


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
