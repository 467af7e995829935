"""The report as a file: what is in it, how large it is, and that names stay names. No browser is needed."""

import base64
import dataclasses
import io
import json
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from ssrl_pipeline.checkpoint import Checkpoint, save_checkpoint
from ssrl_pipeline.cli import main as cli
from ssrl_pipeline.events.rule import ChosenRule, EventRule
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.models import SSRL
from ssrl_pipeline.results import report
from ssrl_pipeline.results.pictures import PEAK, PEAKS_KEPT, peak_frames
from ssrl_pipeline.results.report import curve, link, report_entry, save_report
from ssrl_pipeline.results.video_scores import VideoScores
from ssrl_pipeline.scoring.stored import frame_scores

pytestmark = pytest.mark.usefixtures("quick_network")

MODEL = {"scales": ["2x3"], "dropout": 0.7}
HOSTILE = "</script><img src=x onerror=alert(1)>.mp4"


class Page(HTMLParser):
    """The elements of a page, and the text of its scripts."""

    def __init__(self, path: Path):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data

    @property
    def data(self) -> Any:
        return json.loads(self.scripts[0])


def made_up(video: Path, snippet_scores: np.ndarray, fps: float = 6.0, threshold: float = 0.5) -> VideoScores:
    snippets = np.asarray(snippet_scores, np.float32)
    return VideoScores(
        video=video,
        scores=frame_scores(snippets, 16 * len(snippets)),
        snippet_scores=snippets,
        fps=fps,
        width=80,
        height=64,
        decoder="pyav",
        checkpoint=Path("runs/a/best.pt"),
        recipe={"backbone": "i3d", "preset": "live"},
        chosen=ChosenRule(EventRule(threshold, hysteresis=1.0, gap=0.0), "the settings"),
    )


