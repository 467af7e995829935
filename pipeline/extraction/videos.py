"""The videos of a folder: which files are taken for one, what was left out, and how long each may be."""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ssrl_pipeline.console import Note, is_address, without_secrets
from ssrl_pipeline.disk import FEWEST, by_name, is_picture, on_disk, one_name, picture_files
from ssrl_pipeline.errors import ConfigError, PipelineError
from ssrl_pipeline.extractors import expected_count
from ssrl_pipeline.extractors.decoding import EXTENSIONS, probe
from ssrl_pipeline.times import ALIKE

BESIDE = {  # endings of tables, notes and subtitles: nobody takes these for videos
    *(".csv", ".db", ".html", ".ini", ".json", ".jsonl", ".list", ".log", ".mat", ".md", ".npy", ".npz"),
    *(".pdf", ".py", ".srt", ".toml", ".tsv", ".txt", ".vtt", ".xml", ".yaml", ".yml"),
}
ENDING = re.compile(r"\.[\w-]{1,10}")
TOLD = 8  # endings of files that were left out
LEAST_FRAME = 8  # bytes: a frame in which nothing moves, and its entry in the index, take more


class Expected(NamedTuple):
    """What a video is expected to have, before it is decoded."""

    snippets: int
    guessed: bool = False  # from its size, since the container does not tell
    opens: bool = True


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


def find_videos(
    root: Path,
    note: Note = lambda text: None,
    but: Path | None = None,
    pictures: bool = False,
) -> dict[str, Path]:
    """All videos below a folder (or one file): name below the root -> path, sorted by name.

    Names are in the normal form of :mod:`ssrl_pipeline.disk.spelling`, paths as the disk has them.
    A folder that may not be read stands for the videos in it, and fails as a video does. One
    that holds pictures and no videos or folders may be a video itself.

    Args:
        root: the folder or the file.
        note: told in a line which other files were left out, except such as lie beside videos.
        but: a folder that is not entered.
        pictures: whether folders of pictures are videos; else they are told.

    Raises:
        ConfigError: an address.
        PipelineError: the folder is missing or holds no video, or two of one name.
    """
    root = on_disk(root)
    require_there(root)
    if root.is_file():
        return {one_name(root.name): root}
    paths, of_pictures, others = _below(root, but and but.resolve())
    found = {path.relative_to(root).as_posix(): path for path in paths}
    if pictures:
        found |= {
            (root.name if path == root else path.relative_to(root).as_posix()): path for path in of_pictures
        }
    hint = _hint(of_pictures) if of_pictures and not pictures else ""
    if not found:
        told = "; ".join(part for part in (left_out(others, beside=()), hint) if part)
        looked = "looked for .mp4, .avi, .mkv and the other endings in docs/inputs.md"
        raise PipelineError(f"{root}: no videos here ({looked})" + (f"; {told}" if told else ""))
    if hint:
        note(f"{root}: {hint}")
    if told := left_out(others):
        note(f"{root}: {told}")
    return {name: found[spelling] for name, spelling in sorted(by_name(found, root).items())}


def _below(root: Path, but: Path | None) -> tuple[list[Path], list[Path], list[str]]:
    """Videos and folders that may not be read, folders of pictures, and the names of other files."""
    videos: list[Path] = []
    of_pictures: list[Path] = []
    others: list[str] = []

    def closed(error: OSError) -> None:
        path = Path(error.filename)
        if path == root:
            raise PipelineError(f"{root}: may not be read; change its permissions") from error
        videos.append(path)

    for folder, folders, files in os.walk(root, onerror=closed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if but:
            folders[:] = [name for name in folders if Path(folder, name).resolve() != but]
        if not folders and are_frames(files):
            of_pictures.append(Path(folder))
            continue
        shown = [name for name in files if not name.startswith(".")]
        videos += [Path(folder, name) for name in shown if is_video(name)]
        others += [name for name in shown if not is_video(name)]
    return videos, of_pictures, others


def videos_of(videos: Path | Mapping[str, Path], pictures: bool = False) -> Mapping[str, Path]:
    """Name -> path: what was found already, or else what :func:`find_videos` finds."""
    return videos if isinstance(videos, Mapping) else find_videos(videos, pictures=pictures)


def are_frames(names: Iterable[str]) -> bool:
    """Whether the files of a folder are a video's frames: pictures, and no videos."""
    names = list(names)
    return sum(map(is_picture, names)) >= FEWEST and not any(map(is_video, names))


def _hint(folders: list[Path]) -> str:
    some = ", ".join(f"{path.name} ({len(picture_files(path))} pictures)" for path in folders[:3])
    more = ", and more" if len(folders) > 3 else ""
    count = "1 folder" if len(folders) == 1 else f"{len(folders)} folders"
    return f"left out {count} of pictures: {some}{more}; give --frames FPS if these are frames of videos"


def is_video(name: str) -> bool:
    """Whether a file in a folder is taken for a video, which its ending decides."""
    return Path(name).suffix.lower() in EXTENSIONS


def left_out(names: Iterable[str], beside: Collection[str] = BESIDE) -> str:
    """``left out 40 by their endings: 30 .jpg, 10 .dat (...)``, or "" where there are none.

    Args:
        names: of files that are not taken for videos.
        beside: endings of which nothing is said.
    """
    endings = Counter(
        ending if ENDING.fullmatch(ending) else "without an ending"
        for ending in (Path(name).suffix.lower() for name in names)
        if ending not in beside
    )
    if not endings:
        return ""
    most_first = sorted(endings.items(), key=lambda item: (-item[1], item[0]))
    most = ", ".join(f"{count} {ending}" for ending, count in most_first[:TOLD])
    more = ", and more" if len(endings) > TOLD else ""
    return (
        f"left out {sum(endings.values())} by their endings: {most}{more} "
        "(a file that is named by itself is read whatever its ending)"
    )


def slow_videos(rates: Mapping[str, float], rate: float) -> str:
    """What is said of videos with fewer frames a second than are described; "" where there are none.

    Args:
        rates: name -> frames a second, of those that have kept all of their frames; 0 where unknown.
        rate: frames a second of the recipe.
    """
    slow = [name for name, fps in rates.items() if 0 < fps < rate * (1 - ALIKE)]
    if not slow:
        return ""
    least = min(rates[name] for name in slow)
    who = f"{slow[0]} has" if len(slow) == 1 else f"{len(slow)} videos, {slow[0]} first, have"
    return (
        f"{who} fewer frames than {rate:g} a second (as few as {least:.4g}): all are taken, none is invented"
    )


def expected_snippets(
    videos: Iterable[Path],
    drop_last: bool = False,
    rate: float | None = None,
    picture_fps: float | None = None,
) -> Iterator[Expected]:
    """How many snippets each container promises, or its size lets expect; none where it cannot be read.

    A promise of more frames than the file has bytes for is cut to these.

    Args:
        drop_last: a snippet of fewer than 16 frames is left out.
        rate: frames a second that are described; None: all.
        picture_fps: of folders of pictures.
    """
    videos = list(videos)
    files = [path for path in videos if not path.is_dir()]
    infos = dict(zip(files, probe(files, guess=True), strict=True))
    for path in videos:
        if path.is_dir():
            yield Expected(expected_count(len(picture_files(path)), picture_fps or 0.0, rate, drop_last))
            continue
        info = infos[path]
        if info is None:
            yield Expected(0, opens=False)
            continue
        frames = min(abs(info.reported_frames), path.stat().st_size // LEAST_FRAME)
        yield Expected(expected_count(frames, info.fps, rate, drop_last), guessed=info.reported_frames < 0)
