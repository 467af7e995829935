"""Tells events to a program or a web address, beside the scoring, which never waits for either.

Each receiver has a thread and a queue of its own. What a full queue cannot take, and what
a receiver does not accept, is lost, and said.
"""

import base64
import http.client
import json
import os
import queue
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ssrl_pipeline.console import without_secrets
from ssrl_pipeline.errors import ConfigError, PipelineError

Message = Mapping[str, Any]
STDERR = 2  # its file descriptor
WAITING = 100  # messages in a queue
PROGRAM_LIMIT = 60.0  # seconds
WEB_LIMIT = 10.0  # seconds an attempt
WAITS = (1.0, 4.0)  # seconds before the second and third attempt


class Notifier:
    """Hands messages to one receiver, one after the other.

    Args:
        name: of the receiver, for what is said.
        deliver: takes a message; raises PipelineError where it is not accepted.
        say: takes a line for people.
        waiting: messages that may wait; what comes then is lost.
    """

    def __init__(
        self,
        name: str,
        deliver: Callable[[Message], None],
        say: Callable[[str], object],
        waiting: int = WAITING,
    ):
        self.name, self._deliver, self._say = name, deliver, say
        self._queue: queue.Queue[Message | None] = queue.Queue(waiting)
        self._overflowing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def tell(self, message: Message) -> None:
        """Returns at once."""
        try:
            self._queue.put_nowait(message)
            self._overflowing = False
        except queue.Full:
            if not self._overflowing:  # once, not for each of many
                self._say(f"{self.name}: too slow, {self._queue.maxsize} messages wait; newer ones are lost")
            self._overflowing = True

    def close(self, timeout: float) -> None:
        """Gives what waits that many seconds more."""
        end = time.monotonic() + timeout
        while self._thread.is_alive() and time.monotonic() < end:
            try:
                self._queue.put(None, timeout=max(0.0, end - time.monotonic()))
                break
            except queue.Full:
                pass
        self._thread.join(max(0.0, end - time.monotonic()))
        if self._thread.is_alive():
            self._say(
                f"{self.name}: did not take the last {max(1, self._queue.qsize() - 1)} messages in time"
            )

    def _run(self) -> None:
        while (message := self._queue.get()) is not None:
            try:
                self._deliver(message)
            except PipelineError as error:
                self._say(f"{self.name}: {error}")
            except Exception as error:  # a receiver's fault never ends the telling of later events
                self._say(f"{self.name}: {type(error).__name__}")


def program(command: Sequence[str], limit: float = PROGRAM_LIMIT) -> Callable[[Message], None]:
    """Runs a program for each message: JSON on its stdin, each value in a variable SSRL_NAME.

    No shell is involved. What it prints goes to stderr, as stdout is for results. It may
    take `limit` seconds; then it and all that it started is killed.
    """

    def deliver(message: Message) -> None:
        variables = {f"SSRL_{key.upper()}": _text(value) for key, value in message.items()}
        try:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=STDERR,
                env={**os.environ, **variables},
                start_new_session=True,  # Ctrl-C is for us; and it can be killed with its children
            )
        except OSError as error:
            raise PipelineError(f"{command[0]} cannot be run: {error.strerror}") from error
        try:
            process.communicate(json.dumps(message).encode() + b"\n", timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise PipelineError(f"{command[0]} took more than {limit:g} seconds and was killed") from None
        if process.returncode:
            raise PipelineError(f"{command[0]} failed with exit code {process.returncode}")

    return deliver


def webhook(url: str, waits: Sequence[float] = WAITS) -> Callable[[Message], None]:
    """Posts each message as JSON; tries again where the network or the server fails.

    A user and a password in the address are sent as basic authentication. Redirections
    are not followed, as a POST becomes a GET on the way.

    Raises:
        ConfigError: not an address of the kind http:// or https://.
    """
    shown = without_secrets(url)
    try:
        parts = urllib.parse.urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port is not False
    except ValueError:
        fits = False
    if not fits:
        raise ConfigError(f"{shown}: a webhook is an address like https://host/path")
    user, at, host = parts.netloc.rpartition("@")
    # Slack, Discord and Telegram have the token in the path.
    shown = f"{parts.scheme}://{host}{'/***' if parts.path.strip('/') or parts.query else ''}"
    headers = {"Content-Type": "application/json", "User-Agent": "ssrl-pipeline"}
    if at:
        credentials = urllib.parse.unquote(user).encode()
        headers["Authorization"] = f"Basic {base64.b64encode(credentials).decode()}"
    target = parts._replace(netloc=host, fragment="").geturl()
    opener = urllib.request.build_opener(_NoRedirect)

    def deliver(message: Message) -> None:
        request = urllib.request.Request(target, json.dumps(message).encode(), headers, method="POST")
        for attempt in range(len(waits) + 1):
            try:
                with opener.open(request, timeout=WEB_LIMIT) as answer:
                    answer.read(1 << 16)
                return
            except urllib.error.HTTPError as error:
                reason, lasting = f"answered {error.code}", error.code < 500 and error.code != 429
                error.close()
            except (OSError, ValueError, http.client.HTTPException) as error:
                failure = error.reason if isinstance(error, urllib.error.URLError) else error
                strerror = getattr(failure, "strerror", None)
                reason, lasting = str(strerror or type(failure).__name__), False
            if lasting or attempt == len(waits):
                raise PipelineError(f"{shown} {reason}; attempts: {attempt + 1}")
            time.sleep(waits[attempt])

    return deliver


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any, **options: Any) -> None:
        return None


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return "" if value is None else str(value)
