"""Events as files, the subtitles read back by webvtt-py."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import webvtt

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.events.files import COLUMNS, save_events, write_srt, write_vtt
from ssrl_pipeline.events.find import Event, find_events
from ssrl_pipeline.events.rule import EventRule
from ssrl_pipeline.times import FrameTimes

RULE = EventRule(threshold=0.5, hysteresis=0.5, shortest=0.0, gap=0.0)
SCORES = np.array([0, 0.25, 0.75, 0.5, 0, 0, 1, 0], np.float32)


def at(start_s: float, end_s: float) -> Event:
    return Event(0, 1, 0, 0.875, 0.75, start_s, end_s, start_s)


def test_all_files_tell_the_same(tmp_path: Path) -> None:
    events = find_events(SCORES, FrameTimes(4.0), RULE)
    names = save_events(tmp_path, events, "a.mp4", 4.0, RULE, "as asked for")
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())

    content = json.loads((tmp_path / "events.json").read_text())
    assert (content["video"], content["fps"]) == ("a.mp4", 4.0)
    assert content["rule"] == {
        **{"threshold": 0.5, "hysteresis": 0.5, "shortest": 0.0, "gap": 0.0},
        **{"low": 0.25, "threshold_from": "as asked for"},
    }
    first, second = content["events"]
    assert first == {
        **{"event": 1, "start_frame": 1, "end_frame": 4, "peak_frame": 2},
        **{"start_s": 0.25, "end_s": 1.0, "peak_s": 0.5},
        **{"start_time": "00:00:00.250", "end_time": "00:00:01.000", "peak_time": "00:00:00.500"},
        **{"peak_score": 0.75, "mean_score": 0.5, "words": [], "patch": None},
    }
    assert (second["event"], second["start_frame"], second["end_frame"]) == (2, 6, 7)

    rows = list(csv.DictReader((tmp_path / "events.csv").read_text().splitlines()))
    for row, event in zip(rows, (first, second), strict=True):
        assert tuple(row) == tuple(event) == COLUMNS
        assert (row.pop("words"), row.pop("patch")) == ("", "")
        for column, text in row.items():
            value = event[column]
            assert (text if isinstance(value, str) else float(text)) == value

    for captions in (webvtt.read(tmp_path / "events.vtt"), webvtt.from_srt(tmp_path / "events.srt")):
        shown = [(caption.start, caption.end, caption.text) for caption in captions]
        assert shown == [
            ("00:00:00.250", "00:00:01.000", "Anomaly 1: score 0.75, highest at 00:00:00.500"),
            ("00:00:01.500", "00:00:01.750", "Anomaly 2: score 1.00, highest at 00:00:01.500"),
        ]
    assert "00:00:00,250 --> 00:00:01,000" in (tmp_path / "events.srt").read_text()


def test_words_stand_in_all_files(tmp_path: Path) -> None:
    event = at(1.0, 2.0)._replace(words=("riding a bike", "marching", "zumba"), patch="top left")
    save_events(tmp_path, [event], "a.mp4", 8.0, RULE, "")
    (told,) = json.loads((tmp_path / "events.json").read_text())["events"]
    assert (told["words"], told["patch"]) == (["riding a bike", "marching", "zumba"], "top left")
    (row,) = csv.DictReader((tmp_path / "events.csv").read_text().splitlines())
    assert list(row.items())[-2:] == [("words", "riding a bike; marching; zumba"), ("patch", "top left")]
    for captions in (webvtt.read(tmp_path / "events.vtt"), webvtt.from_srt(tmp_path / "events.srt")):
        assert captions[0].text.splitlines() == [
            "Anomaly 1: score 0.88, highest at 00:00:01.000",
            "looks like riding a bike, marching, zumba (top left)",
        ]


def test_players_get_long_videos_and_single_frames(tmp_path: Path) -> None:
    """Beyond 100 hours; and at rates so high that both ends of a frame round to one millisecond."""
    far = 101 * 3600.0
    events = [at(0.0015, 0.0025), at(0.004, 0.0041), at(far, far + 1.5)]
    write_vtt(tmp_path / "a.vtt", events)
    write_srt(tmp_path / "a.srt", events)
    for captions in (webvtt.read(tmp_path / "a.vtt"), webvtt.from_srt(tmp_path / "a.srt")):
        times = [(c.start_time.in_milliseconds(), c.end_time.in_milliseconds()) for c in captions]
        assert all(start < end for start, end in times)
        assert times[1:] == [(4, 5), (363_600_000, 363_601_500)]


def test_no_events_are_valid_files(tmp_path: Path) -> None:
    save_events(tmp_path, [], "a.mp4", 25.0, RULE, "")
    assert len(webvtt.read(tmp_path / "events.vtt")) == 0
    assert (tmp_path / "events.vtt").read_text() == "WEBVTT\n"
    assert (tmp_path / "events.srt").read_text() == ""
    assert json.loads((tmp_path / "events.json").read_text())["events"] == []
    assert (tmp_path / "events.csv").read_text() == ",".join(COLUMNS) + "\n"


def test_without_a_rate_there_are_frames_and_no_subtitles(tmp_path: Path) -> None:
    events = find_events(SCORES, FrameTimes(), RULE)
    assert save_events(tmp_path, events, "a.mp4", 0.0, RULE, "") == ["events.json", "events.csv"]
    (row, _) = csv.DictReader((tmp_path / "events.csv").read_text().splitlines())
    assert (row["start_frame"], row["start_s"], row["start_time"]) == ("1", "", "")
    content = json.loads((tmp_path / "events.json").read_text())
    assert content["fps"] is None
    assert content["events"][0]["peak_s"] is None
    for write, name in ((write_vtt, "a.vtt"), (write_srt, "a.srt")):
        with pytest.raises(PipelineError, match=f"{name}: subtitles need times.*frame rate is unknown"):
            write(tmp_path / name, events)
        assert not (tmp_path / name).exists()
