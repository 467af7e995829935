"""Serves a page in a thread of its own, for as long as a context lasts."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.pages.access import Access
from ssrl_pipeline.pages.app import Page, build_app

MOST_CONNECTIONS = 100  # at once; each takes a file handle, which cameras need as well
IDLE = 15  # seconds of a connection without a request
ENDING = 1  # seconds that answers get at the end


class _Connection(H11Protocol):
    """One of not too many, that does not stay without asking for something."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(IDLE, transport.close)

    def data_received(self, data: bytes) -> None:
        """Half a request does not count as one."""
        waiting, self.timeout_keep_alive_task = self.timeout_keep_alive_task, None
        super().data_received(data)
        if waiting and self.conn.their_state is h11.IDLE:
            self.timeout_keep_alive_task = waiting
        elif waiting:
            waiting.cancel()


@contextmanager
def serve(page: Page, access: Access, say: Callable[[str], object]) -> Iterator[str]:
    """Answers until the context ends; gives the page's address, as http://127.0.0.1:8000/.

    Args:
        say: takes a line for people where an answer fails.

    Raises:
        PipelineError: the port cannot be had.
    """
    with _listening(access) as listening:
        config = uvicorn.Config(
            build_app(page, access, say),
            http=_Connection,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=IDLE,
            timeout_graceful_shutdown=ENDING,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listening]}, name="page", daemon=True
        )
        thread.start()
        try:
            yield f"http://{_callable(access.host)}:{listening.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join(ENDING + 4.0)


def _callable(host: str) -> str:
    """A host as a browser can call it, also where all addresses of this machine are listened to."""
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _listening(access: Access) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(access.host, access.port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        errno = 0 if isinstance(error, socket.gaierror) else getattr(error, "errno", 0)
        reason = os.strerror(errno) if errno else getattr(error, "strerror", None) or str(error)
        where = f"page {access.host}:{access.port}"
        raise PipelineError(
            f"{where}: cannot be listened to ({reason}); choose another port or address"
        ) from error