def entry_of(
    result: VideoScores,
    folder: Path,
    model: dict[str, Any] = MODEL,
    pictures: dict[int, bytes] | None = None,
    truth: np.ndarray | None = None,
    name: str | None = None,
) -> dict[str, Any]:
    return report_entry(result.shown(truth), result.summary(), folder, model, pictures, name)


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 frames, each of one grey that is its number times 3."""
    path = tmp_path_factory.mktemp("videos") / "grey.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 6, (80, 64))
    assert writer.isOpened()
    for i in range(64):
        writer.write(np.full((64, 80, 3), 3 * i, np.uint8))
    writer.release()
    return path


def test_names_are_data_and_never_markup(tmp_path: Path) -> None:
    result = made_up(tmp_path / HOSTILE, np.array([0.1, 0.9]))
    entry = entry_of(result, tmp_path, {**MODEL, "note": "{{plotly}} <!-- <script>"})
    save_report(tmp_path / "report.html", [entry])
    page = Page(tmp_path / "report.html")
    assert [tag for tag, _ in page.elements].count("script") == len(page.scripts) == 3
    assert "img" not in {tag for tag, _ in page.elements}
    assert page.data["videos"][0]["video"] == str(tmp_path / HOSTILE)
    assert page.data["videos"][0]["model"]["note"] == "{{plotly}} <!-- <script>"
    assert "innerHTML" not in page.scripts[2] and "insertAdjacentHTML" not in page.scripts[2]


def test_the_page_is_one_file_and_asks_the_network_for_nothing(tmp_path: Path) -> None:
    save_report(tmp_path / "report.html", [entry_of(made_up(Path("a.mp4"), [0.2]), tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    page = Page(tmp_path / "report.html")
    addresses = [value for _, attributes in page.elements for name, value in attributes.items()
                 if name in ("src", "href", "poster", "data", "action")]  # fmt: skip
    assert addresses == ["data:,"]
    assert "plotly.js v" in page.scripts[1][:200]
    text = (tmp_path / "report.html").read_text(encoding="utf-8").replace(page.scripts[1], "")
    assert re.findall(r"https?:|@import|url\(|\{\{\w+\}\}", text) == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    asked = set(re.findall(r'\$\("([\w-]+)"\)', page.scripts[2]))
    assert len(ids) == len(set(ids)) and asked and asked <= set(ids)


def test_an_entry_tells_what_scores_json_tells(grey: Path, tmp_path: Path) -> None:
    result = made_up(grey, [0.1, 0.7, 0.2, 0.9])
    save_report(tmp_path / "report.html", [entry_of(result, tmp_path)])
    (entry,) = Page(tmp_path / "report.html").data["videos"]
    said = json.loads(json.dumps(result.summary()))
    for key in ("video", "frames", "fps", "width", "height", "decoder", "checkpoint", "recipe", "rule"):
        assert entry[key] == said[key], key
    for key in ("mean", "max", "peak_frame"):
        assert entry[key] == said["summary"][key], key
    assert entry["model"] == {"kind": "ssrl", **MODEL}
    assert [(e["start_frame"], e["end_frame"]) for e in entry["events"]] == [(16, 32), (48, 64)]
    assert [e["start_s"] for e in entry["events"]] == pytest.approx([16 / 6, 8.0])


def test_videos_are_ranked_and_an_unknown_rate_is_said(tmp_path: Path) -> None:
    results = [made_up(Path(f"{i}.mp4"), [score], fps) for i, score, fps in
               ((0, 0.3, 0.0), (1, 0.9, float("nan")), (2, 0.6, 25.0))]  # fmt: skip
    entries = [entry_of(result, tmp_path) for result in results]
    save_report(tmp_path / "report.html", entries)
    videos = Page(tmp_path / "report.html").data["videos"]
    assert [(v["name"], v["fps"]) for v in videos] == [("1.mp4", None), ("2.mp4", 25.0), ("0.mp4", None)]
    assert videos[0]["events"][0]["start_s"] is None


def test_pictures_are_those_of_the_peaks(tmp_path: Path) -> None:
    result = made_up(tmp_path / "a.mp4", [0.9, 0.1, 0.6, 0.7], threshold=0.65)
    assert [event.peak for event in result.events] == [7, 55]
    entry = entry_of(result, tmp_path, MODEL, {55: b"jpeg", 3: b"other"})
    assert ["picture" in event for event in entry["events"]] == [False, True]
    assert base64.b64decode(entry["events"][1]["picture"].removeprefix("data:image/jpeg;base64,")) == b"jpeg"


def test_the_name_and_the_ground_truth_are_those_given(tmp_path: Path) -> None:
    truth = np.zeros(32, bool)
    truth[4:9] = truth[31] = True
    result = made_up(tmp_path / "a.mp4", [0.9, 0.1])
    entry = entry_of(result, tmp_path, truth=truth, name="yard/a.mp4")
    assert (entry["name"], entry["truth"]) == ("yard/a.mp4", [(4, 9), (31, 32)])
    assert (entry_of(result, tmp_path)["truth"], result.video.name) == (None, "a.mp4")


@pytest.mark.parametrize("name", ["a b#?%.mp4", "javascript:alert(1).mp4", "\u00fc/\u6771.mp4", HOSTILE])
def test_a_link_leads_to_the_video_and_is_relative(name: str, tmp_path: Path) -> None:
    url = link(tmp_path / "videos" / name, tmp_path / "out" / "today")
    parts = urlparse(url)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
    target = Path(unquote(parts.path))
    assert target.parts[:3] == ("..", "..", "videos") and Path(*target.parts[3:]) == Path(name)


def test_a_link_follows_the_folder_one_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert link(Path("v.mp4"), Path("out")) == "../v.mp4"
    assert link(tmp_path / "v.mp4", Path("out")) == "../v.mp4"


def test_a_short_curve_gives_every_frame_its_score() -> None:
    snippets = np.random.default_rng(0).random(300).astype(np.float32)
    snippets[10:20] = snippets[10]
    scores = frame_scores(snippets, 300 * 16 + 7)
    got = curve(scores)
    lasting = np.diff([*got["frames"], len(scores)])
    np.testing.assert_allclose(np.repeat(got["scores"], lasting), scores, atol=1e-5)
    assert got["exact"] and len(got["frames"]) == 291


def test_a_day_keeps_the_peak_of_a_single_frame() -> None:
    day = np.random.default_rng(0).uniform(0.1, 0.3, 24 * 3600 * 25).astype(np.float32)
    day[1_234_567], day[2_000_001] = 0.987, 0.012
    got = curve(day)
    points = dict(zip(got["frames"], got["scores"], strict=True))
    assert not got["exact"] and len(points) <= report.POINTS
    assert points[1_234_567] == pytest.approx(0.987) and points[2_000_001] == pytest.approx(0.012)
    np.testing.assert_allclose(day[got["frames"]], got["scores"], atol=1e-5)


def test_three_days_with_pictures_stay_below_ten_megabytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def noise() -> bytes:
        """A picture that JPEG compresses worse than any camera's."""
        file = io.BytesIO()
        picture = Image.fromarray(rng.integers(0, 256, (240, 320, 3), np.uint8))
        picture.thumbnail(PEAK)
        picture.save(file, format="JPEG", quality=75)
        return file.getvalue()

    entries = []
    for i in range(3):
        scores = rng.random(24 * 3600 * 25 // 16) * 0.7
        scores[:: 24 * 60] = 0.9  # an event in a quarter of an hour
        heat = {scale: rng.random((len(scores), patches)) for scale, patches in (("2x3", 6), ("3x5", 15))}
        result = dataclasses.replace(made_up(Path(f"{i}.mp4"), scores, 25.0, 0.8), heat=heat)
        pictures = {frame: noise() for frame in peak_frames(result.events)}
        entries.append(entry_of(result, tmp_path, MODEL, pictures))
    save_report(tmp_path / "report.html", entries)
    assert len(entries[0]["events"]) > 90
    assert sum("picture" in event for event in entries[0]["events"]) == PEAKS_KEPT
    assert 5e6 < (tmp_path / "report.html").stat().st_size < 10e6


def test_heat_is_kept_and_shared_where_it_is_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    heat, scores = rng.random((7, 6)).astype(np.float32), rng.random(7).astype(np.float32)
    heat[2] = 0  # nothing about this snippet is hot
    result = dataclasses.replace(made_up(Path("a.mp4"), scores), heat={"2x3": heat})

    def unpacked() -> tuple[int, np.ndarray]:
        packed = entry_of(result, tmp_path)["heat"]
        levels = np.frombuffer(base64.b64decode(packed["levels"]), np.uint8)
        return packed["snippets"], levels.reshape(-1, packed["rows"], packed["columns"]) / 255

    expected = np.zeros((7, 2, 3))
    for t in (0, 1, 3, 4, 5, 6):
        expected[t] = (heat[t] / heat[t].max() * scores[t]).reshape(2, 3)
    share, maps = unpacked()
    assert share == 1
    np.testing.assert_allclose(maps, expected, atol=0.5 / 255 + 1e-6)
    monkeypatch.setattr(report, "HEAT_BYTES", 20)  # of 42
    share, maps = unpacked()
    assert share == 3
    highest = [expected[0:3].max(axis=0), expected[3:6].max(axis=0), expected[6]]
    np.testing.assert_allclose(maps, highest, atol=0.5 / 255 + 1e-6)
    assert entry_of(made_up(Path("a.mp4"), scores), tmp_path)["heat"] is None


def test_snippets_of_chosen_frames(tmp_path: Path) -> None:
    snippets, starts = np.float32([0.2, 0.8, 0.4]), np.array([0, 20, 32])
    plain = made_up(Path("a.mp4"), snippets)
    assert entry_of(plain, tmp_path)["snippets"] is None
    scores, heat = frame_scores(snippets, 48, starts), {"1x1": np.ones((3, 1), np.float32)}
    entry = entry_of(dataclasses.replace(plain, scores=scores, starts=starts, heat=heat), tmp_path)
    assert entry["snippets"] == [20, 12] and entry["curve"]["frames"] == [0, 20, 32]
    levels = np.frombuffer(base64.b64decode(entry["heat"]["levels"]), np.uint8)
    np.testing.assert_allclose(levels / 255, snippets, atol=0.5 / 255)


def test_score_writes_the_page_of_all_that_could_be_scored(
    make_video: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = FeatureExtractor("i3d", "live", device="cpu", weights="random").recipe
    arguments = {"feature_size": 1024, "scales": ["2x3"], "crops": 1, "dropout": 0.7}
    torch.manual_seed(0)
    save_checkpoint(
        tmp_path / "best.pt", Checkpoint(SSRL(**arguments).state_dict(), arguments, recipe, {}, {})
    )
    videos = [make_video(tmp_path / f"{n}.mp4", frames=n, fps=8) for n in (20, 33)]
    (tmp_path / "bad.mp4").write_text("no video")
    words = ["score", *videos, tmp_path / "bad.mp4", "--checkpoint", tmp_path / "best.pt", "--device", "cpu"]
    words += ["--out", tmp_path / "out", "-o", "events.threshold=0.01"]
    monkeypatch.setattr(sys, "argv", ["ssrl-pipeline", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    assert str(tmp_path / "out" / "report.html") in capsys.readouterr().err
    page = Page(tmp_path / "out" / "report.html").data["videos"]
    said = [json.loads((tmp_path / "out" / video.name / "scores.json").read_text()) for video in videos]
    said.sort(key=lambda summary: -summary["summary"]["max"])
    assert [entry["video"] for entry in page] == [summary["video"] for summary in said]
    assert [entry["max"] for entry in page] == [summary["summary"]["max"] for summary in said]
    assert [entry["link"] for entry in page] == [f"../{Path(summary['video']).name}" for summary in said]
    assert all("picture" in event for entry in page for event in entry["events"]) and page[0]["events"]
