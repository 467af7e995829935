"""The queue of `review` and its server by bare requests: what is asked, said, taken back and refused."""

import contextlib
import csv
import io
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from helpers.commands import captured
from helpers.pages import Answer, ask
from PIL import Image

from ssrl_pipeline.alarms.recording.archive import open_archive, read_events
from ssrl_pipeline.disk import write_json
from ssrl_pipeline.events import ChosenRule, EventRule
from ssrl_pipeline.pages.review import stills
from ssrl_pipeline.pages.review.items import Item, Results
from ssrl_pipeline.pages.review.queue import by_use
from ssrl_pipeline.results.pictures import Pictures, read_pictures
from ssrl_pipeline.results.video_scores import VideoScores
from ssrl_pipeline.teaching.verdicts import Moment, Patch, Verdict, add_verdict, read_verdicts

Open = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("usual_signals")


def post(url: str, path: str, said: object, **headers: str) -> Answer:
    origin = {"Origin": f"http://{urlsplit(url).netloc}", **headers}
    return ask(url, path, "POST", json.dumps(said).encode(), **origin)


def get(url: str, path: str = "/state") -> Any:
    answer = ask(url, path)
    assert answer.code == 200, answer.body
    return json.loads(answer.body)


def rows(path: Path) -> list[tuple[str, str, str, str]]:
    with path.open(newline="") as file:
        return [(row["video"], row["verdict"], row["frame"], row["who"]) for row in csv.DictReader(file)]


def test_the_highest_come_first_and_those_nearest_the_threshold_between_them() -> None:
    scores = [0.6, 0.9, 0.7, 0.8, 0.5]
    items = [Item(str(score), "v", "v", 0, 1, 0.5, score) for score in scores]
    assert [item.score for item in by_use(items)] == [0.9, 0.5, 0.8, 0.6, 0.7]
    assert by_use([]) == []


def test_what_was_nearly_an_event_is_asked_too(tmp_path: Path) -> None:
    values = np.full(12, 0.1, np.float32)
    values[[1, 2, 4, 7, 10]] = [0.9, 0.45, 0.39, 0.41, 0.499]  # 0.45 is of the event at 0.9, by hysteresis
    VideoScores(
        **{"video": tmp_path / "a.mp4", "scores": values.repeat(16), "snippet_scores": values, "fps": 8.0},
        **{"width": 160, "height": 120, "decoder": "none", "checkpoint": Path("best.pt"), "recipe": {}},
        chosen=ChosenRule(EventRule(threshold=0.5, shortest=0.0, gap=0.0), "a test"),
    ).save(tmp_path / "scores", contact_sheet=False)
    items = by_use(Results(tmp_path / "scores", lambda video: video.name, print).items())
    found = [(round(item.score, 3), item.begin, item.end, item.shown()["alarm"]) for item in items]
    assert found == [(0.9, 2.0, 6.0, True), (0.499, 20.0, 22.0, False), (0.41, 14.0, 16.0, False)]


def test_a_verdict_is_a_line_and_so_is_what_takes_it_back(open_it: Open, tmp_path: Path) -> None:
    url, feedback = open_it().url, tmp_path / "feedback.csv"
    state = get(url)
    assert [(item["title"], item["score"]) for item in state["items"]] == [
        ("gate/a.webm", pytest.approx(0.9)),
        ("gate/a.webm", pytest.approx(0.6)),
        ("gate/b.webm", pytest.approx(0.7)),
    ]
    assert state["verdicts"] == {} and state["advice"] == [
        "ssrl-pipeline learn runs/a/best.pt --out taught.pt"
    ]
    high, low, other = (item["id"] for item in state["items"])
    answer = json.loads(post(url, "/verdict", {"item": high, "word": "normal"}).body)
    assert answer["verdicts"][high]["word"] == "normal"
    assert rows(feedback) == [("gate/a.webm", "normal", "23", "ana")]  # the peak: the middle of snippet 1
    post(url, "/verdict", {"item": other, "word": "abnormal", "time": 6.3, "who": "ben  b"})
    assert rows(feedback)[1:] == [("gate/b.webm", "abnormal", "50", "ben b")]
    post(url, "/verdict", {"item": high, "word": "abnormal", "time": 2.0})
    assert rows(feedback)[2:] == [
        ("gate/a.webm", "abnormal", "16", "ana"),
        ("gate/a.webm", "undo", "23", "ana"),
    ]
    verdicts = read_verdicts(feedback, print)
    assert [(one.moment.frame, one.word) for one in verdicts] == [(50, "abnormal"), (16, "abnormal")]
    assert get(url)["verdicts"].keys() == {high, other}

    assert json.loads(post(url, "/undo", {"item": high}).body)["undone"] is True
    assert json.loads(post(url, "/undo", {"item": low}).body)["undone"] is False
    assert rows(feedback)[4:] == [("gate/a.webm", "undo", "16", "ana")]
    assert get(url)["verdicts"].keys() == {other}
    again = open_it()  # another command, later
    assert get(again.url)["verdicts"].keys() == {other} and "3 events, 1 of them" in again.said[0]


