"""Files of cameras: what they mean, and what is said of each kind of fault."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ssrl_pipeline.config import load_config
from ssrl_pipeline.errors import CheckpointError, ConfigError
from ssrl_pipeline.settings import CAMERA_SECTIONS, Settings
from ssrl_pipeline.watching.cameras.camera_file import (
    CameraEntry,
    CameraFile,
    CameraFileError,
    is_camera_file,
    read_camera_file,
)
from ssrl_pipeline.watching.cameras.masks import Zone

TEMPLATE = Path(__file__).parents[3] / "docs" / "cameras.yaml"
SECRET = "p#ss/w@rd"


def views(checkpoint: Path | None) -> Mapping[str, int]:
    if checkpoint and checkpoint.name != "best.pt":
        raise CheckpointError(f"{checkpoint}: no such checkpoint")
    return {"clip": 1, "patch2x3": 6}


def receiver(name: str, options: Mapping[str, Any]) -> None:
    if options.get("type") not in ("webhook", "program"):
        raise ConfigError(f"type is webhook or program, not {options.get('type')!r}")


def read(path: Path) -> CameraFile:
    return read_camera_file(path, receiver, views)


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATE_PASSWORD", SECRET)
    monkeypatch.setenv("NTFY_TOPIC", "topic-7")
    monkeypatch.delenv("MISSING", raising=False)
    Path("token").write_text("t0ken\n", "utf-8")


def test_the_template_means_what_it_says() -> None:
    file = read(TEMPLATE)
    gate, yard = file.cameras
    assert gate.source.address == "rtsp://guard:p%23ss%2Fw%40rd@gate.example/stream"
    assert (gate.source.name, gate.source.kind) == ("gate", "stream")
    assert (gate.checkpoint, gate.threshold, gate.receivers) == (Path("runs/gate/best.pt"), 0.6, ("phone",))
    assert gate.sight.masks == (((0, 0), (1, 0), (1, 0.2), (0, 0.25)),)
    assert [zone.name for zone in gate.sight.zones] == ["door", "bicycles"]
    assert gate.sight.zones[0] == Zone("door", ((0.4, 0.35), (0.6, 0.35), (0.6, 0.9), (0.4, 0.9)))
    assert gate.hours
    times = {"2024-01-02T06:30": True, "2024-01-02T12:00": False, "2024-01-06T12:00": True}
    zone = ZoneInfo("Europe/Berlin")
    held = {text: gate.hours.hold(datetime.fromisoformat(text).replace(tzinfo=zone)) for text in times}
    assert held == times
    assert yard == CameraEntry(yard.source) and yard.source.address == "rtsp://yard.example/stream"
    assert file.receivers["phone"]["url"] == "https://ntfy.example/topic-7"
    assert SECRET not in repr(file) and "topic-7" not in repr(file)
    settings = load_config(Settings, TEMPLATE, [], {}, CAMERA_SECTIONS)
    assert settings.watch.timeout == 15 and file.others["watch"] == {"timeout": 15}
    assert settings.page.address == file.others["page"]["address"] == "127.0.0.1:8000"
    assert is_camera_file(TEMPLATE) and not is_camera_file(TEMPLATE.parents[1] / "configs" / "demo.yaml")


def write(text: str) -> Path:
    path = Path("c.yaml")
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(
    ("written", "filled"),
    [
        ("rtsp://u:${GATE_PASSWORD}@h/${NTFY_TOPIC}", "rtsp://u:p%23ss%2Fw%40rd@h/topic-7"),
        ("rtsp://${NTFY_TOPIC}:${file:token}@h/x", "rtsp://topic-7:t0ken@h/x"),
        ("http://h/x?key=${GATE_PASSWORD}", f"http://h/x?key={SECRET}"),
        ("http://h/$${GATE_PASSWORD}/$$5", "http://h/${GATE_PASSWORD}/$5"),
    ],
)
def test_secrets_come_from_the_environment_or_a_file(written: str, filled: str) -> None:
    (entry,) = read(write(f'cameras: {{a: "{written}"}}')).cameras
    assert entry.source.address == filled
    assert "topic-7" not in entry.source.shown and "t0ken" not in entry.source.shown


CAMERA = "cameras:\n  gate:\n    source: rtsp://h/x\n    "


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("cameras: [a\n", "c.yaml, line 2: "),
        ("cameras:\n  a: &x rtsp://h\n  b: *x\n", "c.yaml, line 3: aliases"),
        ("cameras:\n\ta: rtsp://h/x\n", "c.yaml, line 2: a tab"),
        ("cameras:\n  a:\n    source: 0\n   threshold: 1\n", "c.yaml, line 4: indented otherwise"),
        ("cameras:\n  a: 'rtsp://h\n  b: 0\n", "c.yaml, line 2: a quote that is not closed"),
        ("cameras:\n  a: 0\n---\ncameras: {}\n", "c.yaml, line 3: expected a single document"),
        ("cameras:\n  a: !!int x\n", "c.yaml, line 2: invalid literal"),
        ("cameras:\n  a: !!python/name:os.system 0\n", "c.yaml, line 2: could not determine a constructor"),
        ("cameras:\n  a: rtsp://h/\x07\n", "c.yaml, line 2: a character that no text has, '\\x07'"),
        (f"cameras: {'[' * 2000}{']' * 2000}", "c.yaml, line 1: nested too deep"),
        ("cameras:\n  a:\n", "c.yaml, line 2, camera a: the camera is not a mapping"),
        ("cameras:\n  ..: 0\n", "c.yaml, line 2, camera ..: its name is of letters"),
        (f"cameras:\n  {'a' * 101}: 0\n", f"c.yaml, line 2, camera {'a' * 101}: its name is of letters"),
        ("cameras:\n  a: rtsp://u:${GATE_PASSWORD@h\n", "c.yaml, line 2, camera a: ${ has no }"),
        (
            "cameras:\n  a: rtsp://h:99999/x\n",
            "c.yaml, line 2, camera a: rtsp://h:99999/x: a port is a number",
        ),
        (
            "cameras:\n  a: rtsp://u:${GATE_PASSWORD}@:554/x\n",
            "c.yaml, line 2, camera a: rtsp://***@:554/x: there is no host",
        ),
        ("a: 1\n", "c.yaml, line 1: no cameras"),
        ("- a\n", "c.yaml, line 1: the file is not a mapping"),
        ("watch: {}\ncameras: gate\n", "c.yaml, line 2: cameras is not a mapping"),
        (f"{CAMERA}sauce: 3", "c.yaml, line 4, camera gate: unknown key 'sauce'; did you mean 'source'?"),
        (
            "cameras:\n  gate: rtsp://h/x\n  gate: rtsp://h/y\n",
            "c.yaml, line 3: 'gate' is there already, in line 2",
        ),
        (f"{CAMERA}source: 0", "c.yaml, line 4, camera gate: 'source' is there already, in line 3"),
        ("cameras:\n  gate:\n    threshold: 1\n", "c.yaml, line 2, camera gate: no source"),
        ("cameras:\n  gate: true\n", "c.yaml, line 2, camera gate: the camera is not a mapping"),
        ("cameras:\n  a/b: 0\n", "c.yaml, line 2, camera a/b: its name is of letters"),
        (
            "cameras:\n  gate: gopher://u:${GATE_PASSWORD}@h\n",
            "c.yaml, line 2, camera gate: gopher://***@h: add",
        ),
        ("cameras:\n  gate: gone.mp4\n", "c.yaml, line 2, camera gate: gone.mp4: no such file"),
        ("cameras:\n  gate: {source: [1]}\n", "c.yaml, line 2, camera gate: source is an address"),
        (
            "cameras:\n  gate: rtsp://u:${MISSING}@h\n",
            "c.yaml, line 2, camera gate: ${MISSING}: the environment",
        ),
        (
            "cameras:\n  gate: rtsp://${file:no}@h\n",
            "c.yaml, line 2, camera gate: ${file:no}: the file cannot be",
        ),
        (f"{CAMERA}checkpoint: gone.pt", "c.yaml, line 4, camera gate: gone.pt: no such checkpoint"),
        (f"{CAMERA}checkpoint: 7", "c.yaml, line 4, camera gate: checkpoint 7 is no path"),
        (
            f"{CAMERA}threshold: 1.5",
            "c.yaml, line 4, camera gate: threshold is more than 0 and at most 1, not 1.5",
        ),
        (f"{CAMERA}threshold: high", "c.yaml, line 4, camera gate: threshold is more than 0"),
        (f"{CAMERA}masks: 3", "c.yaml, line 4, camera gate: masks is a list of polygons"),
        (
            f"{CAMERA}masks:\n    - [[0, 0], [1, 1]]",
            "c.yaml, line 5, camera gate: mask 1 is three or more corners",
        ),
        (
            f"{CAMERA}masks: [[[0, 0], [1, x], [1, 1]]]",
            "c.yaml, line 4, camera gate: mask 1 is three or more",
        ),
        (
            f"{CAMERA}masks: [[[0, 0], [1.2, 0], [1, 1]]]",
            "c.yaml, line 4, camera gate: mask 1: corner [1.2, 0.0] is",
        ),
        (
            f"{CAMERA}masks: [[[0, 0], [1, 1], [0.5, 0.5]]]",
            "c.yaml, line 4, camera gate: mask 1 encloses nothing",
        ),
        (
            f"{CAMERA}masks: [[[0, 0], [1, 0], [1, 1], [0, 1]]]",
            "c.yaml, line 2, camera gate: masks leave no patch of patch2x3",
        ),
        (
            f"{CAMERA}masks: [[0, 0], [1, 1], [0, 1]]",
            "c.yaml, line 4, camera gate: masks is a list of polygons,",
        ),
        (
            f"{CAMERA}zones: {{'': [[0, 0], [1, 1], [0, 1]]}}",
            "c.yaml, line 4, camera gate: a zone has no name",
        ),
        (f"{CAMERA}zones: [1]", "c.yaml, line 4, camera gate: zones is not a mapping"),
        (f"{CAMERA}zones:\n      door: 5", "c.yaml, line 5, camera gate: zone door is three or more corners"),
        (f"{CAMERA}hours: 8-17", "c.yaml, line 4, camera gate: hours: '8-17' is no span"),
        (f"{CAMERA}hours: {{mo: 08:00-09:00}}", "c.yaml, line 4, camera gate: hours: 'mo' is no day"),
        (
            f"{CAMERA}receivers: [phone]",
            "c.yaml, line 4, camera gate: there is no receiver 'phone'; there are none",
        ),
        (f"{CAMERA}timezone: 5\ntimezone: Mars/Base", "c.yaml, line 5: timezone 'Mars/Base' is not known"),
        (f"receivers:\n  a: {{type: pigeon}}\n{CAMERA}", "c.yaml, line 2: receiver a: type is webhook or"),
        (f"receivers:\n  a: {{}}\n{CAMERA}", "c.yaml, line 2: receiver a: type is webhook or"),
        (
            f"receivers:\n  a: {{type: program, cameras: [gate, yard]}}\n{CAMERA}",
            "c.yaml, line 2: receiver a: there is no camera 'yard'; there are gate",
        ),
        (f"receivers: 3\n{CAMERA}", "c.yaml, line 1: receivers is not a mapping"),
        (
            f"receivers:\n  a: {{type: webhook, url: '${{MISSING}}'}}\n{CAMERA}",
            "c.yaml, line 2: receiver a: ${MISSI",
        ),
    ],
)
def test_each_kind_of_fault_is_told_with_its_place(text: str, fault: str) -> None:
    with pytest.raises(CameraFileError) as error:
        read(write(text))
    found = [line for line in error.value.faults if line.startswith(fault)]
    assert len(found) == 1, error.value.faults
    assert "\n" not in found[0]
    for secret in (SECRET, "p%23ss%2Fw%40rd"):
        assert secret not in str(error.value) + "".join(error.value.faults)


def test_a_file_that_cannot_be_read_is_one_fault() -> None:
    with pytest.raises(CameraFileError, match=r"gone\.yaml: No such file"):
        read(Path("gone.yaml"))
    with pytest.raises(CameraFileError, match=r"\.: Is a directory"):
        read(Path())
    for raw, line in ((b"a: 0\nb: T\xfcr\n", 2), ("cameras: {}".encode("utf-16"), 1)):
        Path("c.yaml").write_bytes(raw)
        with pytest.raises(CameraFileError, match=rf"c\.yaml, line {line}: no text in UTF-8"):
            read(Path("c.yaml"))
    with Path("c.yaml").open("wb") as file:
        file.truncate(1 << 40)  # none of it is read
    with pytest.raises(CameraFileError, match=r"c\.yaml: 1099511627776 bytes are too many"):
        read(Path("c.yaml"))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("camerras: {}\n", "c.yaml, line 1: unknown key 'camerras'; did you mean 'cameras'?"),
        ("cameras: {a: 0}\nwatch:\n  windo: 3\n", "c.yaml, line 3: unknown key 'watch.windo'; did you mean"),
        (
            "cameras: {a: 0}\nwatch: {window: many}\n",
            "c.yaml, line 2: watch.window: 'many' is not of type int",
        ),
        ("cameras: {a: 0}\nalarms:\n  longest: 0\n", "c.yaml, line 2: alarms: "),
        ("cameras:\n\ta: 0\n", "c.yaml, line 2: not readable as YAML: a tab"),
    ],
)
def test_faults_of_settings_have_their_place_too(text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(Settings, write(text), ["watch.delay=1"], {}, CAMERA_SECTIONS)
    assert str(error.value).startswith(fault)


def test_a_fault_of_the_command_line_is_not_the_files() -> None:
    with pytest.raises(ConfigError, match=r"^watch\.window: 'many'"):
        load_config(Settings, write("watch: {delay: 1}\n"), ["watch.window=many"], {}, CAMERA_SECTIONS)


def test_all_faults_are_told_at_once_in_the_order_of_lines() -> None:
    text = """timezone: Nowhere
cameras:
  gate:
    threshold: 2
    masks: [[[0, 0], [2, 0], [0, 1]]]
  yard:
    source: gone.mp4
    receivers: [phone, bell]
receivers:
  bell: {type: pigeon}
"""
    with pytest.raises(CameraFileError, match=r"c\.yaml: 7 faults") as error:
        read(write(text))
    places = [line.partition(": ")[0] for line in error.value.faults]
    assert places == [
        "c.yaml, line 1",
        "c.yaml, line 3, camera gate",
        "c.yaml, line 4, camera gate",
        "c.yaml, line 5, camera gate",
        "c.yaml, line 7, camera yard",
        "c.yaml, line 8, camera yard",
        "c.yaml, line 10",
    ]


def test_a_key_of_the_file_that_is_nearly_one_of_the_cameras_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="unknown key 'camera'; did you mean 'cameras'"):
        load_config(Settings, write("camera: {}\n"), [], {}, CAMERA_SECTIONS)
