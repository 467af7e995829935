"""News for the browsers that look, as server-sent events; whoever tells them waits for nobody.

The newest are kept, not more than so many, and each browser fetches what is new since it last did. One that
is too slow for that, or comes anew, gets the whole state instead.
"""

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

KEPT = 1000  # news
PACE = 0.3  # seconds from one look for news to the next
SIGN = 10.0  # seconds without any after which a sign of life is sent


class Feed:
    """Where news are told, and what gives them: ``Route("/news", feed.events)``.

    Args:
        state: gives all that a browser shows; called in the server's thread, and not to take long. It may
            have news in it that are sent once more.
    """

    def __init__(self, state: Callable[[], Any]):
        self._state, self._lock = state, threading.Lock()
        self._news: deque[Any] = deque(maxlen=KEPT)
        self._told = 0
        self.looked = float("-inf")  # time.monotonic() when a browser last fetched

    def tell(self, news: Any) -> None:
        """Returns at once; from any thread. What is told is not changed afterwards, and fit for JSON."""
        with self._lock:
            self._news.append(news)
            self._told += 1

    def renew(self) -> None:
        """Every browser gets the state again."""
        with self._lock:
            self._told += KEPT + 1

    async def events(self, request: Request) -> Response:
        """Sends `state`, the whole; `news`, a list of what was told since, oldest first; `sign`, of life."""
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        return StreamingResponse(self._events(), media_type="text/event-stream")

    async def _events(self) -> AsyncIterator[str]:
        seen, sent = -1, time.monotonic()
        while True:
            self.looked = time.monotonic()
            with self._lock:
                told, fresh = self._told, self._told - seen
                news = list(self._news)[-fresh:] if 0 < fresh <= KEPT else []
            if seen < 0 or fresh > KEPT:
                yield _event("state", self._state())
            elif news:
                yield _event("news", news)
            elif self.looked - sent > SIGN:
                yield _event("sign", None)
            else:
                await asyncio.sleep(PACE)
                continue
            seen, sent = told, time.monotonic()
            await asyncio.sleep(PACE)


def _event(name: str, value: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(value, ensure_ascii=False, allow_nan=False)}\n\n"
