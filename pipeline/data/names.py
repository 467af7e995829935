"""Names of videos: the bare name that all of the field's files agree on, and who goes by it."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from ssrl_pipeline.disk import one_name
from ssrl_pipeline.errors import LabelError
from ssrl_pipeline.extractors.decoding import EXTENSIONS

_CROP = re.compile(r"__[0-9]$")  # behind the name of a video, before the ending of features


def video_id(name: str) -> str:
    """The bare name that all of the field's files agree on.

    ``/elsewhere/UCF_Train/Abuse001_x264_i3d.npy``, ``Abuse/Abuse001_x264.mp4``
    and ``Abuse001_x264`` are one video. Folders (of either kind of slash) and
    the endings of videos and features go, ``__0`` to ``__9`` of a crop's features
    with them; nothing else does, since
    ``Normal_Videos003`` trains and ``Normal_Videos_003`` tests.
    """
    bare = bare_name(name)
    return video_of_crop(bare) if name.endswith(".npy") else bare


def bare_name(name: str) -> str:
    base = re.split(r"[\\/]", one_name(name).rstrip("\\/"))[-1]
    if has_ending(base):
        base = base.rpartition(".")[0]
    return base.removesuffix("_i3d")


def video_of_crop(bare: str) -> str:
    """The video that a crop's features are of."""
    return _CROP.sub("", bare).removesuffix("_i3d")


def has_ending(name: str) -> bool:
    """Whether a name ends as videos and features do."""
    return name.endswith(".npy") or is_video_file(name)


def is_video_file(name: str) -> bool:
    _, dot, ending = name.rpartition(".")
    return bool(dot) and f".{ending.lower()}" in EXTENSIONS


class StoredNames:
    """Finds an annotated video among those of the features, whatever folder and ending it has there."""

    def __init__(self, videos: Iterable[str]):
        self._names: dict[str, list[str]] = {}
        for video in videos:
            self._names.setdefault(video_id(video), []).append(video)

    def find(self, video: str) -> str | None:
        """The features' name of an annotated video; None where they lack it.

        Raises:
            LabelError: two fit.
        """
        names = self._names.get(video_id(video), [])
        if len(names) > 1:
            raise LabelError(
                f"the annotated video {video!r} may be {names[0]!r} or {names[1]!r} of the features; "
                "keep one of the two"
            )
        return names[0] if names else None

    def find_path(self, video: str) -> str | None:
        """The features' name of a video that is named by a path, or by the last part of one.

        Of `gate/1.mp4` and `1.mp4` either may stand for the other; `gate/1.mp4` and `yard/1.mp4` are two.

        Raises:
            LabelError: two fit.
        """
        folders = _folders(video)
        names = [
            name
            for name in self._names.get(video_id(video), [])
            if all(one == other for one, other in zip(folders, _folders(name), strict=False))
        ]
        if video in names or len(names) == 1:
            return video if video in names else names[0]
        if names:
            raise LabelError(
                f"the video {video!r} may be {names[0]!r} or {names[1]!r} of the features; name it with its "
                "folders"
            )
        return None


def _folders(name: str) -> list[str]:
    """Those of a path, the innermost first."""
    return list(PurePosixPath(one_name(name).replace("\\", "/")).parts[-2::-1])
