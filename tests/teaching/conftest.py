"""Commands, as the tests of teaching run them, and a store of what they learn from."""

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.commands import Result, captured
from helpers.stores import made_up_meta
from helpers.taught import ABNORMAL, NORMAL, THE_RECIPE, T, video

from ssrl_pipeline.features.opening import create_store
from ssrl_pipeline.features.store import FeatureStore


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """run("labels", "import", ...) -> Result."""
    return captured(capfd)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    monkeypatch.chdir(tmp_path)
    made = create_store(tmp_path / "features", THE_RECIPE, "float32")
    for name in (*NORMAL, *ABNORMAL):
        with made.writer(name) as writer:
            writer.append(video(name))
            writer.meta = made_up_meta(T, 16.0)  # a snippet lasts a second
    rows = [f"{name},normal" for name in NORMAL] + [f"{name},abnormal" for name in ABNORMAL]
    Path("labels.csv").write_text("video,label\n" + "\n".join(rows) + "\n")
    return made
