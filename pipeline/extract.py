"""Stage one: every video of a folder into the feature store.

    ssrl-pipeline extract --videos videos/

What is already stored is skipped; a video that fails does not stop the others. Several
extractions may share a store: each takes the next video that no other is at.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ssrl_pipeline.errors import DiskError, PipelineError, VideoError
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.extractors.decode import EXTENSIONS, probe
from ssrl_pipeline.extractors.extractor import Features
from ssrl_pipeline.extractors.snippets import snippet_count
from ssrl_pipeline.files import file_sha256
from ssrl_pipeline.store import FeatureStore, VideoMeta

WAIT = 0.2  # seconds between looks at videos that other processes are extracting


class Outcome(NamedTuple):
    """What became of one video."""

    video: str  # its name in the store
    status: str  # "done", "skipped" (already stored) or "failed"
    snippets: int = 0
    seconds: float = 0.0
    reason: str = ""  # why it failed


class ExtractorOptions(NamedTuple):
    """What makes a FeatureExtractor: it travels to other processes, for each to make its own."""

    backbone: str = "i3d"
    preset: str = "paper"
    weights: str | None = None
    patches: str = "exact"
    engine: str = "auto"
    precision: str = "float32"

    def build(self, device: str) -> FeatureExtractor:
        """Raises PipelineError: an unknown name, a missing device, weights that cannot be had."""
        return FeatureExtractor(device=device, **self._asdict())


class Progress:
    """What extraction reports while it runs; this one says nothing."""

    def start(self, video: str) -> None: ...

    def snippet(self) -> None: ...

    def finish(self, outcome: Outcome) -> None: ...

    def close(self) -> None: ...


class Plan(NamedTuple):
    """What an extraction has before it."""

    videos: int
    todo: int  # of these, not in the store or changed since
    snippets: int  # that the containers of `todo` promise


def find_videos(root: Path) -> dict[str, Path]:
    """All videos below a folder (or one file): name below the root -> path, sorted by name.

    Raises:
        PipelineError: the folder is missing or holds no file with a video's extension.
    """
    if root.is_file():
        return {root.name: root}
    if not root.is_dir():
        raise PipelineError(f"{root}: no such file or folder")
    found = {}
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            path = Path(folder, name)
            if path.suffix.lower() in EXTENSIONS and not name.startswith("."):
                found[path.relative_to(root).as_posix()] = path
    if not found:
        raise PipelineError(f"{root}: no videos here (looked for {' '.join(sorted(EXTENSIONS))})")
    return dict(sorted(found.items()))


def extract(
    root: Path,
    features: Path,
    extractor: FeatureExtractor,
    dtype: str = "float32",
    begin: Callable[[Plan], Progress] = lambda plan: Progress(),
) -> tuple[FeatureStore, list[Outcome]]:
    """Extracts what of a folder of videos the store does not hold yet.

    Args:
        root: the folder, or one video.
        features: the store; made where it is missing.
        dtype: of the stored features.
        begin: told the plan, gives what is told of the progress.

    Returns:
        the store, and an outcome per video, in order; errors of a video are in its outcome.

    Raises:
        PipelineError: there are no videos, the store is of another recipe, or the disk is full.
    """
    videos = find_videos(root)
    store = FeatureStore.create(features, extractor.recipe, dtype)
    todo = {name: path for name, path in videos.items() if not store.is_current(name, path)}
    snippets = sum(expected_snippets(todo.values(), extractor.preset.drop_last))
    progress = begin(Plan(len(videos), len(todo), snippets))
    outcomes: dict[str, Outcome] = {}
    taken = _take(store, videos, todo)
    try:
        for name, path, mine in taken:
            progress.start(name)
            if mine:
                outcome = try_video(name, path, store, extractor, progress.snippet)
            else:
                outcome = Outcome(name, "skipped", store.meta(name).snippets)
            progress.finish(outcome)
            outcomes[name] = outcome
    finally:
        taken.close()
        progress.close()
    return store, [outcomes[name] for name in videos]


def _take(
    store: FeatureStore, videos: Mapping[str, Path], todo: Collection[str]
) -> Generator[tuple[str, Path, bool], None, None]:
    """(name, path, whether it is ours to extract) of all; what another process is at comes last."""
    queue, passed = deque(videos), 0
    while queue:
        name = queue.popleft()
        if name not in todo:
            yield name, videos[name], False
            continue
        with store.claim(name) as mine:
            if mine:
                yield name, videos[name], not store.is_current(name, videos[name])
                passed = 0
                continue
        queue.append(name)
        passed += 1
        if passed >= len(queue):
            time.sleep(WAIT)


def try_video(
    name: str,
    path: Path,
    store: FeatureStore,
    extractor: FeatureExtractor,
    on_snippet: Callable[[], None] = lambda: None,
) -> Outcome:
    """Puts one video into the store; what is wrong with it becomes the outcome's reason.

    Raises:
        DiskError: there is no room; the next videos would fare no better.
    """
    started = time.perf_counter()
    try:
        meta = extract_video(name, path, store, extractor, on_snippet)
    except DiskError:
        raise
    except (PipelineError, OSError) as error:
        return Outcome(name, "failed", reason=str(error))
    return Outcome(name, "done", meta.snippets, time.perf_counter() - started)


def extract_video(
    name: str,
    path: Path,
    store: FeatureStore,
    extractor: FeatureExtractor,
    on_snippet: Callable[[], None] = lambda: None,
) -> VideoMeta:
    """Puts one video into the store.

    Raises:
        VideoError: the video cannot be decoded; nothing of it is stored.
    """
    if not path.is_file():
        raise VideoError(f"{path}: no such file")
    source = path.stat()
    with store.writer(name) as writer:

        def write(features: Features) -> None:
            writer.append(features)
            on_snippet()

        result = extractor.write_video(path, restart=writer.restart, write=write)
        if result.snippets == 0:
            raise VideoError(f"{path}: {result.frames} frames are too few for one snippet of this preset")
        writer.meta = VideoMeta(
            frames=result.frames,
            snippets=result.snippets,
            fps=result.info.fps,
            width=result.info.width,
            height=result.info.height,
            decoder=result.decoder,
            source_bytes=source.st_size,
            source_mtime_ns=source.st_mtime_ns,
            source_sha256=file_sha256(path),
        )
    return writer.meta


def expected_snippets(videos: Iterable[Path], drop_last: bool = False) -> Iterator[int]:
    """How many snippets each container promises, for a progress bar; none where it cannot be read."""
    for info in probe(videos):
        yield snippet_count(max(0, info.reported_frames), drop_last) if info else 0
