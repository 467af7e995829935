"""Labels from annotation tools and for them: files as their documentation shows them."""

import json
import threading
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from helpers.commands import Result
from helpers.stores import META, RECIPE, features, jittered
from helpers.videos import made_with_av

from ssrl_pipeline.data.labels import Label, read_intervals, read_labels
from ssrl_pipeline.data.resolve import Annotations
from ssrl_pipeline.errors import LabelError
from ssrl_pipeline.features.opening import create_store, open_store
from ssrl_pipeline.settings import DataSettings
from ssrl_pipeline.teaching.exchange import export_labels, import_labels
from ssrl_pipeline.teaching.formats import tables
from ssrl_pipeline.teaching.formats.choose import FORMATS
from ssrl_pipeline.teaching.formats.tables import Imported
from ssrl_pipeline.times import FrameTimes

DATA = DataSettings(features="features", labels="labels.csv")
TRACK = '<box frame="{}" outside="{}" keyframe="1" occluded="0" xtl="0" ytl="0" xbr="9" ybr="9"/>'


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """gate/a.mp4, b.mp4 and jitter.mp4 of 40 frames, the last at uneven times with a pause."""
    monkeypatch.chdir(tmp_path)
    made = create_store(tmp_path / "features", RECIPE, "float32")
    for video, stamps in (("gate/a.mp4", None), ("b.mp4", None), ("jitter.mp4", jittered())):
        with made.writer(video) as writer:
            writer.append(features(1.0))
            writer.meta, writer.stamps = META, stamps  # 12.5 frames a second


