"""Headless Chromium, by selenium; a test that asks for it is skipped where there is none."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytest.importorskip("selenium")
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service


@contextmanager
def chromium(*options: str) -> Iterator[Chrome]:
    """A browser that keeps what pages write to the console.

    Args:
        options: of its command line, as `--force-prefers-reduced-motion`.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("no Chromium with its chromedriver is installed")
    chosen = ChromeOptions()
    chosen.binary_location = program
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", *options):
        chosen.add_argument(option)
    chosen.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Chrome(options=chosen, service=Service(driver))
    try:
        yield browser
    finally:
        browser.quit()