def test_what_was_said_elsewhere_stays_and_the_event_shown_has_the_verdict(
    open_it: Open, tmp_path: Path
) -> None:
    feedback = tmp_path / "feedback.csv"
    missed, part = Moment("gate/a.webm", 8, 1.0), Moment("gate/a.webm", 20, 2.5, Patch("2x3", 4))
    for moment in (missed, part):
        add_verdict(feedback, Verdict(moment, "abnormal", who="ben"))
    url = open_it().url
    high, low, _ = (item["id"] for item in get(url)["items"])
    assert get(url)["verdicts"].keys() == {high}, "what ben missed is none of the events"
    post(url, "/verdict", {"item": high, "word": "normal"})
    assert rows(feedback)[2:] == [("gate/a.webm", "normal", "23", "ana")]
    post(url, "/verdict", {"item": high, "word": "abnormal", "time": 9.0})  # nearer to the other event
    assert rows(feedback)[3:] == [
        ("gate/a.webm", "abnormal", "72", "ana"),
        ("gate/a.webm", "undo", "23", "ana"),
    ]
    for server in (url, open_it().url):
        assert get(server)["verdicts"].keys() == {high} and get(server)["verdicts"][high]["frame"] == 72
    post(url, "/verdict", {"item": low, "word": "normal"})
    assert json.loads(post(url, "/undo", {"item": high}).body)["undone"] is True
    assert rows(feedback)[5:] == [
        ("gate/a.webm", "normal", "87", "ana"),
        ("gate/a.webm", "undo", "72", "ana"),
    ]
    assert json.loads(post(url, "/undo", {"item": high}).body)["undone"] is False, "the patch is ben's"
    assert [one.moment.frame for one in read_verdicts(feedback, print)] == [8, 20, 87]


def test_what_belongs_to_an_event(open_it: Open) -> None:
    url = open_it().url
    high = get(url)["items"][0]["id"]
    detail = get(url, f"/item/{high}")
    assert detail["threshold"] == 0.5 and detail["curve"][1] == [2.0, 0.9]
    assert (detail["heat"]["rows"], detail["heat"]["columns"]) == (2, 3)
    clip = ask(url, f"/clip/{high}", Range="bytes=0-3")
    assert (clip.code, clip.body, clip.headers["content-type"]) == (206, b"\x1aE\xdf\xa3", "video/webm")
    assert ask(url, f"/still/{high}").code == 404  # the results were saved without pictures
    assert ask(url, "/clip/r99").code == ask(url, "/item/..%2f..%2fetc%2fpasswd").code == 404


