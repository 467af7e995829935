"""A page as an application: its own files, its routes, and what stands before both.

    page = Page("ssrl_pipeline.pages.live", [Route("/state", state), Route("/media/{id}", media)])
    with serve(page, read_access(settings.page, "127.0.0.1:8000"), say) as url: ...

A route is Starlette's, of GET unless it names its methods; what changes something is a POST, which
:mod:`ssrl_pipeline.pages.guard` lets through from the page itself alone.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from ssrl_pipeline.pages.access import Access
from ssrl_pipeline.pages.guard import Guard

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
MEDIA = {".mp4": "video/mp4", ".jpg": "image/jpeg", ".png": "image/png", ".webm": "video/webm"}
SHARED = "ssrl_pipeline.pages"  # whose files all pages have


@dataclass(frozen=True)
class Page:
    """What is served beside the guard."""

    package: str  # whose index.html, .css, .js and .svg files it is made of, by their names: /page.js
    routes: Sequence[Route] = ()  # everything else


def build_app(page: Page, access: Access, say: Callable[[str], object]) -> Guard:
    """The application. Files are read now: no request ever names a path on the disk.

    Args:
        say: takes a line for people.
    """
    files = _files(SHARED) | _files(page.package)
    files["/"] = files.pop("/index.html")
    palette, kind = _files("ssrl_pipeline")["/palette.css"]  # which reports have, too
    files["/look.css"] = palette + files["/look.css"][0], kind
    own = [Route(path, partial(_give, *file)) for path, file in files.items()]
    return Guard(Starlette(routes=[*own, *page.routes]), access, say)


def file_response(folder: Path, path: str | os.PathLike[str] | None) -> Response:
    """A picture or a clip, whole or the part that a Range header asks for.

    Args:
        folder: it must be in there, whatever links there are.
        path: from there on, as an index has it; never as a request does.

    Returns:
        404 where it is none of these, is not there, or is None.
    """
    if path is not None:
        try:
            root, file = folder.resolve(strict=True), (folder / path).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            root, file = folder, Path()
        if file.is_relative_to(root) and file.is_file() and file.suffix in MEDIA:
            # Names of files are not used again, so a browser may keep them.
            headers = {"Cache-Control": "private, max-age=3600"}
            return FileResponse(file, media_type=MEDIA[file.suffix], headers=headers)
    return PlainTextResponse("There is no such file.\n", 404)


async def _give(content: bytes, kind: str, request: Request) -> Response:
    return Response(content, media_type=kind)


def _files(package: str) -> dict[str, tuple[bytes, str]]:
    """A package's files: /name -> content and type."""
    found = {}
    for file in resources.files(package).iterdir():
        kind = TYPES.get(Path(file.name).suffix)
        if kind and file.is_file():
            found[f"/{file.name}"] = file.read_bytes(), kind
    return found
