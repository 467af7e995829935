"""Requests to a web server that may be away for a while, without secrets in what is said of them."""

import base64
import http.client
import http.cookiejar
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssrl_pipeline.console import without_secrets
from ssrl_pipeline.errors import ConfigError, PipelineError

LIMIT = 10.0  # seconds an attempt
WAITS = (1.0, 4.0, 15.0, 30.0, *[60.0] * 6)  # seconds before each further attempt; seven minutes in all
TIMEOUT = 504  # a proxy's answer: the server behind it may have taken the request
MOST_BYTES = 1 << 20  # bytes of an answer that are read


class Refused(PipelineError):
    """The server answered, and not with yes."""

    def __init__(self, text: str, code: int):
        super().__init__(text)
        self.code = code


class Server:
    """A web server at an address; a user and a password in that are sent as basic authentication.

    Redirections are not followed, as a POST becomes a GET on the way. Cookies are kept.

    Args:
        ca: a file of certificates to trust instead of the system's; "": none.
        verify: whether the server has to show a certificate of those.

    Raises:
        ConfigError: not an address of the kind http:// or https://, or no file of certificates.
    """

    def __init__(self, url: str, ca: str = "", verify: bool = True, waits: Sequence[float] = WAITS):
        shown, self._waits = without_secrets(url), waits
        try:
            parts = urllib.parse.urlsplit(url)
            fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port is not False
        except ValueError:
            fits = False
        if not fits:
            raise ConfigError(f"url: {shown}: an address is like https://host/path")
        user, at, host = parts.netloc.rpartition("@")
        # Slack, Discord and Telegram have the token in the path.
        self.shown = f"{parts.scheme}://{host}{'/***' if parts.path.strip('/') or parts.query else ''}"
        self._headers = {"User-Agent": "ssrl-pipeline"}
        if at:
            credentials = urllib.parse.unquote(user).encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(credentials).decode()}"
        self.url = parts._replace(netloc=host, fragment="").geturl()
        self._opener = urllib.request.build_opener(
            _NoRedirect,
            urllib.request.HTTPSHandler(context=tls_context(ca, verify)),
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
        )

    def send(
        self,
        method: str,
        body: bytes,
        headers: Mapping[str, str],
        path: str = "",
        once: bool = False,
        patient: bool = True,
    ) -> bytes:
        """The answer; tries again where the network or the server fails.

        Args:
            path: what follows the server's address.
            once: the request must not arrive twice, so it is sent again only if it surely did not arrive.
            patient: whether it is sent again at all.

        Raises:
            Refused: the last answer's code is not one of success.
            PipelineError: the server cannot be reached.
        """
        fields = self._headers | dict(headers)
        # Sent as UTF-8, as ntfy and others read them; a line end would begin another header.
        clean = {key: " ".join(value.split()).encode().decode("latin-1") for key, value in fields.items()}
        request = urllib.request.Request(self.url + path, body, clean, method=method)
        waits = self._waits if patient else ()
        for attempt in range(len(waits) + 1):
            code = 0
            try:
                with self._opener.open(request, timeout=LIMIT) as answer:
                    return answer.read(MOST_BYTES)
            except urllib.error.HTTPError as error:
                reason, code = f"answered {error.code}", error.code
                lasting = (code < 500 and code != 429) or (once and code == TIMEOUT)
                error.close()
            except (OSError, ValueError, http.client.HTTPException) as error:
                failure = error.reason if isinstance(error, urllib.error.URLError) else error
                reason = str(getattr(failure, "strerror", None) or type(failure).__name__)
                lasting = once and not isinstance(error, urllib.error.URLError)  # it was sent
            if lasting or attempt == len(waits):
                text = f"{self.shown} {reason}; attempts: {attempt + 1}"
                raise Refused(text, code) if code else PipelineError(text)
            time.sleep(waits[attempt])
        raise AssertionError


def tls_context(ca: str, verify: bool = True) -> ssl.SSLContext:
    """Raises ConfigError where the file of certificates cannot be read."""
    if ca and not Path(ca).is_file():
        raise ConfigError(f"ca: {ca}: no such file")
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"ca: {ca}: not a file of certificates (PEM)") from error
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any, **options: Any) -> None:
        return None
