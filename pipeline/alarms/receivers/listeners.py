"""Who is told of which camera: the receivers of the command line, of all, and those of a file of cameras."""

from collections.abc import Mapping, Sequence
from typing import Any

from ssrl_pipeline.alarms.receivers.base import Receiver
from ssrl_pipeline.alarms.receivers.limits import Mutes
from ssrl_pipeline.alarms.receivers.opening import open_receiver

LAST_WORDS = 10.0  # seconds that receivers get for what waits at the end
Options = Mapping[str, Any]


class Listeners:
    """Receivers by camera, which may become others while it is told.

    Args:
        of_all: receivers that are told of all cameras, by name; options as of :func:`open_receiver`.

    Raises:
        ConfigError: options do not fit.
    """

    def __init__(self, of_all: Mapping[str, Options]):
        self._of_all, self._mutes = dict(of_all), Mutes()
        self._open: dict[str, tuple[Options, Receiver]] = {
            name: (options, self._opened(name, options)) for name, options in self._of_all.items()
        }
        self._of: dict[str, list[Receiver]] = {}  # by camera; also those that are not watched any more
        self._told: dict[tuple[Any, Any], list[Receiver]] = {}  # camera and open event -> who knows of it

    def tell(self, line: Mapping[str, Any]) -> None:
        """Returns at once; events outside the hours at which a camera alarms are told to nobody."""
        if not line.get("alarm", True):
            return
        wanted = self._of.get(line["camera"], [])
        event = line["camera"], line.get("event")
        if line["type"] == "event_start":
            self._told[event] = wanted
        elif line["type"] == "event_end":  # who was told of its start, whatever the file says by now
            still_open = [receiver for _, receiver in self._open.values()]
            wanted = [one for one in self._told.pop(event, wanted) if one in still_open]
        for receiver in wanted:
            receiver.tell(line)

    def change(self, receivers: Mapping[str, Options], cameras: Mapping[str, Sequence[str] | None]) -> None:
        """Takes others; who is among them as before goes on, others get time for their last words.

        Args:
            receivers: by name.
            cameras: by name, the names of those that are told of it; None: all.
        """
        wanted = {**self._of_all, **receivers}
        kept = {name: one for name, one in self._open.items() if wanted.get(name) == one[0]}
        opened = {
            name: (options, self._opened(name, options))
            for name, options in wanted.items()
            if name not in kept
        }
        gone = [receiver for name, (_, receiver) in self._open.items() if name not in kept]
        self._open = kept | opened
        left = {
            camera: [one for one in known if one not in gone]
            for camera, known in self._of.items()
            if camera not in cameras
        }  # what has happened to them until now is still to come
        self._of = left | {
            camera: [
                self._open[name][1]
                for name in wanted
                if name in self._of_all or names is None or name in names
            ]
            for camera, names in cameras.items()
        }
        for receiver in gone:
            receiver.close(LAST_WORDS)

    def close(self) -> None:
        for _, receiver in self._open.values():
            receiver.close(LAST_WORDS)

    def _opened(self, name: str, options: Options) -> Receiver:
        return open_receiver(name, options, self._mutes)
