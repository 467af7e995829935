"""The device that plays CUDA: it computes as the CPU does, and each fault of its caller shows."""

import copy
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.fake_cuda import fake_cuda
from helpers.fake_device import FakeCuda
from torch import Tensor, nn
from torch.nn import functional as F

CUDA = torch.device("cuda")


@pytest.fixture
def cuda() -> Iterator[FakeCuda]:
    with fake_cuda() as device:
        yield device


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv1d(4, 8, 3), nn.ReLU(), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(48, 1), nn.Sigmoid())


def fit(model: nn.Module, device: torch.device, precision: torch.dtype | None = None) -> list[Tensor]:
    """Three steps with gradients that are summed over broadcast and shared values."""
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    x, truth = torch.arange(96.0).sin().view(3, 4, 8).to(device), torch.tensor([0.0, 1, 1], device=device)
    for step in range(3):
        torch.manual_seed(step)
        optimiser.zero_grad()
        with torch.autocast(device.type, precision or torch.bfloat16, enabled=precision is not None):
            found = model(x + model[2].bias.mean()).squeeze(1)
        loss = F.binary_cross_entropy(found.float(), truth) + model[0].weight.norm() * model[0].bias[0]
        loss.backward()
        optimiser.step()
    return [value.detach().cpu() for value in model.state_dict().values()]


def test_it_trains_as_the_cpu_does_and_nobody_waits(cuda: FakeCuda) -> None:
    expected = fit(network(), torch.device("cpu"))
    model = network().to("cuda")
    cuda.forget()
    found = fit(model, CUDA)
    assert {wait.what for wait in cuda.waits} == {"copy to the host"} and len(cuda.waits) == len(found)
    assert [torch.allclose(a, b, atol=1e-7) for a, b in zip(found, expected, strict=True)] == [True] * 9
    assert all(isinstance(value, nn.Parameter) and value.device.index == 0 for value in model.parameters())


def test_autocast_is_that_of_cuda(cuda: FakeCuda) -> None:
    model, x = network().to("cuda").eval(), torch.randn(3, 4, 8, device="cuda")
    with torch.autocast("cuda", torch.bfloat16):
        assert model(x).dtype == torch.bfloat16
        assert torch.cdist(x[0], x[0]).dtype == torch.float32
        with pytest.raises(RuntimeError, match="unsafe to autocast"):
            F.binary_cross_entropy(model(x), torch.ones(3, 1, device="cuda"))
    whole, mixed = (fit(network().to("cuda"), CUDA, precision) for precision in (None, torch.bfloat16))
    differences = [(a - b).abs().max().item() for a, b in zip(whole, mixed, strict=True)]
    assert 1e-6 < max(differences) < 0.1


def test_what_is_copied_and_saved_is_as_on_cuda(cuda: FakeCuda) -> None:
    x = torch.randn(2, 3, device="cuda")
    assert x.to("cuda") is x and x.cuda() is x and x.cpu() is not x and x.is_cuda and x.device.index == 0
    model = copy.deepcopy(network().to("cuda"))
    assert all(isinstance(p, nn.Parameter) and p.is_cuda and p.requires_grad for p in model.parameters())
    torch.save({"weights": model.state_dict()}, file := io.BytesIO())
    file.seek(0)
    weights = torch.load(file, map_location="cpu", weights_only=True)["weights"]
    assert not any(value.is_cuda for value in weights.values())
    model.load_state_dict({name: value + 1 for name, value in weights.items()})
    assert torch.equal(model[0].bias.cpu(), weights["0.bias"] + 1)
    view = x[:, 1]
    view += 5  # through a view into what it is of
    assert torch.equal(x.cpu()[:, 1], view.cpu())


# Faults that end a run


def test_tensors_of_two_devices_do_not_meet(cuda: FakeCuda) -> None:
    here, there = torch.ones(2, 4, 8), torch.ones(2, 4, 8, device="cuda")
    for meet in (
        lambda: here + there,
        lambda: torch.cat([there, here]),
        lambda: torch.stack([there.sum(), here.sum()]),
        lambda: network().to("cuda")(here),
        lambda: network()(there),
        lambda: there.clamp_(min=here),
        lambda: there + torch.ones(2, 4, 8, device="cuda:1"),
    ):
        with pytest.raises(RuntimeError, match="on the same device, but found at least two devices, cuda:"):
            meet()
    assert (there * torch.tensor(2.0)).sum().item() == 128  # a number may
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        here.to("cuda:2")


