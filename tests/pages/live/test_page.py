"""The page of `watch` in a headless Chromium and by bare requests, over a stream with an event in it."""

import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from helpers.live_video import CPU, LIGHT, Live, describe_light, marked_video, stopped_after
from helpers.pages import ask

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from ssrl_pipeline.alarms.recording.opening import kept_packets, open_recorder
from ssrl_pipeline.events import EventRule
from ssrl_pipeline.pages.access import Access
from ssrl_pipeline.pages.live.page import LivePage, open_page
from ssrl_pipeline.settings import AlarmSettings, WatchSettings
from ssrl_pipeline.watching.plan import Analysis, Plan
from ssrl_pipeline.watching.sources import parse_sources
from ssrl_pipeline.watching.watch import Watch

RULE = EventRule(threshold=0.5, hysteresis=1.0, gap=0.5, shortest=0.0)
ANALYSIS = Analysis(LIGHT, CPU, describe_light, RULE)
TOKEN = "correct-horse-battery"


class Shown:
    """A watch of a stream with a page, in this process."""

    def __init__(self, url: str, page: LivePage, lines: list[dict[str, Any]]):
        self.url, self.page, self.lines = url, page, lines

    def wait(self, kind: str, count: int = 1, seconds: float = 90) -> list[dict[str, Any]]:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = [line for line in self.lines if line["type"] == kind]
            if len(found) >= count:
                return found
            time.sleep(0.05)
        raise AssertionError(f"no {kind} among {[line['type'] for line in self.lines]}")


@contextmanager
def shown(sources: list[str], folder: Path | None, access: Access) -> Iterator[Shown]:
    settings, said = AlarmSettings(str(folder) if folder else None, before=1.0, after=0.5), list[str]()
    lines: list[dict[str, Any]] = []
    jobs: list[Watch] = []
    with ExitStack() as stack:
        page = stack.enter_context(open_page(access, folder, said.append))
        stop = stack.enter_context(stopped_after(120))

        def tell(line: dict[str, Any]) -> None:
            page.tell(line)
            lines.append(line)

        recorder = stack.enter_context(open_recorder(settings, lambda name: jobs[0].recordings(name), tell))
        plans = [Plan(source, ANALYSIS) for source in parse_sources(sources)]
        limits = WatchSettings(window=2, delay=0, timeout=3.0)
        taking = recorder.tell if recorder else tell
        job = Watch(plans, limits, taking, said.append, keep=kept_packets(settings), see=page.see)
        jobs.append(job)
        page.change(plans)
        page.remember()
        failures: list[BaseException] = []

        def run() -> None:
            try:
                job.run(stop)
            except BaseException as error:  # raised where the test ends
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield Shown(said[0].split()[1], page, lines)
        finally:
            stop.set()
            thread.join(20)
            if recorder:
                recorder.close(20)
    assert not thread.is_alive() and not failures
    assert not [text for text in said if text.startswith("page: ") and "http" not in text]


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """A camera with an event, and one that is not there, whose address is its name."""
    folder = tmp_path_factory.mktemp("live")
    video = marked_video(folder / "v.mp4", 1500, bright=[(100, 140), (700, 740)], bframes=0)
    with Live(video) as live:
        sources = [f"gate={live.url}", "rtsp://guard:secret@127.0.0.1:9/yard"]
        with shown(sources, folder / "events", Access("127.0.0.1", 0)) as found:
            yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    service = pytest.importorskip("selenium.webdriver.chrome.service")
    chromium, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no Chromium with its chromedriver is installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,800"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=service.Service(driver))
    browser.set_script_timeout(60)
    yield browser
    browser.quit()


