"""What of a source is shown to whoever looks at the page: never its address, nor a folder of this machine."""

import re
from collections.abc import Iterable
from pathlib import PurePath
from urllib.parse import urlsplit

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/{1,2}\S+")


def shown_name(camera: str, number: int | None = None) -> str:
    """A camera's name; of one that was given none, and is called by its address or its path, something else.

    Args:
        number: of the camera, from 1; None: it is not known any more.
    """
    if _ADDRESS.match(camera):
        return "camera" if number is None else f"camera {number}"
    return PurePath(camera).name or camera


def without_addresses(text: str, addresses: Iterable[str]) -> str:
    """A message without these addresses, the machines in them, or any other address.

    Args:
        addresses: of sources, which may be paths.
    """
    parts = set[str]()
    for address in addresses:
        place = urlsplit(address)
        login, _, machine = place.netloc.rpartition("@")
        parts |= {address, place.netloc, machine, place.hostname or "", login, *login.split(":")}
    for part in sorted(parts - {""}, key=len, reverse=True):
        if len(part) > 2:  # else it is a camera's number
            text = text.replace(part, "the source")
    return _ADDRESS.sub("the source", text)
