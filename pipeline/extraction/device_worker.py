"""One of several processes that extract into one store; :mod:`ssrl_pipeline.extraction.devices` starts it.

It reads lines of JSON and answers with lines of JSON: first what there is to do,
then, for each `{"next": true}` that it says, `{"video": name}`, with null where
there are no more, or `{"wait": true}`.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from ssrl_pipeline.errors import PipelineError, first_line, is_out_of_memory
from ssrl_pipeline.extraction.extract import WORKERS, ExtractorOptions, find_videos
from ssrl_pipeline.extraction.storing import Claimed, Outcome, Progress, store_videos
from ssrl_pipeline.features.opening import location, open_store
from ssrl_pipeline.features.recipe import require_same_recipe
from ssrl_pipeline.features.store import FeatureStore

TERMINATED = 143


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this process decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    parent = _Parent()
    try:
        _extract(json.loads(sys.stdin.readline()), parent)
    except PipelineError as error:
        parent.tell(error=str(error))
        sys.exit(1)
    except Exception as error:  # it dies of it, and the parent goes on
        if not is_out_of_memory(error):
            raise
        sys.exit(f"out of memory ({first_line(error)})")


def _extract(task: dict[str, Any], parent: "_Parent") -> None:
    torch.set_num_threads(task["threads"])
    extractor = ExtractorOptions(**task["options"]).build(task["device"])
    store = open_store(location(task["features"]))
    require_same_recipe(store.recipe, extractor.recipe, f"the store {store.root}", "this process")
    videos = find_videos(Path(task["videos"]), pictures=extractor.picture_fps is not None)
    workers = task["workers"] or WORKERS[extractor.device.type]
    store_videos(_given(parent, store, videos), store, extractor, workers, _Told(parent))


def _given(parent: "_Parent", store: FeatureStore, videos: Mapping[str, Path]) -> Iterator[Claimed | None]:
    while True:
        answer = parent.ask()
        if answer.get("wait"):
            yield None
            continue
        name = answer.get("video")
        if name is None:
            return
        with ExitStack() as claim:
            if claim.enter_context(store.claim(name)):
                yield Claimed(name, videos[name], claim.pop_all())
                continue
        parent.tell(busy=name)


class _Told(Progress):
    """What the parent is told."""

    def __init__(self, parent: "_Parent"):
        self._parent = parent

    def start(self, video: str) -> None:
        self._parent.tell(start=video)

    def snippet(self) -> None:
        self._parent.tell(snippet=True)

    def finish(self, outcome: Outcome) -> None:
        self._parent.tell(outcome=outcome._asdict())


class _Parent:
    """The other side; this process ends with it."""

    def __init__(self) -> None:
        self._descriptor = os.dup(1)
        os.dup2(2, 1)  # what libraries print is no answer

    def tell(self, **message: Any) -> None:
        line = json.dumps(message).encode() + b"\n"
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
        except BrokenPipeError:
            sys.exit(TERMINATED)

    def ask(self) -> dict[str, Any]:
        self.tell(next=True)
        line = sys.stdin.readline()
        if not line:
            sys.exit(TERMINATED)
        answer: dict[str, Any] = json.loads(line)
        return answer


if __name__ == "__main__":
    main()
