"""What commands say on stderr, beside the results on stdout: text for people, or JSON for machines.

    ssrl-pipeline --log-json extract --videos videos/ 2> log.jsonl

    {"time": "2024-05-01T12:00:00.123+00:00", "level": "info", "message": "28 videos, 3 to extract: ..."}

All of it passes through :mod:`logging`, so that what libraries log looks the same. Addresses are told
without the passwords and tokens that they may hold.
"""

import json
import logging
import re
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

# One letter is a drive of Windows; one slash is left of two where an address was taken for a path.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/{1,2}(?=[^/])")
_ADDRESS = re.compile(_SCHEME.pattern + r"""\S+?(?=[]),.:;'"`]*(?:\s|$))""")
# user:password@, where the scheme was forgotten.
_LOGIN = re.compile(r"(?<![^\s'\"=])[^\s:/@'\"=]+:[^\s/@'\"]+@(?=[\w\[])")


def say(message: str, level: int = logging.INFO, **fields: Any) -> None:
    """A message for whoever runs the command; the fields, as JSON, go to machines alone."""
    log.log(level, "%s", message, extra={"fields": fields})


def one_line(text: str) -> str:
    """Names of files may hold line ends, and what steers a terminal; here it is spelt out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def is_address(text: str) -> bool:
    """Whether a text is an address on a network, as in rtsp://host/stream; a path that is there is none."""
    return bool(_SCHEME.match(text)) and not Path(text).exists()


def without_secrets(address: str) -> str:
    """An address without the user, the password and the query that it may hold; a path as it is."""
    if not (scheme := _SCHEME.match(address)):
        return address
    start = f"{scheme[1]}://"
    rest, mark, query = address[scheme.end() :].partition("?")
    _, at, host = rest.rpartition("@")
    if "@" in query:  # a password may hold a question mark, so what is in front is not known to be a host
        return f"{start}***"
    return start + ("***@" if at else "") + host.partition("#")[0] + ("?***" if mark else "")


def hide_secrets(text: str) -> str:
    """A text whose addresses are told as :func:`without_secrets` tells them."""
    return _LOGIN.sub("***@", _ADDRESS.sub(lambda found: without_secrets(found[0]), text))


def set_up(as_json: bool) -> None:
    """Sends messages to stderr, and warnings of libraries too; what was set up before is replaced."""
    handler = _Stderr()
    handler.setFormatter(_Json() if as_json else _Text())
    root = logging.getLogger()
    for old in [one for one in root.handlers if isinstance(one, _Stderr)]:
        root.removeHandler(old)
    root.addHandler(handler)
    logging.getLogger("ssrl_pipeline").setLevel(logging.INFO)
    logging.captureWarnings(as_json)


def are_json() -> bool:
    """Whether messages are JSON."""
    return any(isinstance(one, _Stderr) and one.is_json for one in logging.getLogger().handlers)


class _Stderr(logging.Handler):
    """Writes to what stderr is at that moment; bars that are shown there stay whole."""

    @property
    def is_json(self) -> bool:
        return isinstance(self.formatter, _Json)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            if "tqdm" in sys.modules and not self.is_json:
                sys.modules["tqdm"].tqdm.write(text, file=sys.stderr)
            else:
                print(text, file=sys.stderr, flush=True)
        except Exception as error:
            if isinstance(error.__context__, SystemExit | KeyboardInterrupt):
                raise error.__context__ from None  # told to stop while it wrote, and tqdm stumbled over that
            self.handleError(record)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        failed = record.name == log.name and record.levelno >= logging.ERROR
        said = hide_secrets(record.getMessage())
        said = one_line(said) if record.name == log.name else said
        return f"error: {said}" if failed else said


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": hide_secrets(record.getMessage()).strip(),
        }
        if record.name != log.name:
            line["logger"] = record.name
        if record.exc_info:
            line["traceback"] = hide_secrets(self.formatException(record.exc_info))
        fields = getattr(record, "fields", {})
        line |= {
            name: hide_secrets(value) if isinstance(value, str) else value for name, value in fields.items()
        }
        return json.dumps(line, ensure_ascii=False, default=str)
