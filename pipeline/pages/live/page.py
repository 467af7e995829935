"""Serves the page of `watch`.

ssrl-pipeline watch gate=rtsp://gate/stream --events events --page 127.0.0.1:8000
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ssrl_pipeline.alarms import read_events
from ssrl_pipeline.pages import Access, Feed, Page, file_response, serve
from ssrl_pipeline.pages.live.board import EVENTS, Board
from ssrl_pipeline.pages.live.pictures import Pictures
from ssrl_pipeline.watching import Plan

LOOKING = 5.0  # seconds since a browser asked for news, up to which somebody looks
STILL_WAIT = 2.0  # seconds that a still which was told of may take to be in the index
_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")


class LivePage:
    """Takes what the page shows. Nothing here waits for whoever looks at it.

    Args:
        archive: the folder of events; None: they are not kept.
        say: takes a line for people.
    """

    def __init__(self, archive: Path | None, say: Callable[[str], object]):
        self._archive, self._say = archive, say
        self._feed = Feed(lambda: self._board.state() | {"kept": archive is not None})
        self._board = Board(self._feed.tell, self._feed.renew)
        self._pictures = Pictures(self._is_looked_at, self._board.picture)
        self._failed = False

    def change(self, plans: Sequence[Plan]) -> None:
        """These are the cameras from now on."""
        self._board.change(plans)

    def remember(self) -> None:
        """Shows the latest events of the archive."""
        if folder := self._archive:
            self._attempt(lambda: self._board.remember(read_events(folder, EVENTS)))

    def tell(self, line: Mapping[str, Any]) -> None:
        """A line of `watch`."""
        self._attempt(lambda: self._board.tell(line))

    def see(self, camera: str, frame: np.ndarray) -> None:
        """A camera's latest frame, RGB, uint8 [H, W, 3], which is used again afterwards."""
        self._attempt(lambda: self._pictures.see(camera, frame))

    def page(self) -> Page:
        return Page(
            "ssrl_pipeline.pages.live",
            [
                Route("/news", self._feed.events),
                Route("/events", self._older),
                Route("/picture/{id}", self._picture),
                Route("/still/{id}", self._still),
                Route("/clip/{id}", self._clip),
            ],
        )

    def _attempt(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # the page's fault is never the scoring's
            if not self._failed:
                self._say(f"page: {type(error).__name__}; it may not show all")
            self._failed = True

    def _is_looked_at(self) -> bool:
        return time.monotonic() - self._feed.looked < LOOKING

    def _picture(self, request: Request) -> Response:
        name = self._board.name_of(request.path_params["id"])
        picture = self._pictures.jpeg(name) if name is not None else None
        return _missing() if picture is None else Response(picture, media_type="image/jpeg")

    def _older(self, request: Request) -> Response:
        """Events that began before a time in seconds since 1970, the latest first."""
        try:
            before = float(request.query_params.get("before", "inf"))
        except ValueError:
            return PlainTextResponse("before is a number of seconds.\n", 400)
        rows = read_events(self._archive, EVENTS, before) if self._archive else []
        return JSONResponse(self._board.older(rows)[::-1])

    async def _still(self, request: Request) -> Response:
        event, end = self._board.event(request.path_params["id"]), time.monotonic() + STILL_WAIT
        found = await asyncio.to_thread(self._row, request)
        while event and event["still"] and not (found and found["still"]) and time.monotonic() < end:
            await asyncio.sleep(0.1)
            found = await asyncio.to_thread(self._row, request)
        return await asyncio.to_thread(self._file, found, "still")

    def _clip(self, request: Request) -> Response:
        return self._file(self._row(request), "clip")

    def _row(self, request: Request) -> Mapping[str, Any] | None:
        """The archive's, of the event that is asked for."""
        of = request.path_params["id"]
        if self._archive is None or not _ID.fullmatch(of):
            return None
        return next(iter(read_events(self._archive, 1, of=of)), None)

    def _file(self, row: Mapping[str, Any] | None, which: str) -> Response:
        if self._archive is None or row is None:
            return _missing()
        return file_response(self._archive, row[which])


def _missing() -> Response:
    return PlainTextResponse("There is no such thing.\n", 404)


@contextmanager
def open_page(access: Access, archive: Path | None, say: Callable[[str], object]) -> Iterator[LivePage]:
    """A page that is served until the context ends.

    Args:
        archive: the folder of events; None: they are not kept.
        say: takes a line for people.

    Raises:
        PipelineError: the port cannot be had.
    """
    live = LivePage(archive, say)
    with serve(live.page(), access, say) as address:
        say(f"page: {address}" + (" (asks for the token)" if access.token else ""))
        yield live
