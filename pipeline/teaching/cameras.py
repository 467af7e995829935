"""Which camera a stored video is of, where a checkpoint was adapted to some: also the clips of `watch`."""

from collections.abc import Collection, Iterable
from itertools import chain
from pathlib import PurePosixPath

from ssrl_pipeline.alarms import folder_name
from ssrl_pipeline.console import Note
from ssrl_pipeline.data import group_of_folder
from ssrl_pipeline.scoring import camera_of
from ssrl_pipeline.settings import DataSettings


def cameras_of(
    videos: Iterable[str], data: DataSettings, known: Collection[str], note: Note
) -> dict[str, str | None]:
    """The group that each video is of; None: nothing says.

    A video in the folder of a known camera, however deep, is of that camera unless the labels name another:
    `gate/2026-03-02/20260302-071209-3fa9c1.mp4` is of `gate`.

    Args:
        data: as of :func:`ssrl_pipeline.scoring.camera_of`.
        known: the cameras that a checkpoint was adapted to.

    Raises:
        LabelError: the labels that the settings name cannot be read.
    """
    by_folder = {folder_name(name): name for name in known} | {name: name for name in known}
    found = camera_of(videos, data, note=note)
    for video, group in found.items():
        folder = group_of_folder(video)
        if group in known or group not in (None, folder):
            continue
        paths = PurePosixPath(video), PurePosixPath(folder or "", "video")
        folders = map(str, chain.from_iterable(path.parents for path in paths))
        found[video] = next((by_folder[one] for one in folders if one in by_folder), group)
    return found


def learning_cameras(
    videos: Iterable[str], clicked: Collection[str], data: DataSettings, known: Collection[str], note: Note
) -> dict[str, str | None]:
    """The same, to learn by; nothing where no camera is known.

    Args:
        clicked: those with verdicts.
        note: is told of such that no known camera learns from.
    """
    if not known:
        return {}
    found = cameras_of(videos, data, known, note)
    if others := sorted(video for video in clicked if found[video] not in known):
        more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
        note(
            f"learnt by the common detector: nothing says that {others[0]}{more} is of a camera with its "
            f"own ({', '.join(sorted(known))}); a column group in the labels does, or the video's folder"
        )
    return found
