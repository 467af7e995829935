"""Addresses in place of files, on every command that takes any: refused at once, and no password told."""

import sys
from pathlib import Path

import pytest

from ssrl_pipeline.cli import main as cli
from ssrl_pipeline.console import messages
from ssrl_pipeline.console.messages import without_secrets
from ssrl_pipeline.errors import ConfigError, StoreError
from ssrl_pipeline.extraction.videos import find_videos
from ssrl_pipeline.features.opening import location

STREAM = "rtsp://user:secret@host/x?token=secret"
STREAM_SHOWN = "rtsp://***@host/x?***"
STORE = "s3://key:secret@bucket/features"
NO_MODEL = ("--checkpoint", "nowhere.pt")  # would be what is wrong, were it looked at first
NO_WEIGHTS = ("--weights", "nowhere.pth")


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize(
    ("arguments", "code", "mentions"),
    [
        (("score", STREAM, *NO_MODEL), 2, (STREAM_SHOWN, "watch")),
        (("score", "https://h/a.mp4?sig=secret", *NO_MODEL), 2, ("https://h/a.mp4?***", "watch", "download")),
        (("score", "v.mp4", "--features", STORE, *NO_MODEL), 1, ("s3://***@bucket", "environment")),
        (("score", "v.mp4", "--checkpoint", STREAM), 1, ("rtsp://***@host/x?***", "no such")),
        (("score", "v.mp4", "--intervals", STREAM, *NO_MODEL), 1, ("rtsp://***@host/x?***",)),
        (("extract", "--videos", STREAM, *NO_WEIGHTS), 2, (STREAM_SHOWN, "watch")),
        (("extract", "--videos", STREAM, "--dry-run", *NO_WEIGHTS), 2, (STREAM_SHOWN, "watch")),
        (("extract", "--videos", STREAM, "--devices", "2", *NO_WEIGHTS), 2, (STREAM_SHOWN, "watch")),
        (("extract", "-o", f"data.videos={STREAM}", *NO_WEIGHTS), 2, (STREAM_SHOWN, "watch")),
        (("extract", "--videos", "nowhere", *NO_WEIGHTS), 1, ("nowhere: no such file or folder",)),
        (("extract", "--features", STORE, *NO_WEIGHTS), 1, ("s3://***@bucket", "environment")),
        (("extract", "--features", "s3://bucket/f?k=secret", *NO_WEIGHTS), 1, ("s3://bucket/f?***",)),
        (("extract", STREAM), 2, ("rtsp://***@host/x?***", "extra argument")),
        (("extract", "--workers", STREAM), 2, ("rtsp://***@host/x?***", "--workers")),
        (("train", "--features", STORE), 1, ("s3://***@bucket", "environment")),
        (("train", "--features", STORE, "-o", "data.layout=released"), 1, ("s3://***@bucket",)),
        (("evaluate", "--checkpoint", STREAM), 1, ("rtsp://***@host/x?***",)),
        (("evaluate", "--features", STORE, "--checkpoint", STREAM), 1, ("***@",)),
        (("calibrate", "--features", STORE, "--checkpoint", STREAM, "--false-alarms", "0.1"), 1, ("***@",)),
        (("export", "model.onnx", "--checkpoint", STREAM), 1, ("rtsp://***@host/x?***",)),
        (("store", "export", STORE, "out"), 1, ("s3://***@bucket", "environment")),
        (("dataset", "check", STREAM), 2, ("rtsp://***@host/x?***",)),
        (("watch", "gopher://user:secret@host/x", *NO_MODEL), 2, ("gopher://***@host/x", "rtsp")),
        (("watch", f"my/gate={STREAM}", *NO_MODEL), 1, ("my/gate=rtsp://***@host/x?***", "no such file")),
        (("watch", "rtsp:/user:secret@host/x", *NO_MODEL), 1, ("rtsp://***@host/x", "no such file")),
        (("watch", STREAM, STREAM, *NO_MODEL), 2, (STREAM_SHOWN, "two sources")),
        (("watch", "0", "--webhook", "ftp://u:secret@h", *NO_MODEL), 2, ("ftp://***@h", "webhook")),
        (("watch", "0", "--webhook", "https://u:secret@h/x", *NO_MODEL), 1, ("nowhere.pt",)),
        (("watch", "0", "--metrics-port", STREAM), 2, ("rtsp://***@host/x?***",)),
        (("watch", "0", "--page", STREAM, *NO_MODEL), 2, ("rtsp://***@host/x?***", "127.0.0.1:8000")),
    ],
)
def test_an_address_is_refused_before_anything_is_loaded_and_its_secrets_stay(
    arguments: tuple[str, ...],
    code: int,
    mentions: tuple[str, ...],
    as_json: bool,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("videos").mkdir()
    monkeypatch.setattr(sys, "argv", ["ssrl-pipeline", *(["--log-json"] if as_json else []), *arguments])
    try:
        with pytest.raises(SystemExit) as stop:
            cli.main()
    finally:
        messages.set_up(as_json=False)
    out, err = capfd.readouterr()
    assert (stop.value.code, out) == (code, ""), err
    assert [word for word in mentions if word not in err.splitlines()[-1]] == [], err
    assert "secret" not in err and "Traceback" not in err


def test_a_folder_that_looks_like_an_address_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    video = Path("rtsp:/host/a.mp4")
    video.parent.mkdir(parents=True)
    video.touch()
    assert find_videos(Path("rtsp://host")) == {"a.mp4": video}
    with pytest.raises(ConfigError, match="an address"):
        find_videos(Path("rtsp://host/b.mp4"))


@pytest.mark.parametrize("url", [STORE, "gs://bucket/f?token=secret"])
def test_a_store_has_no_credentials_in_its_url(url: str) -> None:
    with pytest.raises(StoreError) as error:
        location(url)
    assert "secret" not in str(error.value) and without_secrets(url) in str(error.value)
