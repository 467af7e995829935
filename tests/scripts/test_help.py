"""Every script tells what it takes: its options are read, and what it imports is there."""

import runpy
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
COMMANDS = [
    path
    for path in sorted(SCRIPTS.rglob("*.py"))
    if '__name__ == "__main__"' in (text := path.read_text("utf-8"))
    and ("argparse" in text or "ped2_common" in text)
]


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.relative_to(SCRIPTS).as_posix())
def test_help(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    monkeypatch.syspath_prepend(path.parent)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(path), run_name="__main__")
    assert end.value.code == 0
    assert f"usage: {path.name}" in capsys.readouterr().out