def until(browser: Any, script: str, seconds: float = 60) -> Any:
    """What a script gives once that is something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := browser.execute_script(f"return {script}"):
            return found
        time.sleep(0.1)
    raise AssertionError(f"never: {script}\n{browser.page_source}")


def errors(browser: Any) -> list[str]:
    return [
        entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")
    ]


def test_a_person_sees_the_cameras_and_plays_an_event_by_keyboard(stream: Shown, browser: Any) -> None:
    from selenium.webdriver import ActionChains, Keys

    errors(browser)
    browser.get(stream.url)
    until(browser, "document.querySelector('#cameras img')?.naturalWidth === 320")
    names = "[...document.querySelectorAll('#cameras h3')].map(one => one.textContent).join()"
    assert until(browser, names) == "gate,camera 2"
    badge = "document.querySelector('#cameras .badge').textContent"
    until(browser, f"{badge} === 'live' || {badge} === 'event'")
    until(browser, "document.querySelectorAll('#cameras .badge')[1].textContent === 'lost'")
    first = until(browser, "document.querySelector('.curve path').getAttribute('d')")
    until(browser, f"document.querySelector('.curve path').getAttribute('d') !== {json.dumps(first)}")
    assert 0 < float(until(browser, "document.querySelector('.score b').textContent")) < 1
    picture = browser.execute_script("return document.querySelector('#cameras img').src")
    until(browser, f"document.querySelector('#cameras img').src !== {json.dumps(picture)}")

    stream.wait("event_end")
    until(browser, "document.querySelector('#events li:not(.open) img')?.naturalWidth === 320")
    until(browser, "document.querySelector('#events b').textContent === 'gate'")
    on_it = "document.activeElement.matches('#events li:last-child button')"
    for _ in range(20):
        if browser.execute_script(f"return {on_it}"):
            break
        ActionChains(browser).send_keys(Keys.TAB).perform()
    ActionChains(browser).send_keys(Keys.ENTER).perform()
    moved = until(browser, "document.getElementById('player').currentTime")
    until(browser, f"document.getElementById('player').currentTime > {moved}")
    assert browser.execute_script("return document.getElementById('player').videoWidth") == 320
    assert browser.execute_script("return document.activeElement.id") == "player"
    until(browser, "document.querySelectorAll('#events li').length > 1")
    title = "document.getElementById('viewer-title').textContent"
    shown_first = browser.execute_script(f"return {title}")
    ActionChains(browser).send_keys(Keys.ARROW_UP).perform()
    until(browser, f"{title} !== {json.dumps(shown_first)}")
    ActionChains(browser).send_keys(Keys.ARROW_DOWN).perform()
    until(browser, f"{title} === {json.dumps(shown_first)}")
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    until(browser, "!document.getElementById('viewer').open")
    assert browser.execute_script("return document.activeElement.closest('#events li') !== null")
    assert errors(browser) == []


def test_everything_on_the_page_has_a_name_and_nothing_is_wider_than_a_phone(
    stream: Shown, browser: Any
) -> None:
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        browser.get(stream.url)
        stream.wait("event_end")
        until(browser, "document.querySelector('#events button')")
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        shown = [node for node in nodes if not node["ignored"]]
        controls = [node for node in shown if node["role"]["value"] in ("button", "link", "image", "dialog")]
        assert len(controls) >= 5
        assert [node for node in controls if not node.get("name", {}).get("value")] == []
        heights = "[...document.querySelectorAll('button')].map(one => one.offsetHeight).filter(Boolean)"
        assert min(browser.execute_script(f"return {heights}")) >= 36
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert errors(browser) == []


def test_pictures_stills_and_clips_are_given_by_id_alone(stream: Shown) -> None:
    (event, *_) = stream.wait("event_end")
    for kind, content, begin in (("still", "image/jpeg", b"\xff\xd8"), ("clip", "video/mp4", b"")):
        answer = ask(stream.url, f"/{kind}/{event['id']}")
        assert (answer.code, answer.headers["content-type"]) == (200, content)
        assert answer.body.startswith(begin) and len(answer.body) > 1000
        assert answer.body == Path(event[kind]).read_bytes()
    part = ask(stream.url, f"/clip/{event['id']}", Range="bytes=4-7")
    assert (part.code, part.body) == (206, b"ftyp")
    assert ask(stream.url, "/picture/c1").body.startswith(b"\xff\xd8")
    clip = Path(event["clip"])
    for path in (
        f"/clip/{clip.name}",
        f"/clip/gate%2F{clip.parent.name}%2F{clip.name}",
        f"/clip/..%2F{clip.name}",
        "/clip/%2e%2e/index.sqlite",
        "/clip/' OR 1=1 --".replace(" ", "%20"),
        "/still/20200101-000000-abcdef",
        "/picture/c2",
        "/picture/gate",
        "/events/../index.sqlite",
        "/index.sqlite",
        "/board.py",
    ):
        assert ask(stream.url, path).code == 404, path
    assert ask(stream.url, "/events?before=yesterday").code == 400
    (listed, *_) = json.loads(ask(stream.url, "/events").body)[::-1]
    assert (listed["id"], listed["camera"], listed["clip"]) == (event["id"], "gate", True)
    assert json.loads(ask(stream.url, f"/events?before={listed['made']}").body) == []


def test_no_answer_tells_an_address(stream: Shown) -> None:
    stream.wait("lost")
    end = time.monotonic() + 20
    with socket.create_connection((urlsplit(stream.url).hostname, urlsplit(stream.url).port)) as connection:  # type: ignore[arg-type]
        connection.sendall(b"GET /news HTTP/1.1\r\nHost: localhost\r\n\r\n")
        got = b""
        while b"refused" not in got and time.monotonic() < end:
            got += connection.recv(65536)
    assert b"Connection refused" in got
    for part in (b"secret", b"guard", b"rtsp", b"live.ts", b"127.0.0.1", str(Path.home()).encode()):
        assert part not in got.partition(b"\r\n\r\n")[2]


def test_the_scoring_waits_for_no_browser(tmp_path: Path) -> None:
    """Browsers that ask for news and never read any."""
    plans = [Plan(source, ANALYSIS) for source in parse_sources(["gate=rtsp://127.0.0.1:9/x"])]
    said: list[str] = []
    with open_page(Access("127.0.0.1", 0), None, said.append) as page, ExitStack() as stack:
        page.change(plans)
        port = urlsplit(said[0].split()[1]).port or 0
        for _ in range(5):
            deaf = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.sendall(b"GET /news HTTP/1.1\r\nHost: localhost\r\n\r\n")
        slowest = 0.0
        for number in range(20_000):
            line = {"type": "score", "camera": "gate", "time": None, "time_s": number * 0.1, "score": 0.5}
            begun = time.thread_time()
            page.tell(line)
            slowest = max(slowest, time.thread_time() - begun)
        assert slowest < 0.05
        assert ask(f"http://127.0.0.1:{port}/").code == 200


def test_a_fault_of_the_page_is_said_once_and_goes_no_further(tmp_path: Path) -> None:
    said: list[str] = []
    page = LivePage(None, said.append)
    page.change([Plan(source, ANALYSIS) for source in parse_sources(["gate=0"])])
    page.tell({"type": "score", "camera": "gate"})
    page.tell({"type": "score", "camera": "gate"})
    page.see("gate", None)  # type: ignore[arg-type]
    assert said == ["page: KeyError; it may not show all"]


def test_with_a_token_a_browser_is_asked_for_it_once(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By

    errors(browser)
    with shown(["gate=rtsp://127.0.0.1:9/x"], None, Access("127.0.0.1", 0, TOKEN)) as found:
        browser.get(found.url)
        assert until(browser, "document.querySelector('#token').labels[0].textContent") == "Token"
        browser.find_element(By.ID, "token").send_keys("wrong")
        browser.find_element(By.TAG_NAME, "button").click()
        until(browser, "document.body.textContent.includes('That is not the token.')")
        browser.find_element(By.ID, "token").send_keys(TOKEN)
        browser.find_element(By.TAG_NAME, "button").click()
        until(browser, "document.querySelector('#cameras h3')?.textContent === 'gate'")
        assert "token" not in browser.current_url and browser.execute_script("return document.cookie") == ""
        browser.get(found.url)
        until(browser, "document.querySelector('#cameras h3')?.textContent === 'gate'")
        browser.get("about:blank")
    assert [message for message in errors(browser) if "401" not in message] == []


def test_events_that_are_not_kept_are_shown_without_a_clip(browser: Any, tmp_path: Path) -> None:
    errors(browser)
    video = marked_video(tmp_path / "v.mp4", 200, bright=[(50, 90)], bframes=0)
    with shown([f"film={video}"], None, Access("127.0.0.1", 0)) as found:
        found.wait("end")
        browser.get(found.url)
        until(browser, "document.querySelector('#events button')")
        assert "at 0:00:0" in browser.execute_script("return document.querySelector('.when').textContent")
        until(browser, "document.querySelector('#cameras .badge').textContent === 'ended'")
        found.page.tell({"type": "health_start", "camera": "film", "health": "out_of_focus"})
        until(browser, "document.querySelector('.note').textContent === 'out of focus'")
        hostile = "<img src=x onerror=alert(1)>"
        event = {"type": "event_start", "camera": "film", "event": 9, "start_s": 3.0, "peak_score": 0.7}
        found.page.tell({**event, "words": [hostile], "alarm": False})
        texts = "[...document.querySelectorAll('#events .what .faint')].map(one => one.textContent)"
        said = f"score 0.70 · {hostile} · outside the hours"
        until(browser, f"{texts}.includes({json.dumps(said, ensure_ascii=False)})")
        assert browser.execute_script("return document.querySelectorAll('.what img').length") == 0
        browser.execute_script("document.querySelector('#events li:last-child button').click()")
        until(browser, "document.getElementById('nothing').textContent.includes('--events FOLDER')")
        assert browser.execute_script("return document.activeElement.id") == "close"
        browser.get("about:blank")
    assert errors(browser) == []


def test_a_browser_finds_a_watch_that_was_started_again(browser: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        access = Access("127.0.0.1", free.getsockname()[1])
    said: list[str] = []
    with open_page(access, None, said.append) as page:
        page.change([Plan(source, ANALYSIS) for source in parse_sources(["gate=rtsp://127.0.0.1:9/x"])])
        page.tell({"type": "event_start", "camera": "gate", "event": 1, "start_s": 3.0, "peak_score": 0.7})
        browser.get(said[0].split()[1])
        until(browser, "document.querySelector('#cameras h3')?.textContent === 'gate'")
        assert browser.execute_script("return document.querySelectorAll('#events li').length") == 1
    until(browser, "!document.getElementById('cut').hidden")
    with open_page(access, None, said.append) as page:
        page.change([Plan(source, ANALYSIS) for source in parse_sources(["yard=rtsp://127.0.0.1:9/x"])])
        until(browser, "document.querySelector('#cameras h3')?.textContent === 'yard'")
        assert browser.execute_script("return document.getElementById('cut').hidden")
        assert browser.execute_script("return document.querySelectorAll('#events li').length") == 0
        browser.get("about:blank")
    errors(browser)  # of connections that were refused meanwhile
