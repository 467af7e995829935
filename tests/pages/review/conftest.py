"""Results of `score` to review, and servers of the page."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from ssrl_pipeline.events import ChosenRule, EventRule
from ssrl_pipeline.pages.access import Access
from ssrl_pipeline.pages.review.page import open_review
from ssrl_pipeline.pages.review.queue import Queue
from ssrl_pipeline.results.video_scores import VideoScores
from ssrl_pipeline.settings import DataSettings
from ssrl_pipeline.teaching.place import learning_commands

FPS, SNIPPETS = 8.0, 8  # a snippet lasts two seconds
SCORES = {"gate/a.webm": {1: 0.9, 5: 0.6}, "gate/b.webm": {3: 0.7}}


class Review(NamedTuple):
    url: str
    queue: Queue
    said: list[str]  # what people were told


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos with three events, of frames whose grey tells their number."""
    root = tmp_path_factory.mktemp("review")
    for name, high in SCORES.items():
        _score(root, name, high, "VP80")
    return root / "scores"


@pytest.fixture
def unplayable(tmp_path: Path) -> Path:
    """A video that no browser plays, with an event and a near miss, of which no picture is kept."""
    _score(tmp_path, "gate/c.avi", {2: 0.8, 6: 0.45}, "MJPG")
    return tmp_path / "scores"


def _score(root: Path, name: str, high: dict[int, float], codec: str) -> None:
    video = root / "videos" / name
    video.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*codec), FPS, (160, 120))
    assert writer.isOpened()
    for i in range(16 * SNIPPETS):
        writer.write(np.full((120, 160, 3), 20 + i, np.uint8))
    writer.release()
    values = np.full(SNIPPETS, 0.1, np.float32)
    values[list(high)] = list(high.values())
    heat = np.zeros((SNIPPETS, 6), np.float32)
    heat[list(high), 4] = 1.0
    VideoScores(
        **{"video": video, "scores": values.repeat(16), "snippet_scores": values, "fps": FPS},
        **{"width": 160, "height": 120, "decoder": "none", "checkpoint": Path("runs/a/best.pt")},
        recipe={},
        chosen=ChosenRule(EventRule(threshold=0.5, shortest=0.0, gap=0.0), "a test"),
        heat={"2x3": heat},
    ).save(root / "scores" / name, contact_sheet=False)


@pytest.fixture
def open_it(results: Path, tmp_path: Path) -> Iterator[Callable[..., Review]]:
    """open_it() -> Review: one more server, of the same table of verdicts."""
    with ExitStack() as stack:

        def one(folder: Path = results, who: str = "ana") -> Review:
            said: list[str] = []
            queue = stack.enter_context(
                open_review(
                    *(Access("127.0.0.1", 0), folder, tmp_path / "feedback.csv"),
                    *(lambda video: f"gate/{video.name}", partial(learning_commands, DataSettings())),
                    *(who, lambda text, level: said.append(text)),
                )
            )
            (address,) = [text.split()[1] for text in said if text.startswith("review: ")]
            return Review(address, queue, said)

        yield one
