"""Where a page is served, and who may call it: on this machine anybody, from elsewhere who has the token."""

import hashlib
import hmac
import importlib.util
import ipaddress
import os
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ssrl_pipeline.errors import ConfigError, PipelineError
from ssrl_pipeline.settings import PageSettings

TOKEN = "SSRL_PAGE_TOKEN"  # the variable of the environment
SHORTEST = 16  # characters of a token, so that trying is hopeless
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ADDRESS = re.compile(r"(?:(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[\w.-]+)):)?(?P<port>\d{1,5})")


@dataclass(frozen=True)
class Access:
    """An address to listen to, and what a request must bring."""

    host: str
    port: int  # 0: any that is free
    token: str | None = field(default=None, repr=False)  # None: none is asked for
    hosts: frozenset[str] = frozenset(LOOPBACK)  # that the Host header may name
    numeric: bool = False  # whether that may be any address in numbers, which no name server gives away

    def knows(self, header: str) -> bool:
        """Whether a Host header names this machine: a page elsewhere whose name was made to point here
        (DNS rebinding) sends its own name."""
        try:
            name = urlsplit(f"//{header}").hostname or ""
        except ValueError:
            return False
        if header.rpartition("@")[1] or not name:
            return False
        return name.rstrip(".") in self.hosts or (self.numeric and _is_numeric(name))

    def is_token(self, text: str) -> bool:
        """Compared in constant time."""
        return self.token is not None and hmac.compare_digest(text.encode(), self.token.encode())

    def is_cookie(self, text: str) -> bool:
        return self.token is not None and hmac.compare_digest(text.encode(), self.cookie.encode())

    @property
    def cookie(self) -> str:
        """What a browser keeps in place of the token, which cannot be told from it."""
        assert self.token is not None
        return hmac.new(self.token.encode(), b"cookie of a page", hashlib.sha256).hexdigest()


def read_access(settings: PageSettings, default: str | None = None) -> Access | None:
    """Who may call a page, as the settings have it; None where they want no page.

    Args:
        default: the address where they name none.

    Raises:
        ConfigError: the address is none, or others can reach it and there is no token that is long enough.
        PipelineError: the extra `web` is not installed.
    """
    address = settings.address or default
    if address is None:
        return None
    host, port = _parse(address)
    if missing := [name for name in ("starlette", "uvicorn") if not importlib.util.find_spec(name)]:
        raise PipelineError(f"the page needs {missing[0]}; pip install 'ssrl-pipeline[web]'")
    token = _token(settings)
    more = {name.lower().rstrip(".") for name in settings.hosts}
    if outside := sorted(name for name in more if not _is_loopback(name)):
        what = f"page.hosts {outside[0]}: whoever reaches that name reaches the page"
    else:
        what = f"page {address}: others can reach it"
    if token is None and (outside or not _is_loopback(host)):
        raise ConfigError(
            f"{what}, so it needs a token; put one of {SHORTEST} characters or more into the variable "
            f"{TOKEN}, or into a file that page.token_file names"
        )
    if _is_loopback(host):
        return Access(host, port, token, frozenset({*LOOPBACK, host.lower(), *more}))
    own = {host.lower(), *_own_names()}
    return Access(host, port, token, frozenset({*LOOPBACK, *own, *more}), numeric=True)


def _parse(address: str) -> tuple[str, int]:
    """ "127.0.0.1:8000", "[::1]:8000" or "8000", which is of this machine alone."""
    match = _ADDRESS.fullmatch(address)
    if not match or int(match["port"]) > 65535:
        raise ConfigError(f"page {address!r}: not an address and a port, as in 127.0.0.1:8000")
    if match["six"] and not _is_numeric(match["six"]):
        raise ConfigError(f"page {address!r}: {match['six']} is no address")
    return match["six"] or match["host"] or LOOPBACK[1], int(match["port"])


def _token(settings: PageSettings) -> str | None:
    token, origin = os.environ.get(TOKEN, ""), TOKEN
    if settings.token_file is not None:
        origin = settings.token_file
        try:
            token = Path(settings.token_file).read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "no text in UTF-8"
            raise ConfigError(f"page.token_file {settings.token_file}: cannot be read ({reason})") from None
    if not token and settings.token_file is None:
        return None
    if len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            f"{origin}: a token has {SHORTEST} letters, digits or signs of ASCII or more, and no blanks; "
            "`openssl rand -hex 16` makes one"
        )
    return token


def _is_loopback(host: str) -> bool:
    return host.lower() == LOOPBACK[0] or (_is_numeric(host) and ipaddress.ip_address(host).is_loopback)


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _own_names() -> set[str]:
    """As others in the same network call this machine; no name server is asked."""
    name = socket.gethostname().lower()
    short = name.partition(".")[0]
    return {name, short, f"{short}.local"} - {""}
