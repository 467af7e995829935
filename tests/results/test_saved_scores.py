"""A scored video's folder read back: whatever is in it, it is a result or an error of one line."""

import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssrl_pipeline.disk.npy import read_npz
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.events.rule import ChosenRule, EventRule
from ssrl_pipeline.results.pictures import load_peaks
from ssrl_pipeline.results.video_scores import VideoScores, load_result

SCORES = np.repeat([0.1, 0.4, 0.2], 16).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    about = (8.0, 64, 48, "pyav", Path("best.pt"), {}, ChosenRule(EventRule(), "the default"))
    heat = {"2x3": np.zeros((3, 6), np.float32)}
    VideoScores(Path("a.mp4"), SCORES, SCORES[::16], *about, heat).save(tmp_path / "a.mp4")
    return tmp_path / "a.mp4"


def refused(read: Callable[[], object], path: Path) -> str:
    with pytest.raises(PipelineError) as caught:
        read()
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "score " in message
    assert "\n" not in message and len(message) < 600
    return message


def test_what_was_saved_loads(folder: Path) -> None:
    result, drawn = load_result(folder)
    np.testing.assert_array_equal(result.scores, SCORES)
    result.scores[0] = 1  # an array like any other
    assert drawn == (True, False, None) and result.heat["2x3"].shape == (3, 6)


def test_times_are_in_all_files(tmp_path: Path) -> None:
    """Frames an eighth of a second apart, a pause of 100 seconds before the last event."""
    about = (8.0, 64, 48, "opencv", Path("best.pt"), {}, ChosenRule(EventRule(0.3), "the default"))
    scores = np.repeat([0.1, 0.4, 0.2, 0.4], 16).astype(np.float32)
    stamps = np.arange(64) / 8 + 100 * (np.arange(64) >= 48)
    made = VideoScores(Path("a.mp4"), scores, scores[::16], *about, stamps=stamps)
    made.save(tmp_path / "a.mp4", contact_sheet=False)
    result, _ = load_result(tmp_path / "a.mp4")
    assert result.stamps is not None and result.fps == 8
    np.testing.assert_array_equal(result.stamps, stamps, strict=True)
    np.testing.assert_array_equal(result.times, stamps)
    said = json.loads((tmp_path / "a.mp4" / "scores.json").read_text())
    assert (said["fps"], said["duration_s"], said["events"]) == (8.0, 108.0, 2)
    rows = (tmp_path / "a.mp4" / "scores.csv").read_text().splitlines()
    assert (rows[2], rows[48], rows[49]) == (
        *("1,0.125000,0.100000", "47,5.875000,0.200000", "48,106.000000,0.400000"),
    )
    events = json.loads((tmp_path / "a.mp4" / "events.json").read_text())["events"]
    shown = [(event["start_s"], event["end_s"], event["peak_s"]) for event in events]
    assert shown == [(2.0, 4.0, 2.875), (106.0, 108.0, 106.875)]
    assert "00:01:46.000 --> 00:01:48.000" in (tmp_path / "a.mp4" / "events.vtt").read_text()


def test_a_steady_rate_needs_no_times(folder: Path) -> None:
    assert "times" not in read_npz(folder / "scores.npz")
    assert load_result(folder)[0].times[8] == 1.0


def test_a_rate_that_no_camera_has_is_unknown(folder: Path) -> None:
    """As results of former versions have it, of containers that say their clock's."""
    np.savez(folder / "scores.npz", **(read_npz(folder / "scores.npz") | {"fps": np.float64(90000)}))
    result, _ = load_result(folder)
    assert result.fps == 0 and np.isnan(result.times).all()


@pytest.mark.parametrize(
    "change",
    [
        {"frames": 47},
        {"frames": 1e999},
        {"frames": None},
        {"rule": {}},
        {"rule": []},
        {"rule": {"threshold": "0.5", "hysteresis": 0.8, "shortest": 0.5, "gap": 2, "threshold_from": ""}},
        {"rule": {"threshold": 7, "hysteresis": 0.8, "shortest": 0.5, "gap": 2, "threshold_from": ""}},
        {"video": 3},
        {"recipe": 3},
        {"source": {}},
        {"source": [1, 2, 3]},
        {"summary": {"max": "high"}},
        {"summary": {"max": 0.9}},
        {"drawn": {"truth": 5, "contact_sheet": True, "overlay": False}},
        {"drawn": {"truth": [[1]], "contact_sheet": True, "overlay": False}},
        {"drawn": {"run": "this"}},
        {"width": "wide"},
    ],
)
def test_a_summary_that_says_something_else(folder: Path, change: dict[str, Any]) -> None:
    path = folder / "scores.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refused(lambda: load_result(folder), folder)


