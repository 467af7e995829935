"""Thresholds of cameras and hours of the day: of which scores, when they are kept, who takes them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ssrl_pipeline.data.labels import Label, read_labels
from ssrl_pipeline.errors import LabelError
from ssrl_pipeline.evaluation.by_camera import Footage, hours_of, thresholds_by
from ssrl_pipeline.events.false_alarms import calibrate
from ssrl_pipeline.events.rule import EventSettings, choose_rule
from ssrl_pipeline.models import LinearProbe
from ssrl_pipeline.scoring.cameras import Cameras
from ssrl_pipeline.times import FrameTimes
from tests.helpers.commands import run_main

TIMES = FrameTimes(10.0)
CPU = torch.device("cpu")


def footage() -> Footage:
    """Two cameras, the scores of one are twice the other's; one video of a third; half begin at 22:59:00."""
    random = np.random.default_rng(0)
    scores, labels = {}, {}
    for i in range(4):
        for group, greatest in (("gate", 0.8), ("yard", 0.4)):
            video = f"{group}{i}"
            scores[video] = (greatest * random.random(1200)).astype(np.float32)
            labels[video] = Label(False, "val", group, 22 * 3600 + 59 * 60 if i % 2 else None)
    scores["door0"], labels["door0"] = np.full(1200, 0.1, np.float32), Label(False, "val", "door")
    return Footage(scores, scores, dict.fromkeys(scores, TIMES), labels)


def test_a_camera_has_the_threshold_of_its_own_frames() -> None:
    seen = footage()
    common = calibrate(seen.common, seen.times, 0.05)
    cells = {cell.name: cell for cell in thresholds_by(seen, common, ["group"])}
    assert list(cells) == ["camera 'door'", "camera 'gate'", "camera 'yard'"]
    for group in ("gate", "yard"):
        own = np.sort(np.concatenate([seen.common[f"{group}{i}"] for i in range(4)]))[::-1]
        found = cells[f"camera '{group}'"].found
        assert found is not None and own[240] < found.threshold <= own[239]  # 5 % of 4800 frames may alarm
        assert (found.videos, found.share) == (4, 0.05)
    assert cells["camera 'door'"].record()["enough"] is False  # one video of two minutes
    assert cells["camera 'door'"].why == "too little footage"


def test_hours_are_those_at_which_frames_are_shown() -> None:
    assert hours_of(23 * 3600 + 3599.9, TIMES, 3).tolist() == [23, 0, 0]
    assert hours_of(None, TIMES, 3) is None and hours_of(5.0, FrameTimes(), 3) is None
    seen = footage()
    cells = thresholds_by(seen, calibrate(seen.common, seen.times, 0.05), ["group", "hour"])
    sizes = {(cell.group, cell.hour): (cell.frames, cell.videos) for cell in cells}
    # Of each video that begins at 22:59:00 the first 600 frames are before eleven.
    assert sizes[None, 22] == sizes[None, 23] == (2400, 4)
    assert sizes["gate", 22] == sizes["gate", 23] == (1200, 2)
    by_name = {cell.name: cell for cell in cells}
    early = np.concatenate([seen.common[f"{g}{i}"][:600] for g in ("gate", "yard") for i in (1, 3)])
    found = by_name["22:00 to 23:00"].found
    assert found is not None and found.frames == 120 == (early >= found.threshold).sum()
    assert by_name["camera 'gate' from 22:00 to 23:00"].found is None  # two videos of a minute each


def test_without_cameras_or_times_it_is_said() -> None:
    seen = footage()
    common = calibrate(seen.common, seen.times, 0.05)
    plain = seen._replace(labels={video: Label(False, "val") for video in seen.labels})
    with pytest.raises(LabelError, match="no normal video is of a camera that is known"):
        thresholds_by(plain, common, ["group"])
    with pytest.raises(LabelError, match="of no normal video the time of day is known"):
        thresholds_by(plain, common, ["hour"])


def test_the_threshold_that_fits_best_is_taken() -> None:
    def cell(group: str | None, hour: int | None, value: float, enough: bool = True) -> dict[str, object]:
        return {"group": group, "hour": hour, "value": value if enough else None, "enough": enough}

    by = [cell("gate", None, 0.6), cell(None, 3, 0.7), cell("gate", 3, 0.8), cell("yard", None, 0.9, False)]
    record = {"value": 0.5, "asked": 0.01, "unit": "frame", "split": "val", "by": by}

    def taken(group: str | None, hour: int | None) -> float:
        return choose_rule(EventSettings(), record, group, hour).rule.threshold

    assert [taken("gate", 3), taken("gate", 4), taken("yard", 3)] == [0.8, 0.6, 0.7]
    assert [taken("yard", None), taken(None, None), taken("other", 4)] == [0.5, 0.5, 0.5]
    origin = choose_rule(EventSettings(), record, "gate", 3).origin
    assert origin.endswith("0.01 false alarms per frame on val of camera 'gate' from 3:00 to 4:00")
    assert choose_rule(EventSettings(threshold=0.2), record, "gate", 3).rule.threshold == 0.2


@pytest.mark.parametrize(
    ("said", "seconds"), [("23:10", 83400), ("7:05:30", 25530), ("2024-05-31 23:10:00", 83400), ("", None)]
)
def test_labels_say_when_a_video_begins(tmp_path: Path, said: str, seconds: float | None) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(f"video,label,start\na.mp4,normal,{said}\n")
    assert read_labels(table)["a.mp4"].start == seconds


@pytest.mark.parametrize("said", ["25:00", "noon", "9:", ":5", "2024-05-31", "2024-05-31 23:10:00+02:00"])
def test_what_is_no_time_is_refused_with_its_line(tmp_path: Path, said: str) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(f"video,label,start\na.mp4,normal,{said}\n")
    with pytest.raises(LabelError, match=r"line 2: start .* time"):
        read_labels(table)


def test_the_command_keeps_thresholds_by_camera(
    tiny_store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tiny_store({f"{group}/{i}": 40 for group in ("gate", "yard") for i in range(3)} | {"door/0": 4})
    torch.manual_seed(0)
    path, table = tmp_path / "best.pt", tmp_path / "labels.csv"
    model = LinearProbe(16, store.recipe["views"])
    save_checkpoint(path, Checkpoint.of(model, store.recipe, {}, {"train_videos": []}))
    rows = [f"{video},normal,val" for video in store.videos()]
    table.write_text("\n".join(["video,label,split", *rows]))
    options = ("--checkpoint", path, "--features", store.root, "--labels", table, "--device", "cpu")
    code = run_main("calibrate", *options, "--by", "group", "-o", "data.group=folder", "--json")
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert "the common threshold stays where there is too little footage: camera 'door'" in printed.err
    said = json.loads(printed.out)
    kept = load_checkpoint(path).provenance["threshold"]["by"]
    assert [cell["threshold"] for cell in said["by"]] == [cell["value"] for cell in kept]
    cameras = Cameras(load_checkpoint(path), CPU)
    assert cameras.rule("gate").rule.threshold == kept[1]["value"]
    assert cameras.rule("door") == cameras.rule(None)
    assert cameras.of("gate").sha256 == cameras.of(None).sha256  # scores are the same
    told = cameras.told(["gate", "door"])
    assert told[0].startswith("camera 'gate', 1 videos: the common detector, score of")
    assert told[1] == "1 videos (of 'door'): the common detector and threshold"
