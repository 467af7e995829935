"""What stands before a page: who is not to see it gets a refusal, and no answer is without its headers.

A request is refused whose Host header is not this machine's (421), that another site's page makes (403),
that lacks the token (401), or that has a body of more than :data:`MOST_BODY` bytes (413). Which methods
there are is the routes' to say (405).
"""

import asyncio
import html
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ssrl_pipeline.pages.access import Access

MOST_BODY = 64 << 10  # bytes
PATIENCE = 10.0  # seconds for a body
SAY_AGAIN = 60.0  # seconds from one word of a fault to the next
STAY = 30 * 86400  # seconds that a browser keeps the cookie
PUBLIC = ("/look.css", "/icon.svg")  # which the question for the token needs as well
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>Token</title>
<link rel="stylesheet" href="/look.css"><link rel="icon" href="/icon.svg" type="image/svg+xml">
{head}</head><body class="gate"><main>{body}</main></body></html>
"""
_ASK = """<h1>Which token?</h1><p role="status">{said}</p>
<form method="get" action="/"><label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button type="submit">Open</button></form>"""


class Guard:
    """An ASGI application around another.

    Args:
        app: sees only what passes.
        access: who may call it.
        say: takes a line for people where the application fails.
    """

    def __init__(self, app: ASGIApp, access: Access, say: Callable[[str], object]):
        self._app, self._access, self._say = app, access, say
        self._said = float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request, started = Request(scope), False

        async def with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            body = b""
            answer = self._refusal(request) or self._unknown(request)
            if answer is None and request.method not in ("GET", "HEAD"):
                body, answer = await _read(receive)
            if answer is not None:
                await answer(scope, receive, with_headers)
            else:
                await self._app(scope, _given(body, receive), with_headers)
        except Exception as error:  # one request's fault is not the next one's, nor the command's
            if time.monotonic() - self._said > SAY_AGAIN:
                self._said = time.monotonic()
                self._say(f"page: {request.method} of {request.url.path!r}: {type(error).__name__}")
            if not started:
                await _plain("It failed.", 500)(scope, receive, with_headers)

    def _refusal(self, request: Request) -> Response | None:
        """Of what is not even asked for a token."""
        headers = request.headers
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._access.knows(hosts[0]):
            return _plain("This is not the machine that is asked for; page.hosts has its other names.", 421)
        safe = request.method in ("GET", "HEAD")
        site = headers.get("sec-fetch-site", "none" if safe else "same-origin")
        visit = safe and headers.get("sec-fetch-mode") == "navigate"
        if site not in ("same-origin", "none") and not visit:
            return _plain("Another site's page may not ask for this.", 403)
        if not safe and urlsplit(headers.get("origin", "")).netloc != hosts[0]:
            return _plain("Only the page itself may send this; its Origin is missing or another.", 403)
        length = headers.get("content-length", "0")
        too_long = not length.isdecimal() or int(length[:20]) > MOST_BODY
        if too_long or (safe and "transfer-encoding" in headers):
            return _plain("Too long.", 413)
        return None

    def _unknown(self, request: Request) -> Response | None:
        """The question for the token, or what follows its answer; None: it is known who asks."""
        if self._access.token is None or request.url.path in PUBLIC:
            return None
        name = f"ssrl-{(request.scope.get('server') or ('', 0))[1]}"  # cookies do not tell ports apart
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        by_bearer = scheme.lower() == "bearer" and self._access.is_token(bearer.strip())
        if by_bearer or self._access.is_cookie(request.cookies.get(name, "")):
            return None
        said, asked = "This page is not for everybody.", request.url.path == "/" and request.method == "GET"
        given = request.query_params.get("token") if asked else None
        if given is not None and self._access.is_token(given):
            answer = _go_on()
            answer.set_cookie(name, self._access.cookie, STAY, path="/", httponly=True, samesite="strict")
            return answer
        if asked and request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            return _go_on()
        if given is not None:
            said = "That is not the token."
        if "text/html" in request.headers.get("accept", ""):
            answer = HTMLResponse(_PAGE.format(head="", body=_ASK.format(said=html.escape(said))), 401)
        else:
            answer = _plain(said, 401)
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer


def _go_on() -> Response:
    """The page asks again by itself: the cookie does not come along on the way from another site."""
    head, body = '<meta http-equiv="refresh" content="0;url=/">', '<p><a href="/">Go on</a></p>'
    return HTMLResponse(_PAGE.format(head=head, body=body))


def _plain(text: str, code: int) -> Response:
    return PlainTextResponse(f"{text}\n", code, {"Connection": "close"})


async def _read(receive: Receive) -> tuple[bytes, Response | None]:
    """The whole body, or a refusal."""
    body, more, end = b"", True, time.monotonic() + PATIENCE
    while more:
        try:
            message = await asyncio.wait_for(receive(), max(0.0, end - time.monotonic()))
        except asyncio.TimeoutError:
            return b"", _plain("Too slow.", 408)
        if message["type"] != "http.request":
            return b"", _plain("Gone.", 400)
        body, more = body + message.get("body", b""), message.get("more_body", False)
        if len(body) > MOST_BODY:
            return b"", _plain("Too long.", 413)
    return body, None


def _given(body: bytes, receive: Receive) -> Receive:
    """Gives the body that was read, and then whatever comes."""
    first = [body]

    async def give() -> Message:
        if first:
            return {"type": "http.request", "body": first.pop(), "more_body": False}
        return await receive()

    return give
