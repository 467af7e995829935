"""A program that is run for each alarm."""

import json
import sys
import time
from pathlib import Path

import pytest

from ssrl_pipeline.alarms.receivers.program import Program
from ssrl_pipeline.errors import PipelineError

MESSAGE = {"type": "event_start", "camera": "gate", "start": 16, "start_time": None, "words": ["a", "b"]}


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_it_gets_json_and_variables_and_no_shell(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    code = (
        "import json, os, sys\n"
        "found = {k: v for k, v in os.environ.items() if k.startswith('SSRL_')}\n"
        "json.dump([json.load(sys.stdin), found, sys.argv[1:]], open(sys.argv[1], 'w'))"
    )
    Program([*python(code), str(out), "$HOME; ls"]).deliver(MESSAGE)
    message, variables, arguments = json.loads(out.read_text())
    assert message == MESSAGE and arguments == [str(out), "$HOME; ls"]
    expected = {"SSRL_TYPE": "event_start", "SSRL_CAMERA": "gate", "SSRL_START": "16", "SSRL_START_TIME": ""}
    assert variables == expected | {"SSRL_WORDS": "a; b"}


def test_one_that_fails_hangs_or_is_not_there_is_told() -> None:
    with pytest.raises(PipelineError, match="exit code 3"):
        Program(python("raise SystemExit(3)")).deliver(MESSAGE)
    with pytest.raises(PipelineError, match="nowhere cannot be run: No such file"):
        Program(["nowhere"]).deliver(MESSAGE)
    begun = time.monotonic()
    with pytest.raises(PipelineError, match=r"more than 0\.5 seconds"):
        Program(python("import time; time.sleep(60)"), limit=0.5).deliver(MESSAGE)
    assert time.monotonic() - begun < 30
