"""torch.compile: the same features, few graphs, and a clear word where it cannot compile."""

import functools
import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path
from subprocess import CalledProcessError

import pytest
import torch
from torch import Tensor, nn

from ssrl_pipeline.errors import PipelineError, is_out_of_memory
from ssrl_pipeline.extractors.engines import compiled as compiled_engine
from ssrl_pipeline.extractors.engines import engines
from ssrl_pipeline.extractors.engines.compiled import Compiled, why_not_triton
from ssrl_pipeline.extractors.engines.engines import make_engine, why_not
from ssrl_pipeline.extractors.presets import Normalisation

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Tiny(nn.Module):
    """uint8 [B, 3, t, h, w] -> float32 [B, 4]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv3d(3, 4, 3)

    def forward(self, clips: Tensor) -> Tensor:
        return self.layer(clips.float()).relu().mean((2, 3, 4))


class Backend:
    """A compiler that changes nothing and notes of which batches it makes graphs and runs them."""

    def __init__(self) -> None:
        self.graphs: list[tuple[int, ...]] = []
        self.runs: list[int] = []

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor], **options: object) -> Callable:
        (clips,) = (value for value in inputs if value.dtype == torch.uint8)
        self.graphs.append(tuple(clips.shape))

        def run(*values: Tensor) -> object:
            self.runs.append(len(clips))
            return graph.forward(*values)

        return run


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Backend:
    backend = Backend()
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    return backend


def some_clips(count: int, height: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, 3, 4, height, 7), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(
    ("batches", "graphs", "runs"),
    [
        ([10, 10, 10], [10], [10, 10, 10]),  # full groups are taken as they are
        ([10, 9, 6, 5, 4, 3, 2, 1], [10, 5, 3, 2, 1], [10, 10, 10, 5, 5, 3, 2, 1]),  # the last is filled up
        ([34, 17, 8], [34, 17, 9], [34, 17, 9]),  # halved where the memory ended
        ([1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 4, 8], [1, 2, 2, 1, 4, 4, 1, 4, 2, 4, 4, 8]),  # watch: more cameras
        ([3, 24, 20], [3, 24], [3, 24, 24]),
    ],
)
def test_batches_that_vary_share_few_graphs(
    backend: Backend, batches: list[int], graphs: list[int], runs: list[int]
) -> None:
    module = Tiny().eval()
    engine = Compiled(module, CPU)
    for count in batches:
        clips = some_clips(count)
        with torch.inference_mode():
            found = engine(clips)
            assert found.shape == (count, 4) and torch.allclose(found, module(clips), atol=1e-4)
    assert [shape[0] for shape in backend.graphs] == graphs
    assert backend.runs == runs


def test_no_batch_is_larger_than_one_that_was_asked_for(backend: Backend) -> None:
    engine, largest = Compiled(Tiny().eval(), CPU), 0
    torch.manual_seed(0)
    for count in torch.randint(1, 60, (200,)).tolist():
        largest = max(largest, count)
        backend.runs.clear()
        engine(some_clips(count))
        assert max(backend.runs) <= largest and sum(backend.runs) < 2 * count
    assert len(backend.graphs) <= 12


def test_each_size_of_clips_has_graphs_of_its_own_beyond_pytorchs_limit(backend: Backend) -> None:
    engine = Compiled(Tiny().eval(), CPU)
    sizes = range(3, 3 + 2 * torch._dynamo.config.recompile_limit)
    for _ in range(2):
        for height in sizes:
            engine(some_clips(2, height))
    assert [shape[3] for shape in backend.graphs] == list(sizes)


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception, when: str) -> Compiled:
    """An engine whose compiler fails, or whose graphs do when they run."""

    def backend(*_: object, **options: object) -> Callable[..., object]:
        def run(*_: object) -> object:
            raise error

        return run() if when == "compiling" else run

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    return Compiled(Tiny().eval(), CPU)


@pytest.mark.parametrize(
    ("error", "when", "said"),
    [
        (
            RuntimeError("Failed to find\n C compiler."),
            "compiling",
            "RuntimeError: Failed to find C compiler.",
        ),
        (CalledProcessError(1, ["gcc", "main.c"]), "compiling", "'gcc', 'main.c'"),
        (CalledProcessError(1, ["gcc", "main.c"]), "running", "'gcc', 'main.c'"),  # as Triton does at first
        (PermissionError(13, "Permission denied", "/cache"), "running", "Permission denied: '/cache'"),
    ],
)
def test_a_compiler_that_fails_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, when: str, said: str
) -> None:
    with pytest.raises(PipelineError, match=f"engine 'compile' failed, use another: .*{said}") as found:
        failing(monkeypatch, error, when)(some_clips(2))
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("when", ["compiling", "running"])
def test_where_the_memory_ends_the_caller_is_told(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """It goes on with a smaller batch."""
    full = torch.cuda.OutOfMemoryError("CUDA out of memory.")
    with pytest.raises(RuntimeError) as found:
        failing(monkeypatch, full, when)(some_clips(2))
    assert is_out_of_memory(found.value)


@pytest.mark.slow
def test_features_are_the_networks() -> None:
    if reason := why_not("compile", CPU):
        pytest.skip(reason)
    network = nn.Sequential(nn.Conv3d(3, 8, 3), nn.ReLU(), nn.Conv3d(8, 8, 1), nn.Flatten(2)).eval()
    engine = make_engine("compile", network, Normalisation(127.5, 127.5), CPU)
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    with torch.inference_mode():
        for count in (5, 5, 3, 2):
            clips = some_clips(count)
            expected = network((clips.float() - 127.5) / 127.5)
            assert (engine(clips) - expected).abs().max() < 1e-4 * expected.abs().max()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] - before == 2 + 1  # of 5, of 3 and 2


def found_programs(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name in names else None)


def test_what_triton_lacks_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compiled_engine.importlib.util, "find_spec", lambda name: None)
    assert why_not("compile", CUDA) == "it needs Triton, which comes with PyTorch for Linux"
    monkeypatch.setattr(compiled_engine.importlib.util, "find_spec", lambda name: name)
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(sysconfig, "get_path", lambda name, scheme: str(tmp_path))
    found_programs(monkeypatch)
    assert why_not_triton() == "Triton needs a C compiler (gcc or clang is not there)"
    with pytest.raises(PipelineError, match="engine 'compile' does not run here: Triton needs a C compiler"):
        monkeypatch.setattr(engines, "check_engine", lambda *_: None)
        monkeypatch.setattr(engines, "choose_precision", lambda *_: "tf32")
        make_engine("compile", Tiny(), Normalisation(0, 1), CUDA)
    for name in ("gcc", "clang"):
        found_programs(monkeypatch, name)
        assert why_not_triton() is None
    monkeypatch.setenv("CC", "icc")
    assert why_not_triton() == "Triton needs a C compiler (icc is not there)"
    found_programs(monkeypatch, "gcc")
    (tmp_path / "Python.h").unlink()
    assert f"Python's headers, as in the package python3-dev ({tmp_path / 'Python.h'}" in str(
        why_not_triton()
    )
