"""What precision a device works in, what a recipe says of it, and that nobody's switches stay changed."""

import copy
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from ssrl_pipeline import tf32
from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ssrl_pipeline.cli.main import cli
from ssrl_pipeline.data.labels import Label
from ssrl_pipeline.errors import ConfigError, StoreError
from ssrl_pipeline.evaluation.evaluate import evaluate_checkpoint
from ssrl_pipeline.extraction.stage import ExtractorOptions, extract
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.extractors.backbones.weights import cache_path
from ssrl_pipeline.extractors.decoding import open_video
from ssrl_pipeline.extractors.engines import engines, precision
from ssrl_pipeline.extractors.engines.engines import Eager, OnPixels, make_engine
from ssrl_pipeline.extractors.engines.fold import folded
from ssrl_pipeline.extractors.engines.precision import (
    BOUNDS,
    INTERCHANGEABLE,
    PRECISIONS,
    choose_precision,
    offered,
    unnamed,
    warn_of_cudnn,
    warn_once,
)
from ssrl_pipeline.extractors.views import cut_views
from ssrl_pipeline.features.opening import create_store
from ssrl_pipeline.features.recipe import describe_recipe, require_same_recipe
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.models import SSRL
from ssrl_pipeline.models import live_window as window
from ssrl_pipeline.models import long_video as streaming
from ssrl_pipeline.models import occlusion as heat
from ssrl_pipeline.scoring import scorer as scoring
from ssrl_pipeline.scoring.scorer import Scorer, ScorerOptions
from ssrl_pipeline.scoring.stored import require_scorable
from ssrl_pipeline.tf32 import allow_tf32

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
PRESET = os.environ.get("PRECISION_PRESET", "live")  # whose views the real weights describe
NEW_SWITCHES = hasattr(torch.backends.cudnn, "conv")


@pytest.fixture(autouse=True)
def nothing_said_yet() -> None:
    warn_once.cache_clear()