def test_pictures_that_are_not_kept_are_decoded_once(
    open_it: Open, unplayable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[list[int]] = []

    def read(video: Path, wanted: Sequence[int], fps: float) -> Pictures:
        decoded.append(list(wanted))
        return read_pictures(video, wanted, fps)

    monkeypatch.setattr(stills, "read_pictures", read)
    url = open_it(unplayable).url
    for item, peak in zip(get(url)["items"], (39, 103), strict=True):
        still = ask(url, f"/still/{item['id']}?decode")
        assert (still.code, still.headers["content-type"]) == (200, "image/jpeg")
        assert np.asarray(Image.open(io.BytesIO(still.body))).mean() == pytest.approx(20 + peak, abs=2)
    assert decoded == [[39, 103]]
    monkeypatch.setattr(stills, "MOST_FRAMES", 100)
    url = open_it(unplayable).url
    event, miss = (f"/still/{item['id']}?decode" for item in get(url)["items"])
    assert (ask(url, miss).code, ask(url, event).code) == (404, 200) and decoded[1:] == [[39]]
    (unplayable.parent / "videos" / "gate" / "c.avi").unlink()
    url = open_it(unplayable).url
    assert ask(url, event).code == ask(url, event).code == 404 and decoded[2:] == [[39]]


def test_the_report_is_served_with_its_videos(open_it: Open, results: Path) -> None:
    url = open_it().url
    assert get(url)["report"] is False and ask(url, "/report.html").code == 404
    video = str(results.parent / "videos" / "gate" / "b.webm")
    page = {"videos": [{"video": video, "link": "../b.webm"}, {"video": "<elsewhere>", "link": "c.webm"}]}
    data = json.dumps(page).replace("<", "\\u003c")
    text = f'<script type="application/json" id="data">{data}</script><p>more</p>'
    (results / "report.html").write_text(text)
    try:
        url = open_it().url
    finally:
        served = ask(url, "/report.html?review")
        (results / "report.html").unlink()
    assert get(url)["report"] is True and served.code == 200
    said = json.loads(served.body.decode().partition('"data">')[2].partition("</script>")[0])
    assert [entry["link"] for entry in said["videos"]] == ["/video/1", "c.webm"]
    assert b"<elsewhere>" not in served.body and served.body.endswith(b"<p>more</p>")
    assert "script-src 'unsafe-inline'" in served.headers["content-security-policy"]
    assert ask(url, "/video/1", Range="bytes=0-3").code == 206 and ask(url, "/video/2").code == 404


def test_what_is_no_verdict_is_refused_and_writes_nothing(open_it: Open, tmp_path: Path) -> None:
    url = open_it().url
    item = get(url)["items"][0]["id"]
    refused: list[tuple[object, int]] = [
        ({"item": item, "word": "undo"}, 400),
        ({"item": item, "word": "normal", "time": "1"}, 400),
        ({"item": item, "word": "normal", "time": -1}, 400),
        ({"item": item, "word": "normal", "time": float("nan")}, 400),
        ({"item": item, "word": "normal", "time": True}, 400),
        ({"word": "normal"}, 400),
        (["item"], 400),
        ({"item": "r99", "word": "normal"}, 404),
    ]
    for said, code in refused:
        assert post(url, "/verdict", said).code == code, said
    assert ask(url, "/verdict", "POST", b"{", Origin=f"http://{urlsplit(url).netloc}").code == 400
    assert post(url, "/verdict", {"item": item, "word": "normal"}, Origin="http://elsewhere").code == 403
    assert ask(url, "/verdict").code == 405
    assert not (tmp_path / "feedback.csv").exists()


def test_lines_that_are_none_are_told_once_and_stay(open_it: Open, tmp_path: Path) -> None:
    feedback = tmp_path / "feedback.csv"
    garbage = "video,verdict,frame\ngate/a.webm,normal,23\n\x00\xff,,,;\ngate/b.webm,perhaps,3\n"
    feedback.write_text(garbage, "latin-1")
    review = open_it()
    state = get(review.url)
    assert [one["word"] for one in state["verdicts"].values()] == ["normal"]
    assert len(state["problems"]) == 2 and "line 4" in state["problems"][1]
    post(review.url, "/verdict", {"item": state["items"][2]["id"], "word": "abnormal"})
    get(review.url)
    assert [text for text in review.said if "passed over" in text] == state["problems"]
    assert feedback.read_bytes().startswith(garbage.encode("latin-1"))
    assert len(get(review.url)["verdicts"]) == 2
    post(review.url, "/verdict", {"item": state["items"][2]["id"], "word": "normal", "time": 1.0})
    left = read_verdicts(feedback, lambda text: None)
    assert [(one.moment.frame, one.word) for one in left] == [(23, "normal"), (8, "normal")]
    feedback.write_text("nothing of the kind\n")
    answer = ask(review.url, "/state")
    assert answer.code == 409 and b"feedback.csv" in answer.body


def test_two_verdicts_at_once_on_an_event_leave_one(
    open_it: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues, both = [open_it(who=who).queue for who in ("ana", "ben")], threading.Barrier(2)
    item = queues[0].items()[0]
    feedback = tmp_path / "feedback.csv"
    add_verdict(feedback, Verdict(Moment("elsewhere.mp4", 1, None), "normal"))  # that there is one to read

    def slow(*arguments: Any) -> list[Verdict]:
        found = read_verdicts(*arguments)
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.3)
        return found

    monkeypatch.setattr("ssrl_pipeline.pages.review.queue.read_verdicts", slow)
    threads = [
        threading.Thread(target=queue.give, args=(item, "normal", time))
        for queue, time in zip(queues, (2.1, 3.9), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(read_verdicts(feedback, print)) == 2


def test_two_reviewers_at_once_lose_nothing(open_it: Open, tmp_path: Path) -> None:
    urls = [open_it(who=who).url for who in ("ana", "ben")]
    ids = [item["id"] for item in get(urls[0])["items"]]

    def review(url: str) -> None:
        for turn in range(10):
            answer = post(url, "/verdict", {"item": ids[turn % 3], "word": "normal", "time": turn % 3 + 0.1})
            assert answer.code == 200, answer.body

    threads = [threading.Thread(target=review, args=(url,)) for url in urls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = rows(tmp_path / "feedback.csv")
    for who in ("ana", "ben"):
        assert sum(one[3] == who and one[1] == "normal" for one in said) == 10
    problems: list[str] = []
    read_verdicts(tmp_path / "feedback.csv", problems.append)
    assert [text for text in problems if "to undo" not in text] == []  # both may take back the same one
    assert get(urls[0])["verdicts"] == get(urls[1])["verdicts"] != {}


def test_a_command_that_is_killed_has_kept_all(results: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ssrl_pipeline", "review", str(results), "--who", "ana"]
    command += ["--feedback", str(tmp_path / "feedback.csv"), "--videos", str(results.parent / "videos")]

    def start() -> tuple["subprocess.Popen[str]", str]:
        job = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        assert job.stderr
        said = ""
        for line in job.stderr:
            said += line
            if "review: " in line:
                return job, line.split("review: ")[1].split()[0]
        raise AssertionError(said)

    job, url = start()
    ids = [item["id"] for item in get(url)["items"]]
    assert post(url, "/verdict", {"item": ids[0], "word": "normal"}).code == 200
    job.kill()
    job.communicate()
    job, url = start()
    assert get(url)["verdicts"].keys() == {ids[0]}
    post(url, "/verdict", {"item": ids[1], "word": "abnormal"})
    job.send_signal(signal.SIGINT)
    _, err = job.communicate(timeout=60)
    assert job.returncode == 130 and "verdicts on 2 of 3 events: 1 abnormal, 1 normal" in err
    assert "Traceback" not in err
    assert [row[:3] for row in rows(tmp_path / "feedback.csv")] == [
        ("gate/a.webm", "normal", "23"),
        ("gate/a.webm", "abnormal", "87"),
    ]


def test_events_of_a_watch_that_goes_on(open_it: Open, tmp_path: Path) -> None:
    folder = tmp_path / "events"
    with open_archive(folder, print) as archive:

        def event(start: int) -> str:
            name, clip = archive.place("gate", time.time() + start)
            clip.parent.mkdir(parents=True, exist_ok=True)
            clip.write_bytes(b"a clip")
            write_json(clip.with_suffix(".json"), {"scores": [[100 + start / 25, 0.9]]})
            row = {"id": name, "camera": "gate", "state": "done", "made": time.time(), "peak_score": 0.9}
            row |= {"start": start, "end": start + 50, "peak": start + 10, "clip_first": start - 25}
            row |= {"start_s": 100 + start / 25, "end_s": 102 + start / 25, "patch": "top left"}
            archive.write({**row, "clip": archive.relative(clip)})
            return name

        first = event(1000)
        review = open_it(folder)
        (item,) = get(review.url)["items"]
        assert (item["id"], item["begin"], item["end"], item["peak"]) == (first, 1.0, 3.0, 1.4)
        detail = get(review.url, f"/item/{first}")
        assert detail["curve"] == [[1.0, 0.9]] and detail["box"] == [0, 0, pytest.approx(1 / 3), 0.5]
        assert ask(review.url, f"/clip/{first}").body == b"a clip"
        post(review.url, "/verdict", {"item": first, "word": "normal"})
        (row,) = read_events(folder, 5)
        assert row["verdict"] == "normal"
        (verdict,) = read_verdicts(tmp_path / "feedback.csv", print)
        assert (verdict.moment.video, verdict.moment.time) == (row["clip"], 1.4)
        before = get(review.url, "/verdicts")["version"]
        assert get(review.url)["version"] == before
        second = event(2000)
        after = get(review.url, "/verdicts")["version"]
        assert after != before
        assert {one["id"] for one in get(review.url)["items"]} == {first, second}
        post(review.url, "/undo", {"item": first})
        assert read_events(folder, 1, of=first)[0]["verdict"] is None
        archive.expire({"id": first, "camera": "gate"})
        event(3000)
        assert get(review.url, "/verdicts")["version"] not in (before, after), "as many, but others"


def test_a_folder_without_anything_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = captured(capfd)("review", tmp_path)
    assert done.code == 2 and "holds neither results" in done.err and list(tmp_path.iterdir()) == []
