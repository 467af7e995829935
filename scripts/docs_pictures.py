"""Makes the README's pictures from a finished demo: a report in Chromium, and a frame of an overlay.

    ssrl-pipeline demo --out demo
    python scripts/docs_pictures.py demo

It needs Chromium with its chromedriver, and selenium (of the extra `test`). The demo renders its own videos.
Each picture stays under 200 KB.
"""

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import av
from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
MOST_BYTES = 200_000  # bytes of a picture
WINDOW = 1280, 800
SHOWN = ("test_abnormal_03.mp4", "test_abnormal_00.mp4", "test_normal_02.mp4")  # the first one large
SECOND = 4.2  # of the first one


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("demo", type=Path, help="what `ssrl-pipeline demo --out` was given")
    parser.add_argument("--seed", type=int, default=0, help="of the demo")
    arguments = parser.parse_args()
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        scores = Path(folder, "scores")
        score(arguments.demo, f"seed{arguments.seed}", scores)
        save(screenshot(scores / "report.html"), PICTURES / "report.png")
        save(frame_of(scores / SHOWN[0] / "overlay.mp4"), PICTURES / "overlay.jpg")


def score(demo: Path, seed: str, scores: Path) -> None:
    """From within the demo's folder, so that no picture shows where that is."""
    command = [sys.executable, "-m", "ssrl_pipeline", "score", *(f"videos/{seed}/{name}" for name in SHOWN)]
    command += ["--checkpoint", f"runs/{seed}/best.pt", "--features", f"features/{seed}"]
    command += ["--intervals", f"videos/{seed}/intervals.csv", "--out", str(scores), "--overlay"]
    subprocess.run(command, cwd=demo, check=True)


def screenshot(report: Path) -> Image.Image:
    """The page with the first video at its moment, without the player's own controls."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(option)
    with Chrome(options=options, service=Service(shutil.which("chromedriver"))) as browser:
        wait = WebDriverWait(browser, 60)
        size = {"width": WINDOW[0], "height": WINDOW[1], "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)  # of the page
        browser.get(report.as_uri())
        buttons = browser.find_elements("css selector", "#videos .video")
        next(button for button in buttons if button.text.startswith(SHOWN[0])).click()
        wait.until(lambda _: browser.execute_script("return player.readyState >= 2"))
        browser.execute_script(f"player.controls = false; seek(frameAt({SECOND}))")
        wait.until(lambda _: browser.execute_script("return !player.seeking && player.readyState >= 2"))
        command = "ssrl-pipeline review scores"  # not where this script keeps them
        browser.execute_script("$('review-command').textContent = arguments[0]", command)
        browser.execute_script("document.activeElement.blur()")
        browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
        return Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")


def frame_of(video: Path) -> Image.Image:
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            if frame.time is not None and frame.time >= SECOND:
                return frame.to_image()
    raise SystemExit(f"error: {video} ends before {SECOND} s")


def save(picture: Image.Image, path: Path) -> None:
    if path.suffix == ".png":
        picture = picture.quantize(256, dither=Image.Dither.NONE)
    picture.save(path, optimize=True, quality=90)
    if path.stat().st_size > MOST_BYTES:
        raise SystemExit(f"error: {path} has {path.stat().st_size} bytes, more than {MOST_BYTES}")
    print(f"{path}: {picture.width}x{picture.height}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