@pytest.fixture
def able_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that works in all precisions; it can, slowly."""
    for module in (precision, scoring):
        monkeypatch.setattr(module, "offered", lambda *_: ("float32", *PRECISIONS))


def live(**options: str) -> FeatureExtractor:
    return FeatureExtractor("i3d", "live", "cpu", "random", engine="eager", **options)


@pytest.mark.parametrize(
    ("capability", "auto"), [((7, 0), "float32"), ((7, 5), "float32"), ((8, 0), "tf32"), ((12, 1), "tf32")]
)
def test_auto_on_a_gpu_is_tf32_where_it_is(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], auto: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert choose_precision("auto", CUDA) == auto
    assert {"float32", "bfloat16", "float16"} <= set(offered(CUDA))
    if auto != "tf32":
        with pytest.raises(ConfigError, match="'tf32' is not for cuda, which works in float32"):
            choose_precision("tf32", CUDA)


def able(monkeypatch: pytest.MonkeyPatch, *abilities: str) -> None:
    monkeypatch.setattr(precision, "abilities", lambda: frozenset(abilities))
    monkeypatch.setattr(precision, "why_not_int8", lambda: None)


def test_a_cpu_works_in_bfloat16_where_openvino_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    able(monkeypatch, "FP32", "BF16", "INT8")
    assert offered(CPU) == ("bfloat16", "float32", "int8")
    for engine in ("auto", "openvino"):
        assert choose_precision("auto", CPU, engine) == "bfloat16"
        assert choose_precision("int8", CPU, engine) == "int8"
    assert choose_precision("auto", CPU, "eager") == "float32" == unnamed(CPU)
    for name in ("bfloat16", "int8"):
        with pytest.raises(
            ConfigError, match=f"'{name}' is not for cpu with engine 'eager', which works in float32$"
        ):
            choose_precision(name, CPU, "eager")
    able(monkeypatch, "FP32", "INT8")
    assert choose_precision("auto", CPU) == "float32"
    with pytest.raises(ConfigError, match="'bfloat16' is not for cpu, which works in float32, int8"):
        choose_precision("bfloat16", CPU)


def test_auto_is_the_precision_of_the_store(
    monkeypatch: pytest.MonkeyPatch, make_video: Callable[..., Path], tmp_path: Path
) -> None:
    able(monkeypatch, "BF16", "INT8")
    options = ExtractorOptions("i3d", "live", "random")
    store = tmp_path / "features"
    assert options.settled(store, ["cpu"]).precision == "bfloat16"
    assert options._replace(engine="eager").settled(store, ["cpu"]).precision == "float32"
    assert options.settled(store, []).precision == "auto"  # whoever extracts takes what names none
    assert options.build("cpu").precision == "float32"
    for made, expected in (({}, "auto"), ({"precision": "bfloat16"}, "bfloat16")):
        create_store(tmp_path / expected, {**options.planner().recipe, **made})
        assert options.settled(tmp_path / expected, ["cpu"]).precision == expected
    assert options._replace(precision="int8").settled(tmp_path / "auto", ["cpu"]).precision == "int8"


def test_calibration_without_int8_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = ExtractorOptions("i3d", "live", "random", precision="float32", calibration="videos")
    for name, said in (("float32", 1), ("int8", 0)):
        warn_once.cache_clear()
        caplog.clear()
        options._replace(precision=name).settled(tmp_path / "features", [])
        assert caplog.messages == ["--calibration videos is not used: it is for --precision int8"] * said


@pytest.mark.parametrize("where", [["--device", "cpu"], ["--devices", "cpu,cpu"]])
def test_without_nncf_no_store_is_begun_in_int8(
    monkeypatch: pytest.MonkeyPatch, make_video: Callable[..., Path], tmp_path: Path, where: list[str]
) -> None:
    able(monkeypatch, "INT8")
    monkeypatch.setattr(precision, "why_not_int8", lambda: "needs NNCF: pip install it")
    assert offered(CPU) == ("float32",)
    make_video(tmp_path / "videos" / "a.mp4", frames=4)
    folders = ["--videos", str(tmp_path / "videos"), "--features", str(tmp_path / "features")]
    options = ["--preset", "live", "--weights", "random", "--precision", "int8", *where]
    done = CliRunner().invoke(cli, ["extract", *folders, *options])
    assert str(done.exception) == "precision int8 needs NNCF: pip install it"
    assert not (tmp_path / "features").exists()
    with pytest.raises(
        ConfigError, match="'int8' is not for cpu with engine 'eager', which works in float32"
    ):
        choose_precision("int8", CPU, "eager")


def test_a_recipe_names_the_clips_of_int8(
    monkeypatch: pytest.MonkeyPatch,
    make_video: Callable[..., Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    able(monkeypatch, "INT8")
    make_video(tmp_path / "videos" / "a.mp4", frames=16)
    plain = FeatureExtractor("i3d", "live", "cpu", "random", precision="int8")
    own = FeatureExtractor("i3d", "live", "cpu", "random", precision="int8", calibration=tmp_path / "videos")
    recipes = [plain.recipe, own.recipe]
    hashes = [recipe.pop("calibration") for recipe in recipes]
    named = {"precision": "int8", "pools": "int8"}
    assert hashes[0] != hashes[1] and recipes[0] == recipes[1] == {**live().recipe, **named}
    assert describe_recipe(plain.recipe).endswith(f", int8 by clips {hashes[0][:8]}]")
    with pytest.raises(StoreError, match="differ in calibration"):
        require_same_recipe(plain.recipe, own.recipe, "one", "other")
    for _ in range(2):
        require_scorable(plain.recipe, own.recipe, "the checkpoint", "the store")
    (said,) = caplog.messages
    assert "calibrated on other clips" in said and "--calibration" in said
    caplog.clear()
    require_scorable(plain.recipe, live().recipe, "the checkpoint", "the store")
    assert "of int8 features, the store of float32; these are up to 10 % apart" in caplog.text


def test_a_store_of_before_max_pools_were_in_int8_is_gone_on_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    able(monkeypatch, "INT8")
    new = FeatureExtractor("i3d", "live", "cpu", "random", precision="int8")
    before = {key: value for key, value in new.recipe.items() if key != "pools"}
    for name, recipe in (("new", new.recipe), ("before", before)):
        create_store(tmp_path / name, recipe)
        for asked in ("auto", "int8"):
            options = ExtractorOptions("i3d", "live", "random", precision=asked)
            assert options.settled(tmp_path / name, ["cpu"]).build("cpu").recipe == recipe
        checkpoint = save_untrained(tmp_path / f"{name}.pt", recipe)
        assert Scorer(checkpoint, "cpu").extractor.recipe == recipe
    assert not caplog.messages
    with pytest.raises(StoreError, match="differ in pools: .* without pools"):
        require_same_recipe(before, new.recipe, "one", "other")
    require_scorable(before, new.recipe, "the checkpoint", "the store")
    assert "some 3 % apart" in caplog.text


def test_a_cpu_works_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    able(monkeypatch)
    assert choose_precision("auto", CPU) == choose_precision("float32", CPU) == "float32"
    for name in ("tf32", "bfloat16", "float16"):
        with pytest.raises(ConfigError, match=f"'{name}' is not for cpu, which works in float32"):
            choose_precision(name, CPU)
    with pytest.raises(ConfigError, match="unknown precision 'int4'; there are auto, float32, tf32"):
        choose_precision("int4", CPU)


def switches() -> list[object]:
    """All that PyTorch has of them, by their new and their old names."""
    found: list[object] = []
    if NEW_SWITCHES:
        cudnn, cuda = torch.backends.cudnn, torch.backends.cuda
        found += [cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision, cuda.matmul.fp32_precision]
    for owner in (torch.backends.cudnn, torch.backends.cuda.matmul):
        try:
            found.append(owner.allow_tf32)
        except RuntimeError:  # the new names were used
            found.append("mixed")
    return found


def turn_all(on: bool) -> None:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = on


def turn_convolutions_off() -> None:
    torch.backends.cudnn.conv.fp32_precision = "ieee"


def turn_products_on() -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"


NEW_NAMES = pytest.mark.skipif(not NEW_SWITCHES, reason="of PyTorch 2.9 or newer")


@pytest.fixture
def untouched() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize(
    "user",
    [
        lambda: None,
        lambda: turn_all(True),
        lambda: turn_all(False),
        pytest.param(turn_convolutions_off, marks=NEW_NAMES),
        pytest.param(turn_products_on, marks=NEW_NAMES),
    ],
)
@pytest.mark.parametrize("allowed", [True, False])
def test_switches_are_set_for_a_while_only(untouched: None, user: Callable[[], None], allowed: bool) -> None:
    user()
    before = switches()
    with allow_tf32(allowed, CPU):
        assert switches() == before
    with pytest.raises(KeyError), allow_tf32(allowed, CUDA):
        convolutions, products = (
            getattr(switch, tf32._SWITCH) for switch in (tf32._CONVOLUTIONS, tf32._PRODUCTS)
        )
        assert (convolutions in (True, "tf32")) == allowed
        assert allowed or products in (False, "ieee")
        raise KeyError
    assert switches() == before


def test_engines_run_in_their_precision(monkeypatch: pytest.MonkeyPatch, able_cpu: None) -> None:
    allowed: list[bool] = []

    def note(on: bool, device: torch.device) -> "allow_tf32":  # type: ignore[valid-type]
        allowed.append(on)
        return allow_tf32(on, device)

    monkeypatch.setattr(engines, "allow_tf32", note)
    clips = torch.zeros(1, 3, 4, 5, 6, dtype=torch.uint8)
    for name in PRECISIONS:
        engine = make_engine("eager", nn.Flatten(), engines.Normalisation(127.5, 127.5), CPU, name)
        assert engine(clips).dtype == torch.float32
    assert allowed == [name == "tf32" for name in PRECISIONS]


def round_to_tf32(x: Tensor) -> Tensor:
    """To 10 bits behind the leading one, as the hardware does."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


