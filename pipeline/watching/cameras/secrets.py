"""Secrets of a file: ${NAME} is the environment's, ${file:PATH} what a file holds; neither is ever told."""

import os
import re
from pathlib import Path
from urllib.parse import quote

from ssrl_pipeline.console import hide_secrets

_NAMED = re.compile(r"\$\$|\$\{([^}]*)(\}?)")
_LOGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/@]*")  # of an address, up to where a value may stand


class Secrets:
    """Puts secrets into texts, and takes them out of what is told."""

    def __init__(self) -> None:
        self._values: set[str] = set()

    def fill(self, text: str) -> str:
        """A text with its secrets; $$ is a dollar sign.

        As a user or a password of an address, a secret's signs that mean something there are escaped.

        Raises:
            ValueError: one is not there; the message names it.
        """

        def found(match: re.Match[str]) -> str:
            if match[1] is None:
                return "$"
            if not match[2]:
                raise ValueError("${ has no } behind it; a dollar sign itself is $$")
            value = _read(match[1])
            self._values |= {value, quote(value, safe="")}
            before, after = text[: match.start()], text[match.end() :]
            is_login = bool(_LOGIN.fullmatch(before)) and "@" in after
            return quote(value, safe="") if is_login else value

        return _NAMED.sub(found, text)

    def hide(self, text: str) -> str:
        """A text in which none of the values is."""
        for value in sorted(self._values - {""}, key=len, reverse=True):
            text = text.replace(value, "***")
        return hide_secrets(text)


def _read(name: str) -> str:
    if name.startswith("file:"):
        path = Path(name.removeprefix("file:"))
        try:
            value = path.read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "no text"
            raise ValueError(f"${{{name}}}: the file cannot be read ({reason})") from None
        if not value:
            raise ValueError(f"${{{name}}}: the file is empty")
        return value
    value = os.environ.get(name, "")
    if not value:
        raise ValueError(f"${{{name}}}: the environment has no variable of that name, or an empty one")
    return value