def written(content: Any, name: str = "file.json") -> Path:
    Path(name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return Path(name)


def task(
    *ranges: tuple[int, int], video: str = "/data/upload/3/0a1b2c3d-a.mp4", **data: Any
) -> dict[str, Any]:
    results = [
        {
            **{
                "id": f"r{start}",
                "type": "timelinelabels",
                "from_name": "timelineLabels",
                "to_name": "video",
            },
            "value": {"ranges": [{"start": start, "end": end}], "timelinelabels": ["Fight"]},
        }
        for start, end in ranges
    ]
    annotation = {"id": 1, "was_cancelled": False, "ground_truth": False, "result": results}
    return {"id": 7, "data": {"video": video, **data}, "annotations": [annotation], "predictions": []}


def track(*boxes: tuple[int, int], size: int = 40, extra: str = "") -> str:
    shapes = "".join(TRACK.format(*box) for box in boxes)
    return (
        f"<annotations><version>1.1</version><meta><task><id>3</id><name>a</name><size>{size}</size>"
        f"<mode>interpolation</mode><start_frame>0</start_frame><stop_frame>{size - 1}</stop_frame>{extra}"
        f'</task></meta><track id="0" label="fight" source="manual">{shapes}</track></annotations>'
    )


VIA = """# Exported using VGG Image Annotator (http://www.robots.ox.ac.uk/~vgg/software/via)
# - temporal coordinate of [4.633] denotes a still video frame at 4.633 sec.
# ATTRIBUTE = {"1":{"aname":"what","options":{"0":"fight","1":"normal"}}}
# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata
"1_a","[""a.mp4""]",0,"[0.8,1.6]","[]","{""1"":""0""}"
"1_b","[""a.mp4""]",0,"[2.419]","[2,1.5,1.5,9,9]","{""1"":""0""}"
"1_c","[""b.mp4""]",0,"[0,3.2]","[]","{""1"":""1""}"
"""


@pytest.mark.parametrize(
    ("name", "content", "fps"),
    [
        ("ls.json", [task((11, 20), fps=12.5), task(video="s3://bucket/b.mp4", fps=12.5)], None),
        ("ls.json", [task((11, 20)), task(video="/data/local-files/?d=videos/b.mp4")], 12.5),
        ("via.csv", VIA, None),
        (
            "net.json",
            {
                "version": "VERSION 1.3",
                "database": {
                    "v_a": {"duration": 3.2, "annotations": [{"segment": [0.8, 1.6], "label": "Fight"}]},
                    "b": {"duration": 3.2, "annotations": []},
                },
            },
            None,
        ),
        (
            "fo.json",
            {"classes": ["x", "y"], "labels": {"a": [{"label": 1, "support": [11, 20]}], "b": None}},
            None,
        ),
        ("fo.json", {"labels": {"a": [{"label": "y", "timestamps": [0.8, 1.6]}], "b": []}}, None),
    ],
)
def test_files_as_the_tools_document_them(name: str, content: Any, fps: float | None) -> None:
    found = import_labels([written(content, name)], DATA, fps=fps)
    expected = {"gate/a.mp4": Label(True, None), "b.mp4": Label(False, None)}
    assert found == Imported(expected, {"gate/a.mp4": [(10, 20)]}, [])


def test_tracks_of_cvat_end_where_they_go_outside() -> None:
    path = written(track((5, 0), (9, 0), (12, 1), (20, 0), extra="<source>gate/a.mp4</source>"), "a.xml")
    assert import_labels([path], DATA).intervals == {"gate/a.mp4": [(5, 12), (20, 40)]}


def test_only_the_labels_that_count_do_and_overlapping_ranges_are_one() -> None:
    said: list[str] = []
    path = written([task((5, 10), (8, 20), (30, 40), fps=12.5)])
    assert import_labels([path], DATA, note=said.append).intervals == {"gate/a.mp4": [(4, 20), (29, 40)]}
    assert said == ["gate/a.mp4: 3 ranges overlap, and are 2 intervals"]
    assert import_labels([path], DATA, abnormal=("theft",)).intervals == {}


def test_the_ground_truth_counts_else_the_latest_that_was_not_cancelled() -> None:
    one = task((1, 2), fps=12.5)
    later, cancelled = (task(pair, fps=12.5)["annotations"][0] for pair in ((3, 4), (5, 6)))
    one["annotations"] += [
        later | {"updated_at": "2026"},
        cancelled | {"was_cancelled": True, "updated_at": "2027"},
    ]
    assert import_labels([written([one])], DATA).intervals == {"gate/a.mp4": [(2, 4)]}
    one["annotations"][0]["ground_truth"] = True
    assert import_labels([written([one])], DATA).intervals == {"gate/a.mp4": [(0, 2)]}


@pytest.mark.parametrize(
    ("name", "content", "mentions"),
    [
        ("a.json", [task((11, 20))], "does not say by which rate"),
        ("a.json", [task((11, 20), fps=24)], "counted at 24 a second, the video has 12.5"),
        ("a.json", [task((11, 41), fps=12.5)], "range 10 to 41 does not lie in its 40 frames"),
        ("a.json", [task((0, 4), fps=12.5)], "counts frames from 1"),
        ("a.json", [task((1, 4), video="other.mp4", fps=12.5)], "other.mp4: no such video among 3"),
        (
            "a.json",
            [task((1, 2), fps=12.5), task((3, 4), fps=12.5)],
            "a.json, task 1 has labelled",
        ),
        ("a.json", [{"video": "a.mp4"}], "not JSON-MIN"),
        ("a.json", "[1", "not as"),
        (
            "a.json",
            {"database": {"a": {"duration": 9.0, "annotations": []}}},
            "9 s long there, and 3.2 s in truth",
        ),
        (
            "a.json",
            {"database": {"a": {"annotations": [{"segment": [2, 1], "label": "x"}]}}},
            "range 2 to 1 s",
        ),
        ("a.json", {"labels": {"a": [{"label": "x", "support": [0, 4]}]}}, "counts frames from 1"),
        ("a.json", {"labels": {"a": [{"label": "x"}]}}, "no 'support'"),
        ("a.xml", track((5, 0), size=41), "the tool counted 41 frames, the video has 40"),
        ("a.xml", track((5, 0), extra="<frame_filter>step=5</frame_filter>"), "frame filter 'step=5'"),
        ("a.xml", "<annotations><image/></annotations>", "CVAT for images"),
        ("a.xml", "<annotations>", "not readable as XML"),
        ("a.xml", '<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>', "document type"),
        ("a.xml", "<a>" * 200, "nested too deep"),
        ("a.xml", '<?xml version="1.0" encoding="none"?><a/>', "not "),
        ("a.json", '{"database": {"a": {"duration": NaN, "annotations": []}}}', "duration nan"),
        ("a.json", [task((1, 2), fps=float("nan"))], "fps nan"),
        ("a.json", [task((10**400, 10**401), fps=25)], "range 9999"),
        ("a.json", {"labels": {"a": [{"label": None, "support": [1, 4]}]}}, "range 0 to 4, None"),
        ("a.csv", VIA.replace('""a.mp4""', "1"), "video 1"),
        ("a.csv", VIA + "x" * 200_000, "field larger than"),
        ("a.csv", VIA.replace("[0.8,1.6]", "[0.8,9.6]"), "does not lie in its 40 frames"),
        ("a.csv", VIA.replace("[0.8,1.6]", "[0.8,"), "is not JSON"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, content: Any, mentions: str) -> None:
    try:
        problems = import_labels([written(content, name)], DATA).problems
    except LabelError as error:
        problems = [str(error)]
    assert [name in problem and mentions in problem for problem in problems] == [True], problems


def test_of_frames_at_uneven_times_a_line_says_that_they_may_be_counted_as_even() -> None:
    said: list[str] = []
    found = import_labels([written([task((3, 9), video="jitter.mp4", fps=12.5)])], DATA, note=said.append)
    assert list(found.labels) == ["jitter.mp4"] and "uneven times" in said[0]


@pytest.mark.parametrize("seconds", [(700.0, 701.0), (1.0, 700.0)])
def test_seconds_behind_uneven_frames_are_refused(seconds: tuple[float, float]) -> None:
    """The last of jitter.mp4 ends at 603.3 s."""
    said = {"database": {"jitter": {"annotations": [{"segment": seconds, "label": "x"}]}}}
    (problem,) = import_labels([written(said)], DATA).problems
    assert "does not lie in its 40 frames, which last until 603" in problem
    written("video,start,end\njitter.mp4,{}s,{}s\n".format(*seconds), "intervals.csv")
    with pytest.raises(LabelError, match=r"intervals.csv, line 2: .* does not lie in 'jitter.mp4'"):
        Annotations(DataSettings(intervals="intervals.csv"), open_store("features")).intervals  # noqa: B018


@pytest.mark.parametrize(
    ("label", "mentions"), [("abnormal", "interval ends at 41"), ("normal", "labelled normal, but has")]
)
def test_labels_that_contradict_the_videos_do_not_go_out(label: str, mentions: str) -> None:
    written(f"video,label\njitter.mp4,{label}\n", "labels.csv")
    written("video,start,end\njitter.mp4,3,41\nb.mp4,1,2\n", "intervals.csv")
    said: list[str] = []
    with pytest.raises(LabelError, match=mentions):
        export_labels(DATA, Path("out.csv"), "via", note=said.append)
    assert said == ["b.mp4: has intervals, but no label: it is left out"]


def test_frames_of_another_rate_by_their_times() -> None:
    path = written([task((25, 48), fps=25)])  # 0.96 to 1.92 s
    assert import_labels([path], DATA, by_time=True).intervals == {"gate/a.mp4": [(12, 24)]}


@pytest.mark.parametrize("counts", ["cvat", "label-studio"])
def test_frames_of_another_count_need_a_rate_to_be_times(counts: str) -> None:
    """80 frames for the video's 40: at twice its rate, which the file does not tell."""
    counted = task((21, 30))
    counted["annotations"][0]["result"][0]["value"]["framesCount"] = 80
    path = written(track((20, 0), (30, 1), size=80), "a.xml") if counts == "cvat" else written([counted])
    (problem,) = import_labels([path], DATA, by_time=True).problems
    assert "does not say by which rate frames were counted; give --fps" in problem
    assert import_labels([path], DATA, fps=25, by_time=True).intervals == {"gate/a.mp4": [(10, 15)]}


def test_frames_that_agree_are_the_videos_whatever_rate_is_said() -> None:
    """As where one of several videos was labelled at another rate."""
    path = written(track((20, 0), (30, 1)), "a.xml")
    assert import_labels([path], DATA, fps=25, by_time=True).intervals == {"gate/a.mp4": [(20, 30)]}


INTERVALS = {"gate/a.mp4": [(0, 7), (16, 33)], "b.mp4": [(39, 40)], "jitter.mp4": [(3, 20), (20, 40)]}


@pytest.mark.parametrize("kind", FORMATS)
def test_round_trips_are_exact(kind: str, run: Callable[..., Result]) -> None:
    """By the commands alone, into the tables that were exported: no byte of them changes."""
    labels = (
        "video,label,split,group,who\njitter.mp4,abnormal,train,yard,ana\n# mine\nb.mp4,Abnormal,test,,\n"
        "gate/a.mp4,abnormal,,gate,\nelsewhere.mp4,normal,val,,\n"
    )
    rows = [f"{video},{start},{end}" for video, pairs in INTERVALS.items() for start, end in reversed(pairs)]
    intervals = "\n".join(["video,start,end", *rows, "elsewhere.mp4,3,4", ""])
    written(labels.replace("elsewhere.mp4,normal,val,,\n", ""), "labels.csv")
    written(intervals, "intervals.csv")
    name = {"via": "out/via.csv", "cvat": "out"}.get(kind, "out/tool.json")
    assert run("labels", "export", "--to", kind, "--out", name).code == 0
    written(labels, "labels.csv")
    done = run("labels", "import", "out", "--from", kind, "--update", "--fps", 12.5)
    assert done.code == 0, done.err
    assert Path("labels.csv").read_text() == labels and Path("intervals.csv").read_text() == intervals
    fresh = run("labels", "import", "out", "--from", kind, "--out", "new", "--fps", 12.5)
    assert fresh.code == 0, fresh.err
    made = {video: sorted(pairs) for video, pairs in read_intervals(Path("new/intervals.csv")).items()}
    assert made == INTERVALS


def test_tables_are_updated_where_a_file_says_something_else(run: Callable[..., Result]) -> None:
    written("video;label;split;note\nb.mp4;abnormal;test;dusk\njitter.mp4;abnormal;;\n", "labels.csv")
    written("video,start,end\nb.mp4,1,2\njitter.mp4,5,6\nb.mp4,7,8\n", "intervals.csv")
    written([task(video="b.mp4", fps=12.5)], "b.json")
    one, two = written([task((11, 20), fps=12.5)], "a.json"), Path("b.json")
    refused = run("labels", "import", one, two)
    assert refused.code == 2 and "--update" in refused.err
    assert run("labels", "import", one, two, "--update").code == 0
    assert Path("labels.csv").read_text() == (
        "video;label;split;note\nb.mp4;normal;test;dusk\njitter.mp4;abnormal;;\ngate/a.mp4;abnormal\n"
    )
    assert Path("intervals.csv").read_text() == "video,start,end\njitter.mp4,5,6\ngate/a.mp4,10,20\n"


def test_imports_at_the_same_time_lose_nothing() -> None:
    """Each looks at the tables of the one before it, though both began together."""
    together, read = threading.Barrier(2), tables.changed_table

    def slow(*arguments: Any) -> bytes:
        content = read(*arguments)
        time.sleep(0.1)  # long enough for the other to read what this one is about to replace
        return content

    def update(video: str) -> None:
        together.wait()
        tables.write_tables(Imported({video: Label(False, None)}, {}, []), Path(), update=True)

    written("video,label\njitter.mp4,normal\n", "labels.csv")
    written("video,start,end\n", "intervals.csv")
    with mock.patch.object(tables, "changed_table", slow), ThreadPoolExecutor(2) as pool:
        list(pool.map(update, ("b.mp4", "gate/a.mp4")))
    assert sorted(read_labels(Path("labels.csv"))) == ["b.mp4", "gate/a.mp4", "jitter.mp4"]
    assert not list(Path().glob(".*.lock"))


def test_both_tables_are_written_or_neither(run: Callable[..., Result]) -> None:
    path = written([task((11, 20), fps=12.5)])
    Path("intervals.csv").mkdir()
    assert run("labels", "import", path, "--overwrite").code == 1
    assert not Path("labels.csv").exists()
    Path("intervals.csv").rmdir()
    labels = written("video,label\nb.mp4,normal\n", "labels.csv").read_text()
    written("nonsense\n", "intervals.csv")
    refused = run("labels", "import", path, "--update")
    assert refused.code == 1 and "intervals.csv, line 1" in refused.err
    assert Path("labels.csv").read_text() == labels
    assert run("labels", "import", path, "--update", "--overwrite").code == 2


def zipped(name: str, **members: str) -> Path:
    with zipfile.ZipFile(name, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(f"{member}.xml", content)
    return Path(name)


def test_archives_of_cvat_are_read_and_nothing_else_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped("task.zip", **{"annotations": track((5, 0), (9, 1)), "../../outside": "x"})
    assert import_labels([path], DATA).intervals == {"gate/a.mp4": [(5, 9)]}
    assert not list(tmp_path.parent.glob("outside*"))
    with pytest.raises(LabelError, match=r"none.zip: holds no annotations.xml; export from CVAT"):
        import_labels([zipped("none.zip", other="x")], DATA)
    with pytest.raises(LabelError, match=r"torn.zip: cannot be read as an archive"):
        import_labels([written("PK", "torn.zip")], DATA)
    monkeypatch.setattr("ssrl_pipeline.teaching.formats.files.MOST_BYTES", 1000)
    with pytest.raises(LabelError, match=r"bomb.zip: .* at most"):
        import_labels([zipped("bomb.zip", annotations=" " * 2000)], DATA)
    with pytest.raises(LabelError, match=r"large.json: .* at most"):
        import_labels([written(" " * 2000, "large.json")], DATA)


def test_a_folder_stands_for_the_files_of_tools_below_it() -> None:
    Path("in/deep").mkdir(parents=True)
    with pytest.raises(LabelError, match=r"in: holds no file that ends in \.json"):
        import_labels([Path("in")], DATA)
    written([task((11, 20), fps=12.5)], "in/ls.json")
    written(VIA.replace("a.mp4", "b.mp4").replace("[0,3.2]", "[0,1.6]"), "in/deep/b.CSV")
    written("no table", "in/labels.csv")
    written("no file", "in/.hidden.json")
    assert import_labels([Path("in")], DATA).intervals == {"gate/a.mp4": [(10, 20)], "b.mp4": [(10, 20)]}


def test_fiftyone_knows_videos_without_their_endings_and_labels_by_number(
    tmp_path: Path, run: Callable[..., Result]
) -> None:
    """As its FiftyOneTemporalDetectionDataset documents."""
    written("video,label\nb.mp4,normal\ngate/a.mp4,abnormal\n", "labels.csv")
    written("video,start,end\ngate/a.mp4,10,20\n", "intervals.csv")
    (path,) = export_labels(DATA, Path("fo.json"), "fiftyone")
    assert json.loads(path.read_text()) == {
        "classes": ["abnormal"],
        "labels": {"b": None, "gate/a": [{"label": 0, "support": [11, 20]}]},
    }
    store = open_store("features")
    for video in ("door/a.mp4", "gate/a.avi"):
        with store.writer(video) as writer:
            writer.append(features(1.0))
            writer.meta = META
    written({"labels": {"door/a": [{"label": "x", "support": [1, 4]}]}})
    assert list(import_labels([Path("file.json")], DATA).labels) == ["door/a.mp4"]
    before = {"labels": {"gate/a.mp4": [{"label": "x", "support": [1, 4]}]}}
    assert list(import_labels([written(before)], DATA).labels) == ["gate/a.mp4"]
    written("video,label\ngate/a.avi,normal\ngate/a.mp4,normal\n", "labels.csv")
    Path("intervals.csv").unlink()
    with pytest.raises(LabelError, match=r"gate/a.avi and gate/a.mp4 are both 'gate/a' to FiftyOne"):
        export_labels(DATA, Path("fo.json"), "fiftyone")


def test_a_video_of_no_known_rate_has_no_length_in_activitynets() -> None:
    with open_store("features").writer("still.mp4") as writer:
        writer.append(features(1.0))
        writer.meta = replace(META, fps=0.0)
    written("video,label\nstill.mp4,normal\n", "labels.csv")
    (path,) = export_labels(DATA, Path("net.json"), "activitynet")
    assert json.loads(path.read_text())["database"] == {"still.mp4": {"annotations": []}}
    assert import_labels([path], DATA).labels == {"still.mp4": Label(False, None)}


def test_a_normal_video_stays_one_in_every_format() -> None:
    written("video,label\nb.mp4,normal\ngate/a.mp4,normal\n", "labels.csv")
    for kind in FORMATS:
        found = [import_labels([path], DATA, kind) for path in export_labels(DATA, Path(f"out.{kind}"), kind)]
        labels = {video: label for one in found for video, label in one.labels.items()}
        assert labels == {"b.mp4": Label(False, None), "gate/a.mp4": Label(False, None)}, kind


def test_commands_write_tables_or_nothing(run: Callable[..., Result]) -> None:
    path = written([task((11, 20), fps=12.5), task((1, 2), video="b.mp4", fps=25)])
    refused = run("labels", "import", path)
    assert refused.code == 1 and "the video has 12.5" in refused.err
    assert not Path("labels.csv").exists()
    assert run("labels", "import", path, "--skip").code == 1
    assert read_labels(Path("labels.csv")) == {"gate/a.mp4": Label(True, None)}
    assert read_intervals(Path("intervals.csv")) == {"gate/a.mp4": [(10, 20)]}
    again = run("labels", "import", path, "--skip")
    assert again.code == 2 and "--overwrite" in again.err
    exported = run("labels", "export", "--to", "label-studio", "--out", "tasks.json")
    assert exported.code == 0
    ranges = json.loads(Path("tasks.json").read_text())[0]["annotations"][0]["result"][0]["value"]["ranges"]
    assert ranges == [{"start": 11, "end": 20}]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("b.mp4,0.8,1.6", (10, 20)),
        ("b.mp4,0:00.8,0:01.6", (10, 20)),
        ("b.mp4,1s,2s", (12, 25)),
        ("jitter.mp4,0.05,0.5", (0, 6)),
        ("b.mp4,10,20", (10, 20)),
    ],
)
def test_intervals_in_seconds(row: str, expected: tuple[int, int]) -> None:
    written(f"video,start,end\n{row}\n", "intervals.csv")
    intervals = Annotations(DataSettings(intervals="intervals.csv"), open_store("features")).intervals
    assert intervals == {row.split(",")[0]: [expected]}


@pytest.mark.parametrize(
    ("row", "mentions"),
    [("b.mp4,1.0,2.0", "frames or seconds"), ("c.mp4,0.5,2.5", "c.mp4"), ("b.mp4,2.5,1s", "no int")],
)
def test_times_that_are_in_doubt_are_refused(row: str, mentions: str) -> None:
    written(f"video,start,end\n{row}\n", "intervals.csv")
    with pytest.raises(LabelError, match=mentions):
        Annotations(DataSettings(intervals="intervals.csv"), open_store("features")).intervals  # noqa: B018


def test_times_of_frames_there_and_back() -> None:
    for times in (FrameTimes(12.5), FrameTimes(30000 / 1001), FrameTimes(12.5, jittered())):
        edges = np.arange(40)
        starts, ends = times.start_of(edges), times.end_of(edges)
        assert [times.frame_at(round(t, 3)) for t in starts.tolist()] == edges.tolist()
        assert [times.frames_before(round(t, 3)) for t in ends.tolist()] == (edges + 1).tolist()


def test_without_features_the_videos_themselves_are_counted(tmp_path: Path) -> None:
    (tmp_path / "videos" / "gate").mkdir(parents=True)
    made_with_av(tmp_path / "videos" / "gate" / "c.mp4", "mpeg4")  # 60 frames, 25 a second
    data = DataSettings(features="none", videos="videos")
    right = {"database": {"c": {"duration": 2.4, "annotations": [{"segment": [1.0, 2.0], "label": "x"}]}}}
    assert import_labels([written(right)], data).intervals == {"gate/c.mp4": [(25, 50)]}
    wrong = written(track((5, 0), size=48, extra="<source>c.mp4</source>"), "a.xml")  # as at 20 a second
    assert "counted 48 frames, the video has 60" in import_labels([wrong], data).problems[0]
