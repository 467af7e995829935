"""What a command leaves."""

import sys
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
