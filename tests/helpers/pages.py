"""A page's server as tests call it: requests byte by byte, as no browser would send them."""

import contextlib
import http.client
import socket
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit


class Answer(NamedTuple):
    code: int
    headers: Mapping[str, str]  # by names in lower case; of several of a name, the last
    body: bytes


def ask(url: str, path: str = "/", method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
    """One request, whose path is sent as it is; an underscore of a header's name is a hyphen."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.putrequest(method, path, skip_host="Host" in named, skip_accept_encoding=True)
        if body is not None and "Content-Length" not in named:
            named["Content-Length"] = str(len(body))
        for name, value in named.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        got = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, got, response.read())
    finally:
        connection.close()


def send(url: str, request: bytes) -> bytes:
    """Bytes as they are; what comes back until the server closes or breaks off."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname or "", place.port or 80), timeout=10) as connection:
        got = b""
        with contextlib.suppress(ConnectionError):  # it need not read all before it refuses
            connection.sendall(request)
            while part := connection.recv(65536):
                got += part
        return got
