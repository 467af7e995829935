"""OpenVINO's graphs: quantised by clips, kept whole, read again, made again where damaged."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ssrl_pipeline.errors import ConfigError, PipelineError, VideoError
from ssrl_pipeline.extractors import Normalisation
from ssrl_pipeline.extractors.engines.engines import OnPixels, make_engine
from ssrl_pipeline.extractors.engines.precision import BOUNDS, INTERCHANGEABLE
from ssrl_pipeline.extractors.graphs import Calibration, Graphs, calibration, graphs, quantise

SHAPE = (3, 4, 24, 32)
PIXELS = Normalisation(127.5, 127.5)

pytest.importorskip("openvino")


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        layers = [nn.Conv3d(3, 8, 3), nn.ReLU(), nn.Conv3d(8, 16, (2, 3, 3)), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten()).eval()


def on_pixels() -> nn.Module:
    return OnPixels(network(), PIXELS, torch.float32).eval()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was made, not read."""
    seen: list[str] = []
    for name in ("convert", "quantised"):
        function = getattr(graphs, name)

        def note(*arguments: Any, name: str = name, function: Any = function) -> Any:
            seen.append(name)
            return function(*arguments)

        monkeypatch.setattr(graphs, name, note)
    return seen


def outputs(graph: Any) -> np.ndarray:
    import openvino

    clip = np.random.default_rng(5).integers(0, 256, (1, *SHAPE), np.uint8)
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    return np.array(openvino.Core().compile_model(graph, "CPU", options)([clip])[0])


def test_a_graph_is_made_once_and_reads_to_the_same(tmp_path: Path, made: list[str]) -> None:
    first = outputs(Graphs(tmp_path).graph(on_pixels(), SHAPE, "float32"))
    again = outputs(Graphs(tmp_path).graph(on_pixels(), SHAPE, "float32"))
    assert made == ["convert"] and np.array_equal(first, again)
    clip = np.random.default_rng(5).integers(0, 256, (1, *SHAPE), np.uint8)
    assert np.allclose(first, on_pixels()(torch.from_numpy(clip)).detach(), atol=1e-6)
    other = OnPixels(network(), Normalisation(100.0, 127.5), torch.float32).eval()
    assert not np.allclose(outputs(Graphs(tmp_path).graph(other, SHAPE, "float32")), first)
    Graphs(tmp_path).graph(on_pixels(), (3, 4, 24, 24), "float32")
    assert len(made) == 3 == len(list(tmp_path.iterdir()))


@pytest.mark.parametrize("name", graphs.FILES)
def test_a_damaged_graph_is_made_again(tmp_path: Path, made: list[str], name: str) -> None:
    first = outputs(Graphs(tmp_path).graph(on_pixels(), SHAPE, "float32"))
    (folder,) = tmp_path.iterdir()
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    again = outputs(Graphs(tmp_path).graph(on_pixels(), SHAPE, "float32"))
    assert made == ["convert"] * 2 and np.array_equal(first, again)
    Graphs(tmp_path).graph(on_pixels(), SHAPE, "float32")
    assert len(made) == 2


def test_where_nothing_can_be_kept_it_is_made_each_time(tmp_path: Path, made: list[str]) -> None:
    (tmp_path / "file").touch()
    for folder in (None, tmp_path / "file" / "folder"):
        Graphs(folder).graph(on_pixels(), SHAPE, "float32")
    assert len(made) == 2


def test_what_was_longest_not_used_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "MOST_KEPT", 2)
    shapes = [(3, 4, 24, width) for width in (24, 26, 28)]
    for number, shape in enumerate(shapes[:2]):
        Graphs(tmp_path).graph(on_pixels(), shape, "float32")
        (folder,) = tmp_path.glob(f"*x{shape[-1]}")
        os.utime(folder, (number, number))
    Graphs(tmp_path).graph(on_pixels(), shapes[0], "float32")  # read: used
    Graphs(tmp_path).graph(on_pixels(), shapes[2], "float32")
    assert sorted(path.name[-2:] for path in tmp_path.iterdir()) == ["24", "28"]


def test_int8_is_near_and_made_once(
    tmp_path: Path, made: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("nncf")
    clips = torch.from_numpy(np.concatenate(list(Calibration().clips(SHAPE))[:4]))
    exact = on_pixels()(clips).detach()
    for _ in range(2):
        engine = make_engine("openvino", network(), PIXELS, torch.device("cpu"), "int8", Graphs(tmp_path))
        distance = float((engine(clips) - exact).norm() / exact.norm())
        assert INTERCHANGEABLE / 10 < distance < BOUNDS["int8"]
    assert made == ["convert", "quantised"]
    assert not capfd.readouterr().out


def test_without_nncf_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def version(name: str) -> str:
        raise quantise.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(quantise.metadata, "version", version)
    for folder in (None, tmp_path):
        with pytest.raises(ConfigError, match=r"int8 needs NNCF.*: pip install 'ssrl-pipeline\[int8\]'$"):
            Graphs(folder).graph(on_pixels(), SHAPE, "int8")


def test_nncf_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise RuntimeError("no such layer\nand more")

    monkeypatch.setattr(quantise, "import_nncf", broken)
    with pytest.raises(PipelineError, match=r"cannot quantise the network \(no such layer\); --precision"):
        Graphs().graph(on_pixels(), SHAPE, "int8")


def test_calibration_is_the_same_clips_again() -> None:
    first, again = ([*Calibration().clips(SHAPE)] for _ in range(2))
    assert len(first) == calibration.CLIPS and all(map(np.array_equal, first, again))
    assert all(clip.shape == (1, *SHAPE) and clip.dtype == np.uint8 for clip in first)
    moving = [np.abs(np.diff(clip.astype(int), axis=2)).mean() for clip in first]
    assert len({clip.tobytes() for clip in first}) == len(first) and np.median(moving) > 1
    assert np.ptp(np.stack(first)) > 250


def test_calibration_by_ones_own_videos(make_video: Callable[..., Path], tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    for name in ("b.mp4", "in/a.mp4"):
        make_video(videos / name, frames=40)
    (videos / "broken.mp4").write_bytes(b"none")
    own = Calibration(videos)
    clips = list(own.clips(SHAPE))
    assert len(clips) == 2 and {clip.shape for clip in clips} == {(1, *SHAPE)}
    assert own.sha256 == Calibration(videos).sha256 != Calibration().sha256
    make_video(videos / "b.mp4", frames=41)
    assert own.sha256 != Calibration(videos).sha256


def test_a_folder_without_videos_cannot_calibrate(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigError, match=r"--calibration .*: no videos there"):
            Calibration(folder)
    (tmp_path / "broken.mp4").write_bytes(b"none")
    with pytest.raises(VideoError, match=r"broken\.mp4"):
        next(Calibration(tmp_path).clips(SHAPE))
