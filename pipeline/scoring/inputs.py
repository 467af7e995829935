"""The videos that `score` is told of: files, folders, and patterns that no shell has expanded."""

import glob
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TypeVar

from ssrl_pipeline.console import Note
from ssrl_pipeline.data import Labels, group_of_folder, labels_path, read_labels, video_id
from ssrl_pipeline.disk import on_disk, one_name, two_spellings
from ssrl_pipeline.errors import ConfigError, PipelineError
from ssrl_pipeline.extraction import find_videos, is_video, left_out, refuse_address
from ssrl_pipeline.settings import DataSettings

T = TypeVar("T")
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


def match_names(videos: Iterable[str], table: Mapping[str, T]) -> dict[str, T]:
    """What a table has for the videos, by their own names, for those that are in it.

    A table's name is a video's where the two are equal, or else where their bare names
    are and no other video, nor another name of the table, has that one.
    """
    videos = list(videos)
    by_bare: dict[str, list[str]] = {}
    of_table: dict[str, list[str]] = {}
    for video in videos:
        by_bare.setdefault(video_id(video), []).append(video)
    for name in table:
        of_table.setdefault(video_id(name), []).append(name)
    matched: dict[str, T] = {}
    for video in videos:
        names = of_table.get(video_id(video), [])
        if video in table:
            matched[video] = table[video]
        elif len(names) == 1 and len(by_bare[video_id(video)]) == 1:
            matched[video] = table[names[0]]
    return matched


def camera_of(
    videos: Iterable[str], data: DataSettings, group: str | None = None, note: Note = lambda text: None
) -> dict[str, str | None]:
    """The group, a camera or source, that each video is of; None: nothing says.

    Args:
        videos: names.
        data: says where labels stand, which may name groups, and whether folders do.
        group: of all of them, whatever else says so.
        note: told why labels that nobody named are not read.

    Raises:
        LabelError: the labels that the settings name cannot be read.
    """
    videos = list(videos)
    if group is not None:
        return dict.fromkeys(videos, group)
    labels: Labels = {}
    if path := labels_path(data):
        try:
            labels = match_names(videos, read_labels(path))
        except PipelineError as error:
            if data.labels:
                raise
            note(f"no cameras are known by {path}: {error}")
    said = {video: labels[video].group if video in labels else None for video in videos}
    if data.group is None:
        return said
    return {video: own or group_of_folder(video) for video, own in said.items()}
