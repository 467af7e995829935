"""A page on a real port: who gets an answer, and what is in it."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request as Call
from urllib.request import urlopen

import pytest
from helpers.pages import ask, send

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ssrl_pipeline.errors import ConfigError, PipelineError
from ssrl_pipeline.pages import server
from ssrl_pipeline.pages.access import Access, read_access
from ssrl_pipeline.pages.app import Page, file_response
from ssrl_pipeline.pages.feed import KEPT, Feed
from ssrl_pipeline.pages.guard import MOST_BODY
from ssrl_pipeline.settings import PageSettings

HERE = Access("127.0.0.1", 0)
TOKEN = "correct-horse-battery"
CLIP = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What a page is made of, and media beside it."""
    root = tmp_path_factory.mktemp("page")
    package, media = root / "a_page_of_tests", root / "media"
    package.mkdir()
    (package / "__init__.py").write_text("SECRET = 1\n")
    (package / "index.html").write_text("<!doctype html><title>Mine</title>")
    (package / "page.js").write_text("'mine'\n")
    media.mkdir()
    (media / "a.mp4").write_bytes(CLIP)
    (media / "a.json").write_text("{}")
    (root / "outside.mp4").write_bytes(b"outside")
    (media / "link.mp4").symlink_to(root / "outside.mp4")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root)
        yield root


class Served:
    """Starts pages, one for each kind of access, that stay until all tests are done."""

    def __init__(self, folder: Path, stack: ExitStack):
        self.said: list[str] = []  # what people were told
        self._folder, self._stack = folder, stack
        self._urls: dict[Access, str] = {}

    def __call__(self, access: Access = HERE) -> str:
        if access not in self._urls:
            self._urls[access] = self.start(access)
        return self._urls[access]

    def start(self, access: Access, *more: Route) -> str:
        routes = [
            Route("/add", self._add, methods=["POST"]),
            Route("/media/{id}", self._media),
            Route("/broken", self._broken),
        ]
        page = Page("a_page_of_tests", [*routes, *more])
        return self._stack.enter_context(server.serve(page, access, self.said.append))

    async def _add(self, request: Request) -> Response:
        return JSONResponse({"got": len(await request.body())})

    def _media(self, request: Request) -> Response:
        known = {
            "a": "a.mp4",
            "json": "a.json",
            "gone": "gone.mp4",
            "link": "link.mp4",
            "up": "../outside.mp4",
        }
        return file_response(self._folder / "media", known.get(request.path_params["id"]))

    def _broken(self, request: Request) -> Response:
        raise ValueError("a secret")


@pytest.fixture(scope="module")
def all_served(folder: Path) -> Iterator[Served]:
    with ExitStack() as stack:
        yield Served(folder, stack)


@pytest.fixture
def served(all_served: Served) -> Served:
    all_served.said.clear()
    return all_served


