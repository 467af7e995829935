"""Serves the page of `review`.

ssrl-pipeline review scores/
"""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.pages import Access, Page, file_response, serve
from ssrl_pipeline.pages.review.items import Item, Media, open_items
from ssrl_pipeline.pages.review.queue import Queue, told, version
from ssrl_pipeline.pages.review.report import HEADERS, served_report
from ssrl_pipeline.teaching import ABNORMAL, NORMAL

MOST_NAME = 60  # characters of who says so
Answer = Callable[[Item, dict[str, Any]], Response]


class ReviewPage:
    """Answers what the page asks.

    Args:
        advice: the commands that learn from the verdicts.
    """

    def __init__(self, queue: Queue, advice: Sequence[str]):
        self._queue, self._advice = queue, list(advice)

    def page(self) -> Page:
        return Page(
            "ssrl_pipeline.pages.review",
            [
                Route("/state", self._state),
                Route("/verdicts", self._verdicts),
                Route("/item/{id}", self._detail),
                Route("/clip/{id}", self._clip),
                Route("/still/{id}", self._still),
                Route("/verdict", self._give, methods=["POST"]),
                Route("/undo", self._undo, methods=["POST"]),
                Route("/report.html", self._report),
                Route("/video/{number:int}", self._video),
            ],
        )

    def _state(self, request: Request) -> Response:
        items = self._queue.items()
        about: dict[str, Any] = {"feedback": str(self._queue.feedback), "advice": self._advice}
        about |= {"version": version(items)}
        about |= {"report": self._queue.source.report is not None}
        return self._answer({"items": [item.shown() for item in items], **about})

    def _verdicts(self, request: Request) -> Response:
        return self._answer({"version": version(self._queue.items())})

    def _answer(self, more: dict[str, Any], code: int = 200) -> Response:
        """With what has been said of each item so far."""
        try:
            verdicts = {of: told(one) for of, one in self._queue.verdicts().items()}
        except PipelineError as error:
            return PlainTextResponse(f"{error}\n", 409)
        return JSONResponse({**more, "verdicts": verdicts, "problems": self._queue.problems[:20]}, code)

    def _detail(self, request: Request) -> Response:
        item = self._item(request)
        return JSONResponse(self._queue.source.detail(item)) if item else _missing()

    def _clip(self, request: Request) -> Response:
        item = self._item(request)
        return _file(self._queue.source.clip(item)) if item else _missing()

    def _still(self, request: Request) -> Response:
        item = self._item(request)
        if item is None:
            return _missing()
        return _file(self._queue.source.still(item, decode="decode" in request.query_params))

    def _report(self, request: Request) -> Response:
        source = self._queue.source
        text = served_report(source.report, source.videos) if source.report else None
        return _missing() if text is None else HTMLResponse(text, headers=HEADERS)

    def _video(self, request: Request) -> Response:
        number, videos = request.path_params["number"], self._queue.source.videos
        if number >= len(videos):
            return _missing()
        video = videos[number].absolute()
        return file_response(video.parent, video.name)

    async def _give(self, request: Request) -> Response:
        return await self._change(request, self._say_so)

    def _say_so(self, item: Item, said: dict[str, Any]) -> Response:
        word, time = said.get("word"), said.get("time")
        if word not in (NORMAL, ABNORMAL):
            return PlainTextResponse("word is normal or abnormal.\n", 400)
        if time is None:
            time = item.peak
        if isinstance(time, bool) or not isinstance(time, int | float) or not 0 <= time < 1e7:
            return PlainTextResponse("time is a number of seconds.\n", 400)
        moment = self._queue.give(item, str(word), float(time), _who(said))
        return self._answer({"moment": str(moment)})

    async def _undo(self, request: Request) -> Response:
        return await self._change(request, self._take_back)

    def _take_back(self, item: Item, said: dict[str, Any]) -> Response:
        return self._answer({"undone": self._queue.take_back(item, _who(said))})

    async def _change(self, request: Request, act: Answer) -> Response:
        try:
            said = json.loads(await request.body())
            item = self._queue.item(str(said["item"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            return PlainTextResponse("This is no JSON with an item.\n", 400)
        if item is None:
            return _missing()
        try:
            # In another thread: it may wait for another writer of the table.
            return await run_in_threadpool(act, item, said)
        except PipelineError as error:
            return PlainTextResponse(f"{error}\n", 409)

    def _item(self, request: Request) -> Item | None:
        return self._queue.item(request.path_params["id"])


def _who(said: dict[str, Any]) -> str:
    name = said.get("who")
    return " ".join(name.split())[:MOST_NAME] if isinstance(name, str) and name.isprintable() else ""


def _file(media: Media) -> Response:
    if media.content is not None:
        return Response(media.content, media_type="image/jpeg")
    return file_response(media.folder, media.path)


def _missing() -> Response:
    return PlainTextResponse("There is no such thing.\n", 404)


@contextmanager
def open_review(
    access: Access,
    folder: Path,
    feedback: Path,
    name_of: Callable[[Path], str],
    advise: Callable[[Path | None, Path | None], Sequence[str]],
    who: str,
    say: Callable[..., object],
) -> Iterator[Queue]:
    """A page that is served until the context ends; gives what is reviewed.

    Args:
        folder: of results, or of an archive of events.
        feedback: the table of verdicts.
        name_of: the path of a video's file -> its name in verdicts.
        advise: a checkpoint, and what features are needed of, as far as there are -> the commands that learn
            from the verdicts.
        who: says so where a browser names nobody.
        say: takes a line for people, and its level.

    Raises:
        PipelineError: there is nothing to review, the table is none, or the port cannot be had.
    """

    def warn(text: str) -> None:
        say(text, logging.WARNING)

    source = open_items(folder, name_of, warn)
    queue, advice = Queue(source, feedback, who, warn), advise(source.checkpoint, source.clips)
    count, said = len(queue.items()), len(queue.verdicts())
    with serve(ReviewPage(queue, advice).page(), access, warn) as address:
        say(f"{count} events, {said} of them with a verdict; verdicts go to {feedback}", logging.INFO)
        say(f"review: {address}" + (" (asks for the token)" if access.token else ""), logging.INFO)
        yield queue
