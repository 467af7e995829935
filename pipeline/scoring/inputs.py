"""The videos that `score` is told of: files, folders, and patterns that no shell has expanded."""

import glob
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from ssrl_pipeline.console import Note
from ssrl_pipeline.data import Intervals, video_id
from ssrl_pipeline.disk import on_disk, one_name, two_spellings
from ssrl_pipeline.errors import ConfigError, PipelineError
from ssrl_pipeline.extraction import find_videos, is_video, left_out, refuse_address

OTHER_WAY = "score the folder that holds both, or one of them into another folder with --out"


def find_inputs(
    inputs: Sequence[str | Path], out: Path, note: Note = lambda text: None, pictures: bool = False
) -> dict[str, Path]:
    """Name -> path of all videos; a name is also that of the folder below `out`.

    A folder's videos, of any depth, are named by their path below it, a file by its own
    name. A pattern (`*`, `?`, `[ab]`, and `**` for folders of any depth) stands for the
    videos that it matches; one without `**` also for the folders. What lies in `out`,
    as overlay.mp4 does, is no input. A file that is named twice is scored once.

    Args:
        inputs: what the user has named. A file need not be there.
        out: folder of the results.
        pictures: whether folders of pictures are videos.
        note: told in a line what was left out of a folder, or of what a pattern matches.

    Raises:
        ConfigError: an address; a folder or a pattern has no videos; or two results would lie in one folder.
    """
    found: dict[str, Path] = {}
    for text in map(str, inputs):
        for name, path in _expand(text, out, note, pictures):
            first = found.setdefault(name, path)
            if first != path and first.resolve() != path.resolve():
                alike = one_name(str(first)) == one_name(str(path))
                both = two_spellings(str(first), str(path)) if alike else f"{first} and {path}"
                raise ConfigError(f"{both}: the results of both would be in {out / name}; {OTHER_WAY}")
    for name, path in found.items():
        for above in PurePosixPath(name).parents:
            if str(above) in found:
                raise ConfigError(
                    f"{found[str(above)]} and {path}: the results of one, {out / name}, would be in the "
                    f"other's folder; {OTHER_WAY}"
                )
        folder = on_disk(out / name)
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{folder}: a file is where a folder of results is to be; choose another --out")
        if any(inner.is_dir() and not inner.name.startswith(".") for inner in folder.glob("*")):
            raise ConfigError(
                f"{folder}: holds folders, so it is no result of one video, which would replace it; "
                "choose another --out"
            )
    return found


def _expand(text: str, out: Path, note: Note, pictures: bool) -> Iterator[tuple[str, Path]]:
    refuse_address(text)
    path = on_disk(Path(text))
    if path.is_dir():
        try:
            videos = find_videos(path, note, out, pictures)
        except PipelineError as error:
            raise ConfigError(str(error)) from error
        yield from videos.items()
    elif path.exists() or not glob.has_magic(text):
        yield one_name(path.name), path
    else:
        # Path.glob takes no absolute pattern.
        spellings = {text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD"))}
        found = {match for one in spellings for match in glob.glob(one, recursive=True)}  # noqa: PTH207
        matches = [Path(match) for match in sorted(found)]
        matches = [path for path in matches if not _in(path, out)]
        files = [path for path in matches if path.is_file()]
        matching = [(one_name(path.name), path) for path in files if is_video(path.name)]
        for folder in [path for path in matches if path.is_dir()] if "**" not in text else []:
            with suppress(PipelineError):
                matching += find_videos(folder, note, out, pictures).items()
        told = left_out(path.name for path in files if not is_video(path.name))
        if not matching:
            raise ConfigError(f"{text}: no video matches this pattern" + (f"; {told}" if told else ""))
        if told:
            note(f"{text}: {told}")
        yield from matching


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
