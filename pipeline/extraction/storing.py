"""Videos into the feature store: each is claimed, described, and stored whole or not at all.

Several processes may share a store: each takes the next video that no other is at.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from ssrl_pipeline.console import DONE, FAILED, SKIPPED, Outcome, Progress
from ssrl_pipeline.disk import SourceFile
from ssrl_pipeline.errors import DiskError, PipelineError, VideoError
from ssrl_pipeline.extractors import FeatureExtractor, VideoFeatures, ViewArrays
from ssrl_pipeline.features import FeatureStore, FeatureWriter, VideoMeta


class Claimed(NamedTuple):
    """A video that is ours for now."""

    name: str
    path: Path
    claim: ExitStack  # others may have it when this is closed


def claim(store: FeatureStore, name: str, path: Path) -> Claimed | None:
    """None where another process is at the video."""
    with ExitStack() as stack:
        if stack.enter_context(store.claim(name)):
            return Claimed(name, path, stack.pop_all())
    return None


def claim_each(store: FeatureStore, videos: Mapping[str, Path]) -> Iterator[Claimed | None]:
    """All videos in order, but those that another process is at come last: None while there is no other."""
    queue, passed = deque(videos), 0
    while queue:
        name = queue.popleft()
        if claimed := claim(store, name, videos[name]):
            passed = 0
            yield claimed
            continue
        queue.append(name)
        passed += 1
        if passed >= len(queue):
            passed = 0
            yield None


def store_videos(
    videos: Iterable[Claimed | None],
    store: FeatureStore,
    extractor: FeatureExtractor,
    workers: int = 1,
    progress: Progress | None = None,
) -> dict[str, Outcome]:
    """Puts videos into the store: name -> outcome, whose reason says what is wrong with one.

    Args:
        videos: taken as there is room; None where there is none for now. A video that
            the store holds by then is skipped.
        workers: how many are decoded at the same time.

    Raises:
        DiskError: there is no room; the next videos would fare no better.
    """
    progress = progress or Progress()
    outcomes: dict[str, Outcome] = {}
    under_way: set[_Storing] = set()

    def conclude(outcome: Outcome) -> None:
        outcomes[outcome.video] = outcome
        progress.finish(outcome)

    def jobs() -> Generator["_Storing | None", None, None]:
        for claimed in videos:
            if claimed is None:
                yield None
                continue
            progress.start(claimed.name)
            if store.is_current(claimed.name, claimed.path, extractor.picture_fps):
                conclude(_skipped(claimed, store))
                continue
            storing = _Storing(claimed, store, progress.snippet)
            under_way.add(storing)
            yield storing

    described = extractor.describe_videos(jobs(), workers)
    try:
        for storing, result in described:
            under_way.remove(storing)
            conclude(storing.end(result))
    finally:
        described.close()
        for storing in under_way:
            storing.abandon()
    return outcomes


def _skipped(claimed: Claimed, store: FeatureStore) -> Outcome:
    """Of a video that the store holds."""
    claimed.claim.close()
    meta = store.meta(claimed.name)
    return Outcome(claimed.name, SKIPPED, meta.snippets, reason=meta.damage)


class _Storing:
    """A video on its way into the store: a job of the extractor's feed."""

    def __init__(self, claimed: Claimed, store: FeatureStore, on_snippet: Callable[[], None]):
        self.name, self.path, self._stack = claimed
        self._store, self._on_snippet = store, on_snippet
        self._started = time.perf_counter()
        self._writer: FeatureWriter | None = None
        with suppress(OSError):  # then it cannot be opened either, as the result will say
            self._source = SourceFile(self.path)

    def write(self, features: ViewArrays) -> None:
        self._writer = self._writer or self._stack.enter_context(self._store.writer(self.name))
        self._writer.append(features)
        self._on_snippet()

    def end(self, result: VideoFeatures | Exception) -> Outcome:
        """Stores what was written, or nothing of it."""
        try:
            if isinstance(result, Exception):
                self.abandon(result)  # a full disk's error comes out as one that says so
                raise result
            meta = self._meta(result)
            assert self._writer
            self._writer.meta, self._writer.stamps = meta, result.times.stamps
            self._writer.starts = result.starts
            self._stack.close()
        except DiskError:
            raise
        except (PipelineError, OSError) as error:
            return Outcome(self.name, FAILED, reason=str(error))
        finally:
            self.abandon()
        return Outcome(self.name, DONE, meta.snippets, time.perf_counter() - self._started, meta.damage)

    def abandon(self, error: Exception | None = None) -> None:
        """Leaves nothing of what is not stored yet."""
        error = error or VideoError(f"{self.path}: abandoned")
        self._stack.__exit__(type(error), error, error.__traceback__)

    def _meta(self, result: VideoFeatures) -> VideoMeta:
        if result.snippets == 0:
            raise VideoError(
                f"{self.path}: {result.frames} frames are too few for one snippet of this preset"
            )
        return VideoMeta(
            frames=result.frames,
            snippets=result.snippets,
            fps=result.times.fps,
            width=result.info.width,
            height=result.info.height,
            decoder=result.decoder,
            source_bytes=self._source.bytes,
            source_mtime_ns=self._source.mtime_ns,
            source_sha256=self._source.sha256,
            damage=result.damage,
            repeats=result.repeats.as_json() if result.repeats else {},
        )
