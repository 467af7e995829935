"""Commands, as the tests of teaching run them."""

from collections.abc import Callable

import pytest
from helpers.commands import Result, captured


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """run("labels", "import", ...) -> Result."""
    return captured(capfd)
