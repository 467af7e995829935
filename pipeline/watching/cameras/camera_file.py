"""A file of cameras: what `watch -c cameras.yaml` watches, checked whole before anything starts.

    cameras:
      gate:
        source: rtsp://guard:${GATE_PASSWORD}@gate.example/stream
        masks: [[[0, 0], [1, 0], [1, 0.2], [0, 0.2]]]
        receivers: [phone]
    receivers:
      phone: {type: webhook, url: "https://ntfy.example/${TOPIC}"}

All that is wrong is told at once, a line for each fault, with its place.
"""

import difflib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from ssrl_pipeline.config import YamlError, config_text
from ssrl_pipeline.errors import ConfigError, PipelineError
from ssrl_pipeline.marked import Marked, read_marked
from ssrl_pipeline.settings import CAMERA_SECTIONS
from ssrl_pipeline.watching.cameras.hours import Hours, parse_hours
from ssrl_pipeline.watching.cameras.masks import Polygon, Sight, Zone
from ssrl_pipeline.watching.cameras.secrets import Secrets
from ssrl_pipeline.watching.sources import Source, is_name, named_source

KEYS = ("source", "checkpoint", "threshold", "masks", "zones", "hours", "receivers")

Options = Mapping[str, Any]  # of a receiver, as {"type": "webhook", "url": ...}
CheckReceiver = Callable[[str, Options], object]  # raises PipelineError where a receiver's options are wrong
CheckCheckpoint = Callable[[Path | None], Mapping[str, int]]  # the model's views, name -> P; raises, too


class CameraFileError(ConfigError):
    """Faults of a file of cameras, a line each."""

    def __init__(self, file: str, faults: list[str]):
        few = faults[0] if len(faults) == 1 else f"{file}: {len(faults)} faults"
        super().__init__(few)
        self.faults = faults


@dataclass(frozen=True)
class CameraEntry:
    """A camera, and what is done with what it shows."""

    source: Source
    checkpoint: Path | None = None  # None: the one that the command is given
    threshold: float | None = None  # None: that of the settings or the checkpoint
    sight: Sight = field(default_factory=Sight)
    hours: Hours | None = None  # when it alarms; None: always
    receivers: tuple[str, ...] | None = None  # who is told; None: all


@dataclass(frozen=True)
class CameraFile:
    cameras: tuple[CameraEntry, ...]
    receivers: Mapping[str, Options] = field(default_factory=dict, repr=False)  # by name, with their secrets
    others: Mapping[str, Any] = field(default_factory=dict, repr=False)  # sections that are settings


def is_camera_file(path: Path) -> bool:
    """Whether a file has a section of a file of cameras; raises YamlError where it is no YAML."""
    sections = read_marked(config_text(path)).value
    return isinstance(sections, dict) and not sections.keys().isdisjoint(CAMERA_SECTIONS)


def read_camera_file(path: Path, receiver: CheckReceiver, checkpoint: CheckCheckpoint) -> CameraFile:
    """Reads and checks a file.

    Args:
        path: YAML with `cameras`, and perhaps `receivers`, `timezone` and settings.
        receiver: says whether a receiver's options are right.
        checkpoint: says whether a checkpoint is, and what its model looks at.

    Raises:
        CameraFileError: all that is wrong with it.
    """
    return _Reader(path, receiver, checkpoint).read()