def test_an_array_is_refused(cuda: FakeCuda) -> None:
    there = torch.ones(2, device="cuda")
    for ask in (there.numpy, lambda: np.asarray(there), lambda: np.concatenate([there])):
        with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
            ask()
    with pytest.raises(RuntimeError, match="only dense CPU tensors can be pinned"):
        there.pin_memory()


def test_memory_has_an_end(cuda: FakeCuda) -> None:
    cuda.memory = 1000
    kept = torch.zeros(150, device="cuda")
    with pytest.raises(torch.cuda.OutOfMemoryError, match="Tried to allocate 800 bytes"):
        torch.zeros(200, device="cuda")
    assert torch.cuda.mem_get_info() == (400, 1000) and torch.cuda.memory_allocated() == 600
    part = kept[:10]
    del kept
    assert torch.cuda.memory_allocated("cuda:0") == 600 and len(part) == 10
    del part
    torch.zeros(200, device="cuda")
    assert cuda.allocated == [0, 0] and cuda.peak == [800, 0]


# Waits, which nobody notices on a CPU

HERE = Path(__file__).name
WAITS = {
    "item": lambda x: x.sum().item(),
    "bool": lambda x: bool(x.isfinite().all()),
    "float": lambda x: float(x[0]),
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "to": lambda x: x.to("cpu"),
    "copy": lambda x: torch.empty(3).copy_(x),
    "copy to what is not pinned": lambda x: torch.empty(3).copy_(x, non_blocking=True),
    "nonzero": lambda x: x.nonzero(),
    "mask": lambda x: x[x > 0],
    "mask to be set": lambda x: x.__setitem__(x > 0, x[:3] + 1),
    "unique": lambda x: x.unique(),
    "equal": lambda x: torch.equal(x, x),
    "allclose": lambda x: torch.allclose(x, x),
    "synchronize": lambda x: torch.cuda.synchronize(),
    "stream": lambda x: torch.cuda.current_stream().synchronize(),
}
UPLOADS = {
    "to": lambda x: torch.ones(3).to("cuda"),
    "pinned": lambda x: torch.ones(3).pin_memory().to("cuda"),
    "tensor": lambda x: torch.tensor([1.0, 2.0], device="cuda"),
    "copy": lambda x: x.copy_(torch.ones(3)),
    "index": lambda x: x[torch.tensor([0, 2])],
}
NEITHER = {
    "arithmetic": lambda x: (x @ x).sqrt().add_(1),
    "index": lambda x: x[x.argsort()[:2]],
    "where": lambda x: torch.where(x > 0, x, 0.0).masked_fill_(x < 1, 2.0),
    "made there": lambda x: (torch.zeros(2, device="cuda"), torch.arange(3, device="cuda"), x.new_ones(2)),
    "pinned": lambda x: torch.ones(3).pin_memory().to("cuda", non_blocking=True),
    "to pinned": lambda x: torch.empty(3, pin_memory=True).copy_(x, non_blocking=True),
    "late": lambda x: x.to("cpu", non_blocking=True),
    "between devices": lambda x: x.to("cuda:1"),
}


@pytest.mark.parametrize("inference", [False, True])
def test_waits_and_uploads_are_counted_with_their_line(cuda: FakeCuda, inference: bool) -> None:
    counts = {}
    for kind, calls in (("waits", WAITS), ("uploads", UPLOADS), ("neither", NEITHER)):
        for name, call in calls.items():
            with torch.inference_mode(inference):
                x = torch.ones(3, device="cuda")
                cuda.forget()
                call(x)
            counts[kind, name] = len(cuda.waits), len(cuda.uploads)
            assert all(wait.where.startswith(f"{HERE}:") for wait in (*cuda.waits, *cuda.uploads))
    expected = {"waits": (1, 0), "uploads": (0, 1), "neither": (0, 0)}
    assert counts == {(kind, name): expected[kind] for kind, name in counts}


