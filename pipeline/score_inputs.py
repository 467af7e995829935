"""The videos that `score` is told of: files, folders, and patterns that no shell has expanded."""

import glob
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from ssrl_pipeline.annotations import video_id
from ssrl_pipeline.errors import ConfigError, PipelineError
from ssrl_pipeline.extract import find_videos, refuse_address
from ssrl_pipeline.extractors.decode import EXTENSIONS
from ssrl_pipeline.labels import Intervals

OTHER_WAY = "score the folder that holds both, or one of them into another folder with --out"


def find_inputs(inputs: Sequence[str | Path], out: Path) -> dict[str, Path]:
    """Name -> path of all videos; a name is also that of the folder below `out`.

    A folder's videos, of any depth, are named by their path below it, a file by its own
    name. A pattern (`*`, `?`, `[ab]`, and `**` for folders of any depth) stands for the
    videos that it matches; one without `**` also for the folders. What lies in `out`,
    as overlay.mp4 does, is no input. A file that is named twice is scored once.

    Args:
        inputs: what the user has named. A file need not be there.
        out: folder of the results.

    Raises:
        ConfigError: an address; a folder or a pattern has no videos; or two results would lie in one folder.
    """
    found: dict[str, Path] = {}
    for text in map(str, inputs):
        for name, path in _expand(text, out):
            first = found.setdefault(name, path)
            if first != path and first.resolve() != path.resolve():
                raise ConfigError(
                    f"{first} and {path}: the results of both would be in {out / name}; {OTHER_WAY}"
                )
    for name, path in found.items():
        for above in PurePosixPath(name).parents:
            if str(above) in found:
                raise ConfigError(
                    f"{found[str(above)]} and {path}: the results of one, {out / name}, would be in the "
                    f"other's folder; {OTHER_WAY}"
                )
        folder = out / name
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{folder}: a file is where a folder of results is to be; choose another --out")
        if any(inner.is_dir() and not inner.name.startswith(".") for inner in folder.glob("*")):
            raise ConfigError(
                f"{folder}: holds folders, so it is no result of one video, which would replace it; "
                "choose another --out"
            )
    return found


def _expand(text: str, out: Path) -> Iterator[tuple[str, Path]]:
    refuse_address(text)
    path = Path(text)
    if path.is_dir():
        videos = _below(path, out)
        if not videos:
            raise ConfigError(f"{text}: no videos in this folder (looked for {' '.join(sorted(EXTENSIONS))})")
        yield from videos.items()
    elif path.exists() or not glob.has_magic(text):
        yield path.name, path
    else:
        # Path.glob takes no absolute pattern.
        matches = [Path(match) for match in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207
        files = [p for p in matches if p.is_file() and p.suffix.lower() in EXTENSIONS and not _in(p, out)]
        folders = [p for p in matches if p.is_dir() and not _in(p, out)] if "**" not in text else []
        matching = [(p.name, p) for p in files] + [pair for p in folders for pair in _below(p, out).items()]
        if not matching:
            raise ConfigError(f"{text}: no video matches this pattern")
        yield from matching


def _below(folder: Path, out: Path) -> dict[str, Path]:
    """The videos of a folder, without the results of earlier runs that may lie in it."""
    try:
        videos = find_videos(folder)
    except PipelineError:
        return {}
    if not _in(out, folder):
        return videos
    return {name: path for name, path in videos.items() if not _in(path, out)}


def _in(path: Path, folder: Path) -> bool:
    """Whether a path lies below a folder."""
    return folder.resolve() in path.resolve().parents


def match_intervals(videos: Iterable[str], intervals: Intervals) -> Intervals:
    """Intervals by the names of the videos, for those that have any.

    A table's name is a video's where the two are equal, or else where their bare names
    are and no other video, nor another name of the table, has that one.
    """
    videos = list(videos)
    by_bare: dict[str, list[str]] = {}
    of_table: dict[str, list[str]] = {}
    for video in videos:
        by_bare.setdefault(video_id(video), []).append(video)
    for name in intervals:
        of_table.setdefault(video_id(name), []).append(name)
    matched: Intervals = {}
    for video in videos:
        names = of_table.get(video_id(video), [])
        if video in intervals:
            matched[video] = intervals[video]
        elif len(names) == 1 and len(by_bare[video_id(video)]) == 1:
            matched[video] = intervals[names[0]]
    return matched
