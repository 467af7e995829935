"""The report of three videos in headless Chromium; what asks for it is skipped where there is none."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from helpers.report_page import Report
    from selenium.webdriver import Chrome


@pytest.fixture(scope="module")
def browser() -> "Iterator[Chrome]":
    from helpers.browser import chromium  # which skips where there is no selenium

    with chromium("--window-size=1280,900") as browser:
        yield browser


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page in a folder beside that of the videos, and the scores.json of each."""
    from helpers.report_page import save_results

    return save_results(tmp_path_factory.mktemp("videos"), tmp_path_factory.mktemp("out"))


@pytest.fixture
def report(browser: "Chrome", page: Path) -> "Iterator[Report]":
    """The page freshly opened, at the first video; a message in the console fails the test."""
    from helpers.report_page import opened

    yield from opened(browser, page)