def test_a_number_asked_for_in_a_loop(cuda: FakeCuda) -> None:
    x = torch.ones(3, device="cuda")
    assert sum(value.item() for value in x) == 3
    assert len(cuda.waits) == 3 and len(set(cuda.waits)) == 1


# What comes out right by luck


def test_a_copy_that_nobody_waited_for_is_not_there(cuda: FakeCuda) -> None:
    here = torch.empty(3, pin_memory=True)
    array = here.numpy()
    here.copy_(torch.ones(3, device="cuda"), non_blocking=True)
    done = torch.cuda.Event()
    done.record()
    here_too = torch.ones(3, device="cuda").to("cpu", non_blocking=True)
    assert np.isnan(array).all() and here_too.isnan().all()
    done.synchronize()
    assert (array == 1).all() and here_too.isnan().all()  # it began after the event
    torch.cuda.synchronize()
    assert (here_too == 1).all()


def test_pinned_memory_is_not_to_be_written_while_it_is_copied(cuda: FakeCuda) -> None:
    pinned = torch.ones(3, pin_memory=True)
    assert torch.from_numpy(pinned.numpy()[1:]).is_pinned() and not torch.ones(3).is_pinned()
    for asks in (2, 0):
        there, copied = pinned.to("cuda", non_blocking=True), torch.cuda.Event()
        copied.record()
        assert not any(copied.query() for _ in range(asks - 1))
        assert copied.query() == bool(asks)  # the first time of asking it is never through
        pinned += 1
        torch.cuda.synchronize()
    assert cuda.faults == ["pinned memory was written again before its copy to the device was through"]
    assert len(there) == 3
    cuda.faults.clear()


def test_streams_that_do_not_wait_for_each_other(cuda: FakeCuda) -> None:
    side, frames = torch.cuda.Stream("cuda"), torch.ones(3).pin_memory()
    with torch.cuda.stream(side):
        there = frames.to("cuda", non_blocking=True)
    with pytest.raises(RuntimeError, match="wait_stream is missing"):
        there + 1
    torch.cuda.current_stream().wait_stream(side)
    there.record_stream(torch.cuda.current_stream())
    result = there + 1
    with torch.cuda.stream(side), pytest.raises(RuntimeError, match="wait_stream is missing"):
        there.zero_()  # the other may read it still
    event = torch.cuda.current_stream().record_event()
    side.wait_event(event)
    with torch.cuda.stream(side):
        there.zero_()
    assert result.tolist() == [2, 2, 2]
    with torch.cuda.stream(side):
        result += there  # the host waited for what wrote it
    result.record_stream(side)


def test_memory_that_another_stream_uses_is_not_to_be_let_go(cuda: FakeCuda) -> None:
    side = torch.cuda.Stream("cuda")
    for way in ("record_stream", "wait", "none"):
        with torch.cuda.stream(side):
            there = torch.ones(3, device="cuda")
        torch.cuda.current_stream().wait_stream(side)
        result = there + 1
        if way == "record_stream":
            there.record_stream(torch.cuda.current_stream())
        if way == "wait":
            result.cpu()
        assert cuda.faults == []
        del there
    assert cuda.faults == [
        "memory let go while another stream than its own was at it: record_stream is missing"
    ]
    cuda.faults.clear()


def test_faults_found_late_are_told_at_the_end() -> None:
    with pytest.raises(AssertionError, match="written again"), fake_cuda():
        pinned = torch.ones(3, pin_memory=True)
        there = pinned.to("cuda", non_blocking=True)
        pinned += 1
    assert there.is_cuda and not torch.cuda.is_available()


@pytest.mark.filterwarnings("ignore:CUDA reports")
def test_the_random_state_of_a_device_is_not_to_be_asked_for_by_others(cuda: FakeCuda) -> None:
    with torch.random.fork_rng(devices=["cuda:1"]):
        pass
    assert cuda.touched == {1}
    with torch.random.fork_rng():
        pass
    assert cuda.touched == {0, 1}