def with_tf32(network: nn.Module) -> nn.Module:
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module.weight.data = round_to_tf32(module.weight.data)
            module.register_forward_pre_hook(lambda _, inputs: (round_to_tf32(inputs[0]),))
    return network


def distances(extractor: FeatureExtractor, clips: Tensor) -> dict[str, float]:
    """How far features of each precision are from float32's."""
    network = folded(extractor.backbone)
    exact = Eager(OnPixels(copy.deepcopy(network), extractor.normalisation, torch.float32))(clips)
    found = {}
    for name, dtype in PRECISIONS.items():
        if name == "int8":  # see tests/extractors/graphs
            continue
        one = with_tf32(network) if name == "tf32" else copy.deepcopy(network)
        features = Eager(OnPixels(one, extractor.normalisation, dtype))(clips)
        found[name] = float((features - exact).norm() / exact.norm())
    return found


def assert_within_bounds(found: dict[str, float]) -> None:
    assert found.pop("float32") == 0
    assert 0 < found.pop("tf32") < INTERCHANGEABLE
    assert found["bfloat16"] > INTERCHANGEABLE
    assert all(0 < distance < BOUNDS[name] for name, distance in found.items())


def test_features_are_within_the_bounds() -> None:
    clips = torch.randint(
        0, 256, (2, 3, 16, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    assert_within_bounds(distances(live(), clips))


@pytest.mark.slow
def test_features_by_the_real_weights_are_within_the_bounds(shared: Path) -> None:
    if not cache_path("i3d").is_file():
        pytest.skip("the weights are not cached")
    extractor = FeatureExtractor("i3d", PRESET, "cpu", engine="eager")
    frames = np.stack(list(islice(open_video(shared / "data" / "samples" / "vtest.avi").frames, 16)))
    for one in extractor.passes:
        clips = cut_views(frames, (one.cut,))[one.cut.name][:1]
        assert_within_bounds(distances(extractor, clips))


def test_recipes_name_what_is_not_interchangeable(able_cpu: None) -> None:
    recipes = {name: live(precision=name).recipe for name in ("auto", *PRECISIONS)}
    assert recipes["auto"] == recipes["float32"] == recipes["tf32"]
    assert "precision" not in recipes["auto"]  # stores of before hold no word of it
    for name in ("bfloat16", "float16"):
        assert recipes[name] == {**recipes["auto"], "precision": name}
        assert describe_recipe(recipes[name]).endswith(f", {name}]")


def test_options_tell_the_recipe_of_devices_that_are_not_here() -> None:
    options = ExtractorOptions("i3d", "live", "random", patches="dense")
    here = options.build("cpu").recipe
    for name, said in (("auto", {}), ("tf32", {}), ("bfloat16", {"precision": "bfloat16"})):
        assert options._replace(precision=name, engine="compile").planner().recipe == {**here, **said}


def test_a_store_keeps_to_one_precision(
    able_cpu: None, make_video: Callable[..., Path], tmp_path: Path
) -> None:
    make_video(tmp_path / "videos" / "a.mp4", frames=16)
    store, _ = extract(tmp_path / "videos", tmp_path / "features", live(precision="bfloat16"))
    make_video(tmp_path / "videos" / "b.mp4", frames=16)
    for name in ("float32", "tf32", "float16"):
        with pytest.raises(
            StoreError, match=r"differ in precision: the store .*, bfloat16\], this extraction"
        ):
            extract(tmp_path / "videos", tmp_path / "features", live(precision=name))
    assert store.videos() == ["a.mp4"]


def save_untrained(path: Path, recipe: dict[str, object]) -> Path:
    arguments = {"feature_size": 1024, "scales": ["2x3"], "crops": 1, "dropout": 0.7}
    torch.manual_seed(0)
    save_checkpoint(path, Checkpoint(SSRL(**arguments).state_dict(), arguments, recipe, {}, {}))
    return path


def test_a_checkpoint_scores_in_its_own_precision_where_the_device_can(
    able_cpu: None, make_video: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = live(precision="bfloat16").recipe
    path = save_untrained(tmp_path / "best.pt", recipe)
    scorer = Scorer(path, "cpu", engine="eager")
    assert scorer.extractor.precision == "bfloat16" and not caplog.messages
    result = scorer.score(make_video(tmp_path / "v.mp4", frames=16))
    assert result.recipe == recipe
    exact = Scorer(path, "cpu", engine="eager", precision="float32")
    assert exact.extractor.precision == "float32"
    (said,) = caplog.messages
    assert f"the checkpoint {path} is of bfloat16 features, this extraction of float32" in said
    assert "up to 2 % apart" in said
    assert exact.score(tmp_path / "v.mp4").recipe == live().recipe  # of what it was scored by


def test_where_the_device_cannot_it_scores_in_float32_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save_untrained(tmp_path / "best.pt", {**live().recipe, "precision": "bfloat16"})
    for _ in range(2):
        assert Scorer(path, "cpu", engine="eager").extractor.precision == "float32"
    assert len(caplog.messages) == 1
    caplog.clear()
    warn_once.cache_clear()
    planner = ScorerOptions(path, precision="bfloat16").planner()  # what scores may be a GPU
    assert planner.checkpoint_sha256 == load_checkpoint(path).sha256 and not caplog.messages


def test_stored_features_of_another_precision_score_with_one_line(
    tiny_store: Callable[..., FeatureStore], caplog: pytest.LogCaptureFixture
) -> None:
    store = tiny_store({"a": 3, "n": 3})
    arguments = {"feature_size": 16, "scales": ["2x3"], "crops": 1, "dropout": 0.0}
    recipe = {**store.recipe, "precision": "float16"}
    loaded = Checkpoint(SSRL(**arguments).state_dict(), arguments, recipe, {}, {})
    labels = {"a": Label(True, "test"), "n": Label(False, "test")}
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            evaluate_checkpoint(loaded, store, labels, {"a": [(0, 16)]}, "test", CPU)
    names = f"the checkpoint is of float16 features, the store {store.root} of float32"
    assert [names in message and "0.5 %" in message for message in caplog.messages] == [True]
    with pytest.raises(StoreError, match=r"recipes differ in preset: the first .*, the second"):
        require_scorable(recipe, {**store.recipe, "preset": "fast"}, "the first", "the second")


@pytest.mark.parametrize("version", [90701, 90800, 91002, 91499, 91500, 91900, None])
@pytest.mark.parametrize("name", list(PRECISIONS))
def test_a_cudnn_with_wrong_results_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, version: int | None, name: str
) -> None:
    monkeypatch.setattr(precision.torch.backends.cudnn, "version", lambda: version, raising=False)
    for _ in range(2):
        warn_of_cudnn(name)
    wrong = version in (90800, 91002, 91499) and name in ("bfloat16", "float16")
    assert len(caplog.messages) == wrong
    assert all(name in message and "9.15" in message for message in caplog.messages)


def test_scores_and_heat_are_float32s_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever PyTorch allows: each convolution of a model runs where TF32 was refused."""
    refused: list[bool] = []
    within: list[bool] = []

    @contextmanager
    def note(allowed: bool, device: torch.device) -> Iterator[None]:
        within.append(not allowed)
        yield
        within.pop()

    for module in (streaming, heat, window):
        monkeypatch.setattr(module, "allow_tf32", note)
    model = SSRL(16, ["2x3"], crops=1, patches="relation").eval()
    for layer in model.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d):
            layer.register_forward_hook(lambda *_: refused.append(bool(within and within[-1])))
    views = {"clip": torch.rand(5, 1, 16), "patch2x3": torch.rand(5, 6, 16)}
    counts = []
    with streaming.ScoreStream(model, CPU) as stream:
        stream.add(views)
        stream.scores()
    counts.append(len(refused))
    hot = heat.HeatStream(model, CPU)
    hot.add(views)
    hot.heat()
    counts.append(len(refused))
    scorer = window.WindowScorer(model, CPU, size=4, delay=1)
    one = scorer.window()
    for row in range(3):
        scorer.add([one], {name: rows[row : row + 1] for name, rows in views.items()})
    scorer.finish(one)
    counts.append(len(refused))
    assert 0 < counts[0] < counts[1] < counts[2] and all(refused)
