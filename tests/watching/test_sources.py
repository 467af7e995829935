"""What the arguments of `watch` mean, and what of them is shown."""

from pathlib import Path

import pytest

from ssrl_pipeline.errors import ConfigError, VideoError
from ssrl_pipeline.watching.sources import Source, parse_sources


def test_addresses_numbers_and_files_with_and_without_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("yard.mp4", "a=b.mp4"):
        Path(name).write_bytes(b"x")
    texts = [
        "gate=rtsp://u:p@host/x?a=b",
        "http://host/x?a=b",
        "0",
        "door=1",
        "yard.mp4",
        "a=b.mp4",
        "c=yard.mp4",
    ]
    found = [(source.name, source.address, source.kind) for source in parse_sources(texts)]
    assert found == [
        ("gate", "rtsp://u:p@host/x?a=b", "stream"),
        ("http://host/x?***", "http://host/x?a=b", "stream"),
        ("camera 0", "0", "device"),
        ("door", "1", "device"),
        ("yard.mp4", "yard.mp4", "file"),
        ("a=b.mp4", "a=b.mp4", "file"),
        ("c", "yard.mp4", "file"),
    ]


def test_what_cannot_be_watched_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(VideoError, match=r"empty\.mp4: the file is empty"):
        parse_sources([str(tmp_path / "empty.mp4")])
    with pytest.raises(VideoError, match="no such file"):
        parse_sources([str(tmp_path / "none.mp4")])
    with pytest.raises(VideoError, match="a folder; name the files in it"):
        parse_sources([str(tmp_path)])
    with pytest.raises(ConfigError, match="two sources are named 'gate'"):
        parse_sources(["gate=0", "gate=1"])
    with pytest.raises(ConfigError, match=r"two sources are named 'rtsp://\*\*\*@host'"):
        parse_sources(["rtsp://a:b@host", "rtsp://c:d@host"])


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://host/a/b", "rtsp://host/a/b"),
        ("rtsp://u:p@host:554/a?x=1", "rtsp://***@host:554/a?***"),
        ("rtsp://u:p@q/r@host/a", "rtsp://***@host/a"),
        ("rtsp://u:p?q@host/a", "rtsp://***"),
        ("http://host/a#t", "http://host/a"),
        ("yard.mp4", "yard.mp4"),
    ],
)
def test_addresses_are_shown_without_secrets(address: str, shown: str) -> None:
    assert Source("", address, "stream").shown == shown
    assert "p@" not in repr(Source("", address, "stream"))
