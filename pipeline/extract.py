"""Stage one: every video of a folder into the feature store.

    ssrl-pipeline extract --videos videos/

What is already stored is skipped; a video that fails does not stop the others. Several
extractions may share a store: each takes the next video that no other is at.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ssrl_pipeline.errors import ConfigError, PipelineError
from ssrl_pipeline.extractors import PRESETS, FeatureExtractor
from ssrl_pipeline.extractors.decode import EXTENSIONS, probe
from ssrl_pipeline.extractors.precision import recorded
from ssrl_pipeline.extractors.snippets import snippet_count
from ssrl_pipeline.messages import is_address, without_secrets
from ssrl_pipeline.store import FeatureStore, Recipe
from ssrl_pipeline.storing import Outcome, Progress, claim_each, store_videos

LEAST_FRAME = 8  # bytes: a frame in which nothing moves, and its entry in the index, take more
WORKERS = {"cpu": 1, "cuda": 4}  # videos decoded at the same time


class ExtractorOptions(NamedTuple):
    """What makes a FeatureExtractor: it travels to other processes, for each to make its own."""

    backbone: str = "i3d"
    preset: str = "paper"
    weights: str | None = None
    patches: str = "exact"
    engine: str = "auto"
    precision: str = "auto"

    def build(self, device: str) -> FeatureExtractor:
        """Raises PipelineError: an unknown name, a missing device, weights that cannot be had."""
        return FeatureExtractor(device=device, **self._asdict())

    def recipe(self) -> Recipe:
        """That of an extractor on whichever device; found on the CPU, also where that could not extract so.

        Raises:
            PipelineError: as of :meth:`build`.
        """
        return self._replace(engine="auto", precision="auto").build("cpu").recipe | recorded(self.precision)

    @property
    def drop_last(self) -> bool:
        """Whether frames that do not fill a snippet are left out."""
        return PRESETS[self.preset].drop_last


class Plan(NamedTuple):
    """What an extraction has before it."""

    videos: int
    todo: int  # of these, not in the store or changed since
    snippets: int  # that the containers of `todo` promise


def require_there(root: Path) -> None:
    """To be called before a model is loaded.

    Raises:
        ConfigError: an address.
        PipelineError: there is no such file or folder.
    """
    refuse_address(root)
    if not (root.is_file() or root.is_dir()):
        raise PipelineError(f"{root}: no such file or folder")


def refuse_address(path: Path | str) -> None:
    """Raises ConfigError, without the address's secrets."""
    if is_address(str(path)):
        raise ConfigError(
            f"{without_secrets(str(path))}: an address, where a file or a folder is expected; "
            "to score a stream, use `ssrl-pipeline watch`; download a file first"
        )


def find_videos(root: Path) -> dict[str, Path]:
    """All videos below a folder (or one file): name below the root -> path, sorted by name.

    A folder that may not be read stands for the videos in it, and fails as a video does.

    Raises:
        ConfigError: an address.
        PipelineError: the folder is missing or holds no file with a video's extension.
    """
    require_there(root)
    if root.is_file():
        return {root.name: root}
    found: dict[str, Path] = {}

    def closed(error: OSError) -> None:
        path = Path(error.filename)
        if path == root:
            raise PipelineError(f"{root}: may not be read; change its permissions") from error
        found[path.relative_to(root).as_posix()] = path

    for folder, folders, files in os.walk(root, onerror=closed):
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
    features: Path | str,
    extractor: FeatureExtractor,
    dtype: str = "float32",
    begin: Callable[[Plan], Progress] = lambda plan: Progress(),
    workers: int | None = None,
) -> tuple[FeatureStore, list[Outcome]]:
    """Extracts what of a folder of videos the store does not hold yet, the longest video first.

    Args:
        root: the folder, or one video.
        features: the store, a folder or its URL; made where it is missing.
        dtype: of the stored features.
        begin: told the plan, gives what is told of the progress.
        workers: how many videos are decoded at the same time; None: 1 on a CPU, 4 on a GPU.

    Returns:
        the store, and an outcome per video, in order; errors of a video are in its outcome.

    Raises:
        PipelineError: there are no videos, the store is of another recipe, or the disk is full.
    """
    videos = find_videos(root)
    store = FeatureStore.create(features, extractor.recipe, dtype)
    todo, plan = make_plan(videos, store, extractor.preset.drop_last)
    progress = begin(plan)
    try:
        outcomes = skip(videos.keys() - todo.keys(), store, progress)
        workers = workers or WORKERS[extractor.device.type]
        outcomes |= store_videos(claim_each(store, todo), store, extractor, workers, progress)
    finally:
        progress.close()
    return store, [outcomes[name] for name in videos]


def make_plan(
    videos: Mapping[str, Path], store: FeatureStore, drop_last: bool
) -> tuple[dict[str, Path], Plan]:
    """What the store does not hold, the longest first: so that no worker is left alone with it at the end."""
    todo = [name for name, path in videos.items() if not store.is_current(name, path)]
    counts = dict(zip(todo, expected_snippets([videos[name] for name in todo], drop_last), strict=True))
    longest_first = sorted(todo, key=lambda name: -counts[name])
    return {name: videos[name] for name in longest_first}, Plan(len(videos), len(todo), sum(counts.values()))


def skip(videos: Iterable[str], store: FeatureStore, progress: Progress) -> dict[str, Outcome]:
    """Outcomes of what is stored already."""
    outcomes = {}
    for name in sorted(videos):
        progress.start(name)
        meta = store.meta(name)
        outcomes[name] = Outcome(name, "skipped", meta.snippets, reason=meta.damage)
        progress.finish(outcomes[name])
    return outcomes


def expected_snippets(videos: Iterable[Path], drop_last: bool = False) -> Iterator[int]:
    """How many snippets each container promises, for a progress bar; none where it cannot be read.

    A promise of more frames than the file has bytes for is cut to these.
    """
    videos = list(videos)
    for path, info in zip(videos, probe(videos), strict=True):
        if info is None:
            yield 0
            continue
        room = path.stat().st_size // LEAST_FRAME
        yield snippet_count(min(max(0, info.reported_frames), room), drop_last)