@pytest.mark.parametrize("content", [b"", b"[]", b"3", b"[" * 100_000, b"\xff\xfe", b"1" * 10_000])
def test_a_summary_of_any_kind(folder: Path, content: bytes) -> None:
    (folder / "scores.json").write_bytes(content)
    refused(lambda: load_result(folder), folder)


@pytest.mark.parametrize(
    "change",
    [
        {"scores": SCORES[:5]},
        {"scores": SCORES.astype("float64")},
        {"scores": SCORES * np.nan},
        {"snippet_scores": SCORES},
        {"fps": np.float64("nan")},
        {"fps": -8.0},
        {"fps": SCORES},
        {"heat_2x3": np.zeros((3, 7), np.float32)},
        {"heat_2x0": np.zeros((3, 0), np.float32)},
        {"heat_": np.zeros((3, 6), np.float32)},
        {"times": np.arange(47.0)},
        {"times": np.arange(48)},
        {"times": np.arange(48.0)[::-1]},
        {"times": np.full(48, np.nan)},
    ],
)
def test_numbers_that_do_not_belong(folder: Path, change: dict[str, Any]) -> None:
    np.savez(folder / "scores.npz", **(read_npz(folder / "scores.npz") | change))
    refused(lambda: load_result(folder), folder)


class Marker:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, (f"open({str(self.path)!r}, 'w').close()",))


def header(text: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + data


def headed(descr: str, shape: str, data: bytes = bytes(64)) -> bytes:
    return header(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}\n", data)


MEMBERS = {
    "far more than there is": headed("<f4", f"({1 << 40},)"),
    "beyond all numbers": headed("<f4", f"({1 << 62}, 4)"),
    "negative": headed("<f4", "(-16,)"),
    "less than there is": headed("<f4", "(3,)"),
    "objects": headed("|O", "(8,)"),
    "code": header("__import__('os').getpid()"),
    "brackets": header("(" * 9000),
    "another version": b"\x93NUMPY\x02\x00" + bytes(100),
    "no array": b"hello",
}


@pytest.mark.parametrize("name", MEMBERS)
def test_arrays_that_lie(folder: Path, name: str) -> None:
    for file in ("scores.npz", "peaks.npz"):
        with zipfile.ZipFile(folder / file, "w") as archive:
            archive.writestr("1.npy", MEMBERS[name])
    with pytest.raises(ValueError):
        read_npz(folder / "scores.npz")
    refused(lambda: load_result(folder), folder)
    refused(lambda: load_peaks(folder / "peaks.npz"), folder / "peaks.npz")


def test_objects_do_not_run(folder: Path, tmp_path: Path) -> None:
    np.savez(folder / "scores.npz", scores=np.array([Marker(tmp_path / "marker")], object))
    refused(lambda: load_result(folder), folder)
    (folder / "scores.npz").write_bytes(pickle.dumps(Marker(tmp_path / "marker")))
    refused(lambda: load_result(folder), folder)
    assert not (tmp_path / "marker").exists()


def test_archives_that_inflate_are_not_opened(folder: Path) -> None:
    np.savez_compressed(folder / "scores.npz", scores=np.zeros(1 << 22, np.float32))
    assert "compressed" in refused(lambda: load_result(folder), folder)
    np.savez_compressed(folder / "peaks.npz", **{"1": np.zeros(1 << 22, np.uint8)})
    assert "compressed" in refused(lambda: load_peaks(folder / "peaks.npz"), folder / "peaks.npz")


def test_archives_whose_parts_are_the_same_bytes_are_not_opened(folder: Path) -> None:
    with zipfile.ZipFile(folder / "scores.npz", "w") as archive:
        archive.writestr("scores.npy", bytes(1 << 16))
        archive.filelist *= 99
    assert "overlap" in refused(lambda: load_result(folder), folder)


def test_every_changed_bit_of_the_scores_is_found(folder: Path) -> None:
    content = (folder / "scores.npz").read_bytes()
    begin = content.index(SCORES.tobytes())
    for place in range(begin, begin + SCORES.nbytes, 17):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        (folder / "scores.npz").write_bytes(changed)
        refused(lambda: load_result(folder), folder)


def test_peaks_are_named_by_frames(folder: Path) -> None:
    np.savez(folder / "peaks.npz", **{"../x": np.zeros(3, np.uint8)})
    refused(lambda: load_peaks(folder / "peaks.npz"), folder / "peaks.npz")
    refused(lambda: load_peaks(folder / "none.npz"), folder / "none.npz")
