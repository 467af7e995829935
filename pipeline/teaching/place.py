"""Where verdicts stand as the settings name them, and the moments that people name in videos of the store."""

import contextlib
import shlex
from collections.abc import Callable
from pathlib import Path

from ssrl_pipeline.console import Note
from ssrl_pipeline.data import StoredNames, labels_path
from ssrl_pipeline.disk import one_name
from ssrl_pipeline.errors import ConfigError, LabelError, PipelineError, StoreError
from ssrl_pipeline.features import Features, is_store, open_features
from ssrl_pipeline.settings import DataSettings
from ssrl_pipeline.teaching.verdicts import Moment, Patch


def feedback_path(data: DataSettings) -> Path:
    """The table of verdicts: the settings', else feedback.csv beside the labels, else here."""
    if data.feedback:
        return Path(data.feedback)
    labels = labels_path(data)
    return (labels.parent if labels else Path()) / "feedback.csv"


def moment_of(
    data: DataSettings, video: str, frame: int | None, time: float | None, patch: Patch | None, note: Note
) -> Moment:
    """A moment as a user names it, with both its frame and its time where the video's features are there.

    Args:
        video: its name in the store, the path of its file, or a camera's name.
        note: is told where the features do not know the video.

    Raises:
        ConfigError: neither a frame nor a time is given, or they are of different moments.
        StoreError: the video has no such moment.
    """
    if frame is None and time is None:
        raise ConfigError("say which moment: --at 12.5s or --frame 300")
    store = _store(data, note)
    name, known = _Names(store, data).of(video)
    if store is None or not known:
        where = f"the store {store.root}" if store else f"no store {data.features}"
        note(f"{name}: its features are not there ({where}); the verdict is kept, and learnt from with them")
        return Moment(name, frame, time, patch)
    return located(store, Moment(name, frame, time, patch))


def name_of(data: DataSettings, video: str) -> str:
    """A video's name in the store, by it or by the path of its file; else what is given."""
    return _Names(_store(data, lambda text: None), data).of(video)[0]


def names_in_store(data: DataSettings, note: Note) -> Callable[[Path], str]:
    """What names a video's file as verdicts do: as the store does or, where it lacks it, as `extract` would.

    Args:
        note: is told where there is no store, and of the first video that is not in it.
    """
    store, lacking = _store(data, note), set[str]()
    names = _Names(store, data)

    def name(path: Path) -> str:
        found, known = names.of_path(path)
        if not known and store and not lacking:
            note(f"{found}: the store {store.root} has no features of it; verdicts are learnt from with them")
        if not known:
            lacking.add(found)
        return found

    if store is None:
        note(f"no store {data.features}: verdicts are kept, and learnt from with features")
    return name


def learning_commands(data: DataSettings, checkpoint: Path | None, clips: Path | None = None) -> list[str]:
    """What learns from the verdicts that the settings name.

    Args:
        checkpoint: None: it is left to be named.
        clips: a folder of videos whose features are needed first.
    """
    plain, commands = DataSettings(), []
    store = [] if data.features == plain.features else ["--features", data.features]
    if clips is not None:
        made = _store(data, lambda text: None)
        recipe = [] if made is None else ["--preset", str(made.recipe.get("preset"))]
        commands.append(["extract", "--videos", str(clips), *recipe, *store])
    table = ["--feedback", data.feedback] if data.feedback else []
    labels = ["--labels", data.labels] if data.labels else []
    taught = [str(checkpoint or "CHECKPOINT"), "--out", "taught.pt"]
    commands.append(["learn", *taught, *store, *table, *labels])
    return [shlex.join(["ssrl-pipeline", *command]) for command in commands]


def _store(data: DataSettings, note: Note) -> Features | None:
    try:
        there = data.layout == "released" or is_store(data.features)
        return open_features(data.features, data.layout) if there else None
    except PipelineError as error:
        note(str(error))
        return None


class _Names:
    """What verdicts call videos: as the store does or, where it lacks them, as `extract` would."""

    def __init__(self, store: Features | None, data: DataSettings):
        self._known = set(store.videos()) if store else set[str]()
        self._stored = StoredNames(sorted(self._known))
        self._root = Path(data.videos).absolute()

    def of(self, video: str) -> tuple[str, bool]:
        """By its name or by the path of its file; and whether the store has it.

        Raises:
            LabelError: two of the store fit.
        """
        name = one_name(video)
        if name not in self._known and Path(video).is_file():
            name = self._below(Path(video))
        found = self._stored.find_path(name)
        return found or name, found is not None

    def of_path(self, path: Path) -> tuple[str, bool]:
        """The same of a file that may be gone; what two fit is neither."""
        name = self._below(path)
        try:
            found = self._stored.find_path(name)
        except LabelError:
            found = None
        return found or name, found is not None

    def _below(self, path: Path) -> str:
        """The path below the folder of videos; of a file elsewhere all of it."""
        with contextlib.suppress(ValueError):
            path = path.absolute().relative_to(self._root)
        return one_name(path.as_posix())


def located(store: Features, moment: Moment) -> Moment:
    """A moment of a stored video with its frame, and its time where the rate is known.

    Raises:
        StoreError: the store lacks the video, or that has no such moment.
    """
    frames, times = store.meta(moment.video).frames, store.times(moment.video)
    frame = moment.frame
    if frame is None:
        assert moment.time is not None
        frame = times.frame_at(moment.time)
        if frame < 0:
            raise StoreError(f"{moment}: the video's frame rate is unknown; name a frame")
    if frame >= frames:
        raise StoreError(f"{moment}: the video has {frames} frames, 0 to {frames - 1}")
    time = float(times.starts(frame + 1)[frame]) if times.known else None
    if moment.time is not None and moment.frame is not None and times.frame_at(moment.time) != frame:
        raise StoreError(f"{moment}: frame {frame} is at {time:g} s; name one of the two")
    return moment._replace(frame=frame, time=time if moment.time is None else moment.time)