def test_gives_its_own_files_with_headers_that_allow_nothing_else(served: Served) -> None:
    url = served()
    answer = ask(url)
    assert (answer.code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"Mine" in answer.body
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert {value for name, value in policy.items()} == {"'none'", "'self'"}
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers
    assert ask(url, "/page.js").headers["content-type"].startswith("text/javascript")
    assert b"--paper: #ffffff" in (look := ask(url, "/look.css").body) and b".gate" in look
    assert ask(url, "/nowhere").headers["x-frame-options"] == "DENY"


def test_gives_the_part_of_a_clip_that_is_asked_for(served: Served) -> None:
    url = served()
    whole, part = ask(url, "/media/a"), ask(url, "/media/a", Range="bytes=300-999")
    assert (whole.code, whole.body, whole.headers["content-type"]) == (200, CLIP, "video/mp4")
    assert (part.code, part.body) == (206, CLIP[300:1000])
    assert part.headers["content-range"] == f"bytes 300-999/{len(CLIP)}"
    assert ask(url, "/media/a", Range="bytes=-10").body == CLIP[-10:]
    assert ask(url, "/media/a", Range=f"bytes={len(CLIP)}-").code == 416


@pytest.mark.parametrize("name", ["json", "gone", "link", "up", "unknown", "..%2foutside.mp4", "%00"])
def test_gives_no_media_but_those_of_its_folder(name: str, served: Served) -> None:
    assert ask(served(), f"/media/{name}").code == 404


REFUSED = {
    "another host": ({"Host": "evil.example"}, 421),
    "another host with a port": ({"Host": "evil.example:8000"}, 421),
    "a name that begins like ours": ({"Host": "localhost.evil.example"}, 421),
    "a user in front of our name": ({"Host": "evil.example@127.0.0.1"}, 421),
    "an empty host": ({"Host": ""}, 421),
    "another machine's number": ({"Host": "192.0.2.1"}, 421),
    "a part of another site": ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"}, 403),
    "a part of another port's": ({"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "cors"}, 403),
    "a body too long": ({"body": b"x" * (MOST_BODY + 1)}, 413),
    "a body said to be long": ({"Content_Length": "99999999999999999999999"}, 400),
    "a body of unknown length": ({"Transfer_Encoding": "chunked"}, 413),
    "POST": ({"method": "POST", "body": b"", "Origin": "{origin}"}, 405),
    "PUT": ({"method": "PUT", "body": b"", "Origin": "{origin}"}, 405),
    "DELETE": ({"method": "DELETE", "Origin": "{origin}"}, 405),
    "TRACE": ({"method": "TRACE", "Origin": "{origin}"}, 405),
    "CONNECT": ({"method": "CONNECT", "path": "evil.example:443"}, 403),
    "GET of what is for POST": ({"path": "/add"}, 405),
    "POST without an Origin": ({"path": "/add", "method": "POST", "body": b""}, 403),
    "POST of another origin": (
        {"path": "/add", "method": "POST", "body": b"", "Origin": "http://evil.example"},
        403,
    ),
    "POST of no origin": ({"path": "/add", "method": "POST", "body": b"", "Origin": "null"}, 403),
    "POST of another port": (
        {"path": "/add", "method": "POST", "body": b"", "Origin": "http://127.0.0.1:1"},
        403,
    ),
    "POST of another site": (
        {"path": "/add", "method": "POST", "body": b"", "Origin": "{origin}", "Sec_Fetch_Site": "cross-site"},
        403,
    ),
    "POST that is too long": (
        {"path": "/add", "method": "POST", "body": b"x" * (MOST_BODY + 1), "Origin": "{origin}"},
        413,
    ),
    "the package's code": ({"path": "/__init__.py"}, 404),
    "a path upwards": ({"path": "/../page.js/../__init__.py"}, 404),
    "a path upwards, escaped": ({"path": "/%2e%2e/%2e%2e/etc/passwd"}, 404),
    "a path upwards, escaped twice": ({"path": "/%252e%252e%252fetc%252fpasswd"}, 404),
    "a path upwards of Windows": ({"path": "/..%5c..%5coutside.mp4"}, 404),
    "a path upwards of long UTF-8": ({"path": "/%c0%ae%c0%ae/outside.mp4"}, 404),
    "a whole path": ({"path": "//etc/passwd"}, 404),
    "another machine's page": ({"path": "http://evil.example/"}, 421),
    "another machine's page in our name": ({"path": "http://evil.example/", "Host": "127.0.0.1"}, 404),
    "a byte that is none": ({"path": "/page.js%00.html"}, 404),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str, served: Served) -> None:
    url = served()
    asked, code = REFUSED[name]
    filled = {
        key: value.replace("{origin}", url[:-1]) if isinstance(value, str) else value
        for key, value in asked.items()
    }
    answer = ask(url, **filled)  # type: ignore[arg-type]
    assert answer.code == code
    assert not {b"Mine", b"mine", b"SECRET", b"outside", b"root:"} & set(answer.body.split())
    assert served.said == []


def test_refuses_a_long_body_whose_length_is_not_said(served: Served) -> None:
    url = served()
    origin, host = url[:-1].encode(), urlsplit(url).netloc.encode()
    head = b"POST /add HTTP/1.1\r\nHost: %b\r\nOrigin: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % (
        host,
        origin,
    )
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    assert send(url, head + 3 * chunk).startswith(b"HTTP/1.1 413")
    assert send(url, b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert send(url, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 421")
    endless = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * (1 << 17)
    assert send(url, endless)[:12] in (b"HTTP/1.1 400", b"")


def test_takes_what_its_own_page_sends(served: Served) -> None:
    url = served()
    body = b"x" * MOST_BODY
    answer = ask(url, "/add", "POST", body, Origin=url[:-1], Sec_Fetch_Site="same-origin")
    assert json.loads(answer.body) == {"got": MOST_BODY}
    port = urlsplit(url).port
    origin = f"http://localhost:{port}"
    assert ask(url, "/add", "POST", b"", Origin=origin, Host=f"localhost:{port}").code == 200
    assert ask(url, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").code == 200  # a link to it


def test_without_the_token_nothing_is_given(served: Served) -> None:
    url = served(Access("127.0.0.1", 0, TOKEN))
    for path in (
        "/",
        "/page.js",
        "/media/a",
        "/nowhere",
        "/add",
        "/?token=",
        "/?token=wrong",
        "/page.js?token=" + TOKEN,
    ):
        answer = ask(url, path)
        assert (answer.code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert b"ine" not in answer.body and TOKEN.encode() not in answer.body
        assert "set-cookie" not in answer.headers
    for given in (
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer"},
    ):
        assert ask(url, **given).code == 401
    cookie = f"ssrl-{urlsplit(url).port}"
    assert ask(url, Cookie=f"{cookie}={TOKEN}").code == ask(url, Cookie=f"{cookie}=").code == 401
    asked = ask(url, Accept="text/html")
    assert asked.code == 401 and b'name="token"' in asked.body
    assert b'href="/icon.svg"' in asked.body  # which a browser would look for elsewhere, and not find
    assert ask(url, "/look.css").code == ask(url, "/icon.svg").code == 200
    assert ask(url, "/add", "POST", b"", Origin=url[:-1]).code == 401


def test_the_token_is_given_once_and_then_kept_in_a_cookie(served: Served) -> None:
    url = served(Access("127.0.0.1", 0, TOKEN))
    assert ask(url, Authorization=f"Bearer {TOKEN}").code == 200
    entry = ask(url, f"/?token={TOKEN}")
    cookie = entry.headers["set-cookie"]
    assert entry.code == 200 and b"Mine" not in entry.body and b'url=/"' in entry.body
    assert TOKEN not in cookie and TOKEN.encode() not in entry.body
    value, *attributes = cookie.split("; ")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(attributes)
    assert ask(url, Cookie=value).code == ask(url, "/media/a", Cookie=value).code == 200
    assert ask(url, Cookie=f"{value}0").code == 401
    linked = ask(
        url, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate"
    )  # without the cookie, which is kept
    assert linked.code == 200 and b"Mine" not in linked.body and b'url=/"' in linked.body
    assert "set-cookie" not in linked.headers


def test_what_fails_is_said_once_and_does_not_end_the_server(served: Served) -> None:
    url = served()
    first, second = ask(url, "/broken"), ask(url, "/broken")
    assert first.code == second.code == 500 and b"secret" not in first.body
    assert first.headers["x-frame-options"] == "DENY"
    assert served.said == ["page: GET of '/broken': ValueError"]
    assert ask(url).code == 200


def test_connections_that_say_nothing_are_ended_and_never_too_many(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "IDLE", 0.5)
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 3)
    url = served.start(HERE)
    place = (urlsplit(url).hostname, urlsplit(url).port)
    several = [socket.create_connection(place, timeout=10) for _ in range(3)]  # type: ignore[arg-type]
    several[0].sendall(b"GET / HT")
    time.sleep(0.1)
    with socket.create_connection(place, timeout=10) as more, pytest.raises(OSError):  # type: ignore[arg-type]
        more.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        if not more.recv(10):
            raise ConnectionResetError
    for one in several:
        with one:
            assert one.recv(10) == b""
    assert ask(url).code == 200


def test_a_port_that_is_taken_is_told_in_one_line(served: Served) -> None:
    url = served()
    port = urlsplit(url).port
    with pytest.raises(
        PipelineError, match=f"^page 127.0.0.1:{port}: cannot be listened to .*choose another"
    ):
        served(Access("127.0.0.1", port or 0))
    with pytest.raises(PipelineError, match="^page nowhere.invalid:1: cannot be listened to"):
        served(Access("nowhere.invalid", 1))


def test_listens_to_all_addresses_and_names_one_that_can_be_called(folder: Path) -> None:
    everywhere = Access("0.0.0.0", 0, TOKEN, numeric=True)
    with server.serve(Page("a_page_of_tests"), everywhere, print) as url:
        assert urlsplit(url).hostname == socket.gethostname().lower()
        here = f"http://127.0.0.1:{urlsplit(url).port}/"
        assert ask(here).code == 401 and ask(here, Host="192.0.2.7:8000").code == 401
        assert ask(here, Host="evil.example").code == 421


def test_ends_at_once_though_a_browser_listens(folder: Path) -> None:
    feed = Feed(lambda: {"n": 1})
    before = set(threading.enumerate())
    page = Page("a_page_of_tests", [Route("/news", feed.events)])
    with server.serve(page, Access("127.0.0.1", 0), print) as url:
        listening = urlopen(Call(f"{url}news"), timeout=10)
        assert listening.readline() == b"event: state\n"
        begun = time.monotonic()
    assert time.monotonic() - begun < 4
    assert set(threading.enumerate()) <= before
    listening.close()


def test_browsers_get_the_state_and_then_what_is_told(served: Served) -> None:
    feed = Feed(lambda: {"cameras": 2})
    url = served.start(HERE, Route("/news", feed.events))
    assert ask(url, "/news", "HEAD").headers["content-type"].startswith("text/event-stream")
    with _listening(f"{url}news") as read:
        assert read() == ("state", {"cameras": 2})
        feed.tell({"score": 1})
        feed.tell({"score": 2})
        told = read()[1]
        while len(told) < 2:
            told += read()[1]
        assert told == [{"score": 1}, {"score": 2}]
        assert time.monotonic() - feed.looked < 5


def test_who_is_too_slow_gets_the_state_again(served: Served) -> None:
    feed = Feed(lambda: "all")
    url = served.start(HERE, Route("/news", feed.events))
    with _listening(f"{url}news") as read:
        assert read() == ("state", "all")
        for number in range(KEPT + 1):
            feed.tell(number)
        assert read() == ("state", "all")
        feed.tell("last")
        assert read() == ("news", ["last"])


@contextmanager
def _listening(url: str) -> Iterator[Callable[[], tuple[str, object]]]:
    with urlopen(url, timeout=10) as response:

        def read() -> tuple[str, object]:
            kind, data, blank = (response.readline().decode() for _ in range(3))
            assert blank == "\n"
            return kind.removeprefix("event: ").strip(), json.loads(data.removeprefix("data: "))

        yield read


def access(address: str | None, **more: object) -> Access | None:
    return read_access(PageSettings(address, **more))  # type: ignore[arg-type]


def test_who_may_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SSRL_PAGE_TOKEN", raising=False)
    assert access(None) is None
    for address in ("8000", "127.0.0.1:8000", "localhost:8000", "[::1]:8000", "127.0.0.2:8000"):
        found = access(address)
        assert found and found.port == 8000 and found.token is None
        assert found.knows("localhost:8000") and found.knows("127.0.0.1") and found.knows("[::1]:1")
        assert not found.knows("192.168.1.5:8000") and not found.knows("evil.example")
    for address in ("0.0.0.0:8000", "[::]:8000", "192.168.1.5:8000", "cams.example:8000"):
        with pytest.raises(
            ConfigError, match=f"page .*{address[-5:]}: others can reach it, so it needs a token"
        ):
            access(address)
    with pytest.raises(ConfigError, match=r"page.hosts cams.example: whoever .* it needs a token"):
        access("8000", hosts=["cams.example"])  # behind a proxy
    assert access("8000", hosts=["localhost", "127.0.0.3"])
    monkeypatch.setenv("SSRL_PAGE_TOKEN", TOKEN)
    found = access("0.0.0.0:8000", hosts=["Cams.example."])
    assert found and found.token == TOKEN and TOKEN not in repr(found)
    assert all(map(found.knows, ("192.168.1.5:8000", "[fe80::1]:8000", "cams.example", "LOCALHOST")))
    assert not any(map(found.knows, ("evil.example", "1.2.3.4.evil.example", "cams.example.evil.example")))
    file = tmp_path / "token"
    file.write_text("another-long-token\n")
    found = access("127.0.0.1:8000", token_file=str(file))
    assert found and found.token == "another-long-token" and found.is_token("another-long-token")
    assert not found.is_token("another-long-tokeN") and not found.is_token("")


@pytest.mark.parametrize(
    ("address", "token", "said"),
    [
        ("nonsense", None, "not an address and a port"),
        ("127.0.0.1:99999", None, "not an address and a port"),
        ("http://127.0.0.1:8000", None, "not an address and a port"),
        ("[::g]:80", None, "not an address and a port"),
        ("[:::]:80", None, ":::  ?is no address"),
        ("8000", "short", "a token has 16"),
        ("8000", "with blanks in it, many", "a token has 16"),
        ("8000", "ümläute-sind-länger", "a token has 16"),
    ],
)
def test_what_is_wrong_with_an_address_or_a_token(
    address: str, token: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSRL_PAGE_TOKEN", token or "")
    with pytest.raises(ConfigError, match=said) as caught:
        access(address)
    assert token is None or token not in str(caught.value)


def test_a_file_of_the_token_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"page.token_file .*nothing: cannot be read \(No such file"):
        access("8000", token_file=str(tmp_path / "nothing"))
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ConfigError, match="empty: a token has 16"):
        access("8000", token_file=str(tmp_path / "empty"))


def test_the_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "uvicorn" else name)
    with pytest.raises(PipelineError, match=r"needs uvicorn; pip install 'ssrl-pipeline\[web\]'"):
        access("8000")
