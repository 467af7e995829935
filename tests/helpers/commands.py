"""What a command leaves."""

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from ssrl_pipeline.cli import main as cli


class Result(NamedTuple):
    code: int
    out: str
    err: str


def run_main(*arguments: object) -> int:
    """Runs a command in this process; returns its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ssrl-pipeline", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as stop:
            assert isinstance(stop.code, int)
            return stop.code
    return 0


def captured(capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """:func:`run_main` with what it printed, native code's output too."""

    def call(*arguments: object) -> Result:
        capfd.readouterr()
        return Result(run_main(*arguments), *capfd.readouterr())

    return call