class _Reader:
    """Reads one file, and notes its faults."""

    def __init__(self, path: Path, receiver: CheckReceiver, checkpoint: CheckCheckpoint):
        self.path, self.check_receiver, self.check_checkpoint = path, receiver, checkpoint
        self.secrets, self.faults = Secrets(), list[tuple[int, str]]()
        self.camera = ""  # that is read at the moment
        self.zone: ZoneInfo | None = None
        self.lacks_default = False  # the checkpoint of cameras that name none

    def read(self) -> CameraFile:
        try:
            root = read_marked(config_text(self.path))
        except YamlError as error:
            self._fault(error.line or 1, str(error))
            raise self._error() from error
        except (OSError, ConfigError) as error:
            text = f"{self.path}: {error.strerror}" if isinstance(error, OSError) else str(error)
            raise CameraFileError(str(self.path), [text]) from error
        sections = self._mapping(root, "the file", None)
        self._read_timezone(sections.get("timezone"))
        entries = self._mapping(sections.get("cameras", Marked({}, 1)), "cameras", None)
        receivers = self._receivers(sections.get("receivers"), entries.keys())
        cameras = [self._camera(name, entry, receivers.keys()) for name, entry in entries.items()]
        if not cameras and not self.faults:
            self._fault(root.line, "no cameras: write cameras: {gate: {source: rtsp://host/stream}}")
        if self.faults:
            raise self._error()
        others = {name: entry.plain() for name, entry in sections.items() if name not in CAMERA_SECTIONS}
        return CameraFile(tuple(entry for entry in cameras if entry), receivers, others)

    def _fault(self, line: int, text: str) -> None:
        camera = f", camera {self.camera}" if self.camera else ""
        said = f"{self.path}, line {line}{camera}: {self.secrets.hide(text)}"
        self.faults.append((line, said))

    def _error(self) -> CameraFileError:
        return CameraFileError(str(self.path), [text for _, text in sorted(self.faults, key=lambda f: f[0])])

    def _mapping(self, entry: Marked, what: str, known: Collection[str] | None) -> dict[str, Marked]:
        """The entries of a mapping; faults where it is none, or has a key twice or one that is not known."""
        if not isinstance(entry.value, dict):
            self._fault(entry.line, f"{what} is not a mapping of names to values")
            return {}
        for name, line in entry.again:
            self._fault(line, f"{name!r} is there already, in line {entry.value[name].line}")
        if known is None:
            return dict(entry.value)
        for name, value in entry.value.items():
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
                self._fault(value.line, f"unknown key {name!r}; {hint}")
        return {name: value for name, value in entry.value.items() if name in known}

    def _read_timezone(self, entry: Marked | None) -> None:
        if entry is None:
            return
        try:
            self.zone = ZoneInfo(entry.value)
        except Exception:  # a ValueError, a KeyError or an error of the system's, by the name
            self._fault(entry.line, f"timezone {entry.value!r} is not known; one is Europe/Berlin")

    def _receivers(self, entry: Marked | None, cameras: Collection[str]) -> dict[str, Options]:
        found: dict[str, Options] = {}
        for name, one in self._mapping(entry, "receivers", None).items() if entry else ():
            options = self._mapping(one, f"receiver {name}", None)
            try:
                found[name] = {key: self._filled(value) for key, value in options.items()}
                if isinstance(one.value, dict):
                    self.check_receiver(name, found[name])
                for camera in options["cameras"].value if "cameras" in options else ():
                    if str(camera.value) not in cameras:
                        known = ", ".join(cameras) or "none"
                        text = f"receiver {name}: there is no camera {camera.plain()!r}; there are {known}"
                        self._fault(camera.line, text)
            except (PipelineError, ValueError) as error:
                reason = str(error).removeprefix(name).lstrip(":. ")
                self._fault(one.line, f"receiver {name}: {reason}")
                found.setdefault(name, {})  # which a camera may name
        return found

    def _filled(self, entry: Marked) -> Any:
        """The value with its secrets."""
        if isinstance(entry.value, dict):
            return {key: self._filled(value) for key, value in entry.value.items()}
        if isinstance(entry.value, list):
            return [self._filled(value) for value in entry.value]
        return self.secrets.fill(entry.value) if isinstance(entry.value, str) else entry.value

    def _camera(self, name: str, entry: Marked, receivers: Collection[str]) -> CameraEntry | None:
        self.camera = name
        try:
            short = isinstance(entry.value, str | int) and not isinstance(entry.value, bool)
            keys = {"source": entry} if short else self._mapping(entry, "the camera", KEYS)
            if not is_name(name):
                self._fault(
                    entry.line, "its name is of letters, digits, blanks, dots, - and _ alone, 100 at most"
                )
            if "source" not in keys and isinstance(entry.value, dict):
                self._fault(entry.line, "no source: an address, a camera's number or a file")
            source = self._source(name, keys.get("source"))
            sight = Sight(self._masks(keys.get("masks")), self._zones(keys.get("zones")))
            checkpoint = self._checkpoint(keys.get("checkpoint"), entry.line, sight)
            threshold = self._threshold(keys.get("threshold"))
            hours = self._hours(keys.get("hours"))
            told = self._told(keys.get("receivers"), receivers)
        finally:
            self.camera = ""
        return CameraEntry(source, checkpoint, threshold, sight, hours, told) if source else None

    def _source(self, name: str, entry: Marked | None) -> Source | None:
        if entry is None:
            return None
        if not isinstance(entry.value, str | int) or isinstance(entry.value, bool) or entry.value == "":
            self._fault(entry.line, "source is an address, a camera's number or a file")
            return None
        try:
            return named_source(name, self.secrets.fill(str(entry.value)), str(entry.value))
        except (PipelineError, ValueError, OSError) as error:
            self._fault(entry.line, str(error))
            return None

    def _checkpoint(self, entry: Marked | None, line: int, sight: Sight) -> Path | None:
        path = None
        if entry is not None and not (isinstance(entry.value, str) and entry.value):
            self._fault(entry.line, f"checkpoint {entry.value!r} is no path")
            return None
        try:
            path = Path(self.secrets.fill(entry.value)) if entry else None
            views = self.check_checkpoint(path)
        except (PipelineError, ValueError, OSError) as error:
            if path or not self.lacks_default:
                self._fault(entry.line if entry else line, str(error))
            self.lacks_default |= path is None  # which is told once, not of each camera
            return path
        if blind := [view for view, hidden in sight.hidden(views).items() if hidden.all()]:
            self._fault(
                line, f"masks leave no patch of {', '.join(blind)} that counts: half of one must be free"
            )
        return path

    def _threshold(self, entry: Marked | None) -> float | None:
        if entry is None or entry.value is None:
            return None
        if type(entry.value) not in (int, float) or not 0 < entry.value <= 1:
            self._fault(entry.line, f"threshold is more than 0 and at most 1, not {entry.value!r}")
            return None
        return float(entry.value)

    def _masks(self, entry: Marked | None) -> tuple[Polygon, ...]:
        if entry is None or entry.value is None:
            return ()
        if not isinstance(entry.value, list):
            self._fault(entry.line, "masks is a list of polygons, as in [[[0, 0], [0.5, 0], [0, 0.5]]]")
            return ()
        if entry.value and all(map(_is_point, entry.plain())):
            self._fault(entry.line, "masks is a list of polygons, and this is one: put it in another [ ]")
            return ()
        found = [self._polygon(one, f"mask {number}") for number, one in enumerate(entry.value, 1)]
        return tuple(polygon for polygon in found if polygon)

    def _zones(self, entry: Marked | None) -> tuple[Zone, ...]:
        if entry is None or entry.value is None:
            return ()
        zones = self._mapping(entry, "zones", None)
        if nameless := [one for name, one in zones.items() if not name.strip()]:
            self._fault(nameless[0].line, "a zone has no name")
        found = [(name, self._polygon(one, f"zone {name}")) for name, one in zones.items()]
        return tuple(Zone(name, polygon) for name, polygon in found if polygon)

    def _polygon(self, entry: Marked, what: str) -> Polygon | None:
        """Three corners or more, in shares of the frame, that enclose something."""
        corners = entry.plain()
        if not isinstance(corners, list) or len(corners) < 3 or not all(map(_is_point, corners)):
            self._fault(
                entry.line, f"{what} is three or more corners [x, y], as in [[0, 0], [0.5, 0], [0, 1]]"
            )
            return None
        polygon = tuple((float(x), float(y)) for x, y in corners)
        if outside := [point for point in polygon if not all(0 <= share <= 1 for share in point)]:
            self._fault(
                entry.line,
                f"{what}: corner {list(outside[0])} is outside the frame; x and y are shares of it, 0 to 1",
            )
            return None
        if not _area(polygon):
            self._fault(entry.line, f"{what} encloses nothing")
            return None
        return polygon

    def _hours(self, entry: Marked | None) -> Hours | None:
        if entry is None or entry.value is None:
            return None
        try:
            return parse_hours(entry.plain(), self.zone)
        except ValueError as error:
            self._fault(entry.line, f"hours: {error}")
            return None

    def _told(self, entry: Marked | None, receivers: Collection[str]) -> tuple[str, ...] | None:
        if entry is None or entry.value is None:
            return None
        listed = entry.value if isinstance(entry.value, list) else [entry]
        for one in listed:
            if str(one.value) not in receivers:
                known = ", ".join(receivers) or "none: write them under receivers:"
                self._fault(one.line, f"there is no receiver {one.plain()!r}; there are {known}")
        return tuple(str(one.value) for one in listed)


def _is_point(corner: Any) -> bool:
    return (
        isinstance(corner, list)
        and len(corner) == 2
        and all(type(share) in (int, float) and abs(share) < 1e9 for share in corner)
    )


def _area(polygon: Polygon) -> float:
    """By the shoelace formula."""
    following = (*polygon[1:], polygon[0])
    return abs(sum(x * v - u * y for (x, y), (u, v) in zip(polygon, following, strict=True))) / 2
