"""Texts with places that a message fills, as in "{camera}: {peak_score:.2f}".

Names of the message alone are known; no attribute, index or conversion can be asked for. What a
message does not have is empty.
"""

import difflib
import re
import string
from collections.abc import Iterator
from typing import Any

from ssrl_pipeline.alarms.receivers.base import Message
from ssrl_pipeline.errors import ConfigError

NAMES = (
    *("type", "camera", "id", "event", "start", "end", "peak", "start_s", "end_s", "peak_s"),
    *("start_time", "end_time", "peak_time", "peak_score", "mean_score", "words", "patch", "zones"),
    *("still", "clip", "health"),
)
_FORMAT = re.compile(r"(?:[<>^]?\d{0,3})(?:\.\d{1,2})?[defgs%]?")


def check(template: Any, key: str) -> None:
    """Raises ConfigError where a template, or one inside a mapping or a list, cannot be filled."""
    for text in _texts(template):
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise ConfigError(f"{key}: {error} in {text!r}; a brace itself is written twice") from error
        for _, name, spec, conversion in parts:
            if name is None:
                continue
            if name not in NAMES:
                close = difflib.get_close_matches(name, NAMES, n=1)
                hint = f"did you mean {{{close[0]}}}?" if close else f"there are {', '.join(NAMES)}"
                raise ConfigError(f"{key}: {{{name}}} is not known; {hint}")
            if conversion or not _FORMAT.fullmatch(spec or ""):
                raise ConfigError(f"{key}: {{{name}}} is written like {{peak_score:.2f}}, without more")


def fill(template: Any, message: Message) -> Any:
    """A template, or all in a mapping or a list; a text that is one place alone keeps the value's type."""
    if isinstance(template, dict):
        return {key: fill(value, message) for key, value in template.items()}
    if isinstance(template, list):
        return [fill(value, message) for value in template]
    if not isinstance(template, str):
        return template
    parts = list(string.Formatter().parse(template))
    if len(parts) == 1 and parts[0][1] and not parts[0][0] and not parts[0][2]:
        return message.get(parts[0][1])
    return fill_text(template, message)


def fill_text(template: str, message: Message) -> str:
    parts = string.Formatter().parse(template)
    return "".join(
        text + (shown(message.get(name), spec or "") if name else "") for text, name, spec, _ in parts
    )


def shown(value: Any, spec: str = "") -> str:
    """A value of a message as text; lists are joined."""
    if value is None:
        return ""
    if isinstance(value, list):
        return "; ".join(map(str, value))
    try:
        return format(value, spec)
    except ValueError:  # a format for numbers, and a text
        return str(value)


def _texts(template: Any) -> Iterator[str]:
    if isinstance(template, dict):
        template = list(template.values())
    if isinstance(template, list):
        for value in template:
            yield from _texts(value)
    elif isinstance(template, str):
        yield template
