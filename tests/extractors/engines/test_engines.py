"""Every engine gives the features that the backbone itself gives."""

import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from ssrl_pipeline.cli.main import cli
from ssrl_pipeline.errors import ConfigError, PipelineError
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.extractors.backbones.resnet import I3dR50, I3dR50NL
from ssrl_pipeline.extractors.backbones.weights import cache_path
from ssrl_pipeline.extractors.decoding import open_video
from ssrl_pipeline.extractors.engines import engines
from ssrl_pipeline.extractors.engines import openvino as openvino_engine
from ssrl_pipeline.extractors.engines.engines import Eager, Fallback, OnPixels, make_engine
from ssrl_pipeline.extractors.engines.fold import folded
from ssrl_pipeline.extractors.presets import Normalisation

CPU = torch.device("cpu")
PIXELS = Normalisation(127.5, 127.5)


def need_openvino() -> None:
    """Skips; unlike importorskip it leaves the import, without telemetry, to the engine."""
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")


def shaken(network: nn.Module) -> nn.Module:
    """Batch norms as training leaves them: fresh ones do nothing, and wrong folding would not show."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


@pytest.fixture(scope="module")
def inception() -> FeatureExtractor:
    extractor = FeatureExtractor("i3d", "live", device="cpu", weights="random")
    shaken(extractor.backbone)
    return extractor


def some_clips(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", ["openvino", "eager"])
@pytest.mark.parametrize("size", [(32, 32), (45, 38)])
def test_engines_give_the_backbones_features(
    inception: FeatureExtractor, name: str, size: tuple[int, int]
) -> None:
    if name == "openvino":
        need_openvino()
    clips = some_clips(3, 3, 16, *size)
    with torch.inference_mode():
        expected = inception.backbone((clips.float() - 127.5) / 127.5)
    found = make_engine(name, inception.backbone, PIXELS, CPU)(clips)
    assert found.dtype == torch.float32
    assert relative(found, expected) < 1e-4
    assert relative(found[:1], expected[1:2]) > 1e-3  # clips stay in their order


@pytest.mark.slow
def test_compiled_gives_the_backbones_features() -> None:
    if not shutil.which("g++"):
        pytest.skip("no C++ compiler")
    network = nn.Sequential(nn.Conv3d(3, 8, 3), nn.BatchNorm3d(8), nn.ReLU(), nn.Flatten(2))
    clips = some_clips(2, 3, 4, 9, 8)
    found = make_engine("compile", shaken(network), PIXELS, CPU)(clips)
    with torch.inference_mode():
        assert relative(found, network((clips.float() - 127.5) / 127.5)) < 1e-4


@pytest.mark.parametrize("kind", [I3dR50, I3dR50NL])
def test_folding_leaves_no_batch_norm_and_the_same_features(kind: type) -> None:
    network = kind()
    if kind is I3dR50NL:
        network._add_nonlocal_blocks()
    shaken(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fast = folded(network)
    assert not [m for m in fast.modules() if isinstance(m, nn.BatchNorm3d)]
    clips = torch.randn(1, 3, 8, 64, 64)
    with torch.inference_mode():
        assert relative(fast(clips), network(clips)) < 1e-4
    after = network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())  # it folded a copy


def test_new_weights_reach_the_engine(inception: FeatureExtractor) -> None:
    frames = some_clips(16, 48, 64, 3).numpy()
    extractor = FeatureExtractor("i3d", "live", device="cpu", weights="random", engine="eager")
    before = extractor(frames)["clip"]
    extractor.backbone.load_state_dict(inception.backbone.state_dict())
    after = extractor(frames)["clip"]
    assert abs(after - before).max() > 1e-2 * before.max()


def test_a_second_engine_can_be_made() -> None:
    """A copy of the backbone must not take the extractor along, with engines that cannot be copied."""

    class Stubborn:
        def __deepcopy__(self, memo: object) -> None:
            raise TypeError("cannot be copied")

    extractor = FeatureExtractor("i3d", "live", device="cpu", weights="random")
    extractor.networks.engines[nn.Identity()] = Stubborn()
    assert make_engine("eager", extractor.backbone, PIXELS, CPU).name == "eager"


def test_an_engine_that_fails_is_replaced_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        name = "openvino"
        calls = 0

        def __call__(self, clips: Tensor) -> Tensor:
            self.calls += 1
            raise RuntimeError("no such\ninstruction")

    broken = Broken()
    engine = Fallback(broken, lambda: Eager(OnPixels(nn.Flatten(), PIXELS, torch.float32)))
    clips = some_clips(2, 3, 4, 5, 6)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert engine(clips).shape == (2, 360)
    assert (engine.name, broken.calls) == ("eager", 1)
    assert caplog.messages == ["engine openvino failed, going on with eager: no such instruction"]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("allocator.cpp:79:\nstd::bad_alloc\n")])
def test_an_engine_without_memory_is_kept(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    class Small:
        name = "openvino"

        def __call__(self, clips: Tensor) -> Tensor:
            if len(clips) > 1:
                raise error
            return clips.float()

    engine = Fallback(Small(), lambda: pytest.fail("it was replaced"))
    with pytest.raises(type(error)):
        engine(some_clips(2, 3, 4, 5, 6))
    assert len(engine(some_clips(1, 3, 4, 5, 6))) == 1 and not caplog.messages


def test_auto_takes_openvino_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    need_openvino()
    monkeypatch.setattr(engines, "AUTO", ("openvino", "eager"))
    engine = make_engine("auto", nn.Flatten(), PIXELS, CPU)
    assert engine.name == "openvino"
    assert engine(some_clips(2, 3, 4, 5, 6)).shape == (2, 360)
    assert engine.name == "openvino"  # still: it did not fail


def test_auto_without_openvino_is_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "AUTO", ("openvino", "eager"))
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    assert make_engine("auto", nn.Flatten(), PIXELS, CPU).name == "eager"
    with pytest.raises(PipelineError, match=r"'openvino' does not run here: .*pip install openvino"):
        make_engine("openvino", nn.Flatten(), PIXELS, CPU)


def test_an_openvino_that_cannot_be_imported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise ImportError("libopenvino.so: cannot open\nshared object file")

    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(openvino_engine, "import_openvino", broken)
    monkeypatch.setattr(engines, "AUTO", ("openvino", "eager"))
    assert make_engine("auto", nn.Flatten(), PIXELS, CPU).name == "eager"
    (message,) = caplog.messages
    assert message.startswith("engine openvino failed, going on with eager: libopenvino.so: cannot open")
    with pytest.raises(PipelineError, match="'openvino' does not run here: libopenvino.so: cannot open"):
        make_engine("openvino", nn.Flatten(), PIXELS, CPU)


def test_a_network_that_openvino_cannot_compile(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    need_openvino()

    def convert(engine: openvino_engine.OpenVino, shape: tuple[int, ...]) -> None:
        raise RuntimeError("No conversion rule found for aten::new\nCheck ...")

    monkeypatch.setattr(engines, "AUTO", ("openvino", "eager"))
    monkeypatch.setattr(openvino_engine.OpenVino, "convert", convert)
    network, clips = nn.Flatten(), some_clips(2, 3, 4, 5, 6)
    found = make_engine("auto", network, PIXELS, CPU)(clips)
    np.testing.assert_allclose(found, (clips.flatten(1).float() - 127.5) / 127.5, atol=1e-5)
    reason = "OpenVINO cannot compile the network (No conversion rule found for aten::new); --engine eager"
    (message,) = caplog.messages
    assert message.startswith(f"engine openvino failed, going on with eager: {reason}")
    with pytest.raises(PipelineError) as raised:
        make_engine("openvino", network, PIXELS, CPU)(clips)
    assert str(raised.value).startswith(reason)


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_no_other_engine_goes_on_in_a_cpus_bfloat16_or_int8(
    monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """PyTorch would be slow in bfloat16, and the recipe does not allow float32."""
    need_openvino()
    monkeypatch.setattr(engines, "choose_precision", lambda *_: precision)
    monkeypatch.setattr(engines, "AUTO", ("openvino", "eager"))
    engine = make_engine("auto", nn.Flatten(), PIXELS, CPU, precision)
    assert isinstance(engine, openvino_engine.OpenVino)

    def fail(_: np.ndarray) -> np.ndarray:
        raise RuntimeError("no such\ninstruction")

    engine._compile = lambda *_: SimpleNamespace(run=fail)  # type: ignore
    way_out = "--engine eager --precision float32 does without"
    with pytest.raises(PipelineError, match=rf"^OpenVINO cannot run the network \(no such\); {way_out}$"):
        engine(some_clips(1, 3, 4, 5, 6))


def test_openvino_keeps_to_pytorchs_threads_and_to_float32() -> None:
    need_openvino()
    engine = make_engine("openvino", nn.Flatten(), PIXELS, CPU)
    names = ("INFERENCE_NUM_THREADS", "NUM_STREAMS", "INFERENCE_PRECISION_HINT", "ENABLE_CPU_PINNING")
    found = []

    class Core:
        def compile_model(self, *arguments: Any) -> Any:
            compiled = core.compile_model(*arguments)
            found.append([compiled.get_property(name) for name in names])
            return compiled

    core, engine.core = engine.core, Core()
    clips, before = some_clips(3, 3, 4, 5, 6), torch.get_num_threads()
    try:
        for threads in (1, 2, 1):
            torch.set_num_threads(threads)
            engine(clips)
    finally:
        torch.set_num_threads(before)
    assert [row[:2] for row in found] == [[1, 1], [2, 2]]
    for _, _, precision, pinning in found:
        assert "f" + str(precision.size * 8) == "f32" and precision.is_real() and not pinning


def test_openvino_runs_clips_of_several_sizes_as_one_by_one_and_lays_them_out_beside_others() -> None:
    """Colours lie last in clips and first in its input: bringing them there is done beside the network."""
    need_openvino()
    module = nn.Sequential(nn.Conv3d(3, 2, 3), nn.Flatten(2)).eval()
    engine = openvino_engine.OpenVino(OnPixels(module, PIXELS, torch.float32))
    batches = [some_clips(count, 4, 5, size, 3).permute(0, 4, 1, 2, 3) for count, size in ((1, 9), (5, 6))]
    expected = [engine(clips) for clips in batches]
    main, laid_out = threading.get_ident(), set[int]()

    class Network:
        def __init__(self, network: Any):
            self.network = network

        def create_infer_request(self) -> Any:
            laid_out.add(threading.get_ident())
            return self.network.create_infer_request()

    for key, compiled in engine.compiled.items():
        compiled.idle.clear()
        engine.compiled[key] = compiled._replace(network=Network(compiled.network))
    for found, one in zip(engine.each(batches), expected, strict=True):
        assert torch.equal(found, one)
    assert laid_out and main not in laid_out


def test_no_clip_is_under_way_once_one_has_failed() -> None:
    need_openvino()
    under_way, began = set[int](), threading.Event()

    def run(clip: np.ndarray) -> np.ndarray:
        under_way.add(number := int(clip[0, 0, 0, 0]))
        if number == 0:
            began.wait(5)
            under_way.remove(number)
            raise RuntimeError("broken")
        began.set()
        time.sleep(0.05)
        under_way.remove(number)
        return clip

    engine = openvino_engine.OpenVino(nn.Flatten())
    engine._compile = lambda *_: SimpleNamespace(run=run)  # type: ignore
    clips = torch.arange(8, dtype=torch.uint8).reshape(8, 1, 1, 1, 1).expand(8, 3, 2, 2, 2)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(PipelineError, match="cannot run the network .broken."):
            engine(clips)
    finally:
        torch.set_num_threads(before)
    assert not under_way


def test_int8s_rest_is_in_float32_on_every_cpu() -> None:
    """The recipe names no more than int8: stores of machines with and without bfloat16 meet."""
    need_openvino()
    for precision, hint in (("float32", "f32"), ("int8", "f32"), ("bfloat16", "bf16")):
        assert openvino_engine.OpenVino(nn.Flatten(), precision).hint == hint


def test_openvino_tells_nobody_of_its_use(tmp_path: Path) -> None:
    """Its telemetry would leave a number for the user in their home, and send it to Google Analytics."""
    need_openvino()
    code = (
        "import sys, torch\n"
        "from ssrl_pipeline.extractors.engines.engines import make_engine\n"
        "engine = make_engine('openvino', torch.nn.Flatten(), (0.0, 1.0), torch.device('cpu'))\n"
        "print(engine(torch.ones(1, 3, 2, 2, 2, dtype=torch.uint8)).sum().item())\n"
        "print(sorted(name for name in sys.modules if name.startswith('openvino_telemetry')))\n"
    )
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["24.0", "[]"], done.stderr
    assert not (tmp_path / "intel").exists()


def test_unknown_engines_and_precisions() -> None:
    for options, found in (
        ({"engine": "warp"}, "'warp'; there are auto, openvino"),
        ({"precision": "int4"}, "'int4'; there are auto, float32"),
        ({"precision": "float16"}, "'float16' is not for cpu, which works in float32"),
    ):
        with pytest.raises(ConfigError, match=found):
            FeatureExtractor(weights="random", device="cpu", **options)


def test_info_tells_of_every_engine() -> None:
    from ssrl_pipeline.info import collect

    facts = collect()
    assert facts["av"] == av.__version__ and facts["encoder H.264"] == "libx264"
    assert facts["engine eager"] == "available"
    assert {"engine openvino", "engine compile", "cudnn"} <= set(facts)
    assert facts["precisions on cuda" if torch.cuda.is_available() else "precisions on cpu"]


def test_the_engine_is_no_part_of_the_recipe(inception: FeatureExtractor) -> None:
    other = FeatureExtractor("i3d", "live", device="cpu", weights="random", engine="eager")
    assert other.recipe == inception.recipe


def test_commands_refuse_an_unknown_engine(make_video, tmp_path: Path) -> None:
    make_video(tmp_path / "videos" / "a.mp4", frames=4)
    folders = ["--videos", str(tmp_path / "videos"), "--features", str(tmp_path / "features")]
    done = CliRunner().invoke(cli, ["extract", *folders, "--weights", "random", "--engine", "warp"])
    assert done.exit_code == 2 and "'warp' is not one of" in done.output


@pytest.mark.slow
def test_openvino_with_the_real_weights_gives_eagers_features(shared: Path) -> None:
    need_openvino()
    if not cache_path("i3d").is_file():
        pytest.skip("the weights are not cached")
    video = shared / "data" / "samples" / "vtest.avi"
    frames = np.stack(list(islice(open_video(video).frames, 40)))
    found, expected = (
        FeatureExtractor("i3d", "live", device="cpu", engine=name)(frames) for name in ("openvino", "eager")
    )
    assert {name: rows.shape for name, rows in found.items()} == {
        "clip": (3, 1, 1024),
        "patch2x3": (3, 6, 1024),
    }
    for name, rows in expected.items():
        assert rows.max() > 0.5
        assert np.abs(found[name] - rows).max() < 1e-4, name


def test_an_engine_that_cannot_run_here_is_told_before_any_video(make_video, tmp_path: Path) -> None:
    make_video(tmp_path / "videos" / "a.mp4", frames=4)
    folders = ["--videos", str(tmp_path / "videos"), "--features", str(tmp_path / "features")]
    options = ["--weights", "random", "--device", "cpu", "--engine", "triton"]
    done = CliRunner().invoke(cli, ["extract", *folders, *options])
    assert str(done.exception) == "engine 'triton' does not run here: it is for GPUs, not for cpu"
    assert not (tmp_path / "features").exists()
