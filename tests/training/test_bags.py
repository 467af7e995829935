"""Bags of segments, and batches of both kinds in balance."""

from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from ssrl_pipeline.errors import StoreError
from ssrl_pipeline.features.segments import segment_means
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.training import bags as module
from ssrl_pipeline.training.bags import Bags, balanced_batches, load_bags


def plain_means(features: np.ndarray, segments: int) -> list[np.ndarray]:
    """Segment s is the snippets from floor(s N / S) to floor((s + 1) N / S), or the one where it stands."""
    count, means = len(features), []
    for s in range(segments):
        first, end = s * count // segments, (s + 1) * count // segments
        total, snippets = np.zeros(features.shape[1:]), 0
        for t in range(first, max(end, first + 1)):
            total, snippets = total + features[t], snippets + 1
        means.append(total / snippets)
    return means


@pytest.mark.parametrize("segments", [32, 8, 1])
@pytest.mark.parametrize("count", [1, 7, 31, 32, 33, 100])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_segments_are_means_over_equal_parts(count: int, segments: int, dtype: str) -> None:
    features = np.random.default_rng(count).standard_normal((count, 3, 5)).astype(dtype)
    found = segment_means(features, segments)
    assert found.dtype == np.float32
    assert found.shape == (segments, 3, 5)
    np.testing.assert_allclose(found, plain_means(features.astype(float), segments), rtol=1e-5, atol=1e-6)


def test_segments_of_a_ramp_by_hand() -> None:
    """Five snippets in four parts: 0, 1, 2 and (3, 4); in eight, parts without a snippet repeat one."""
    ramp = np.arange(5.0).reshape(5, 1, 1)
    assert segment_means(ramp, 4).ravel().tolist() == [0, 1, 2, 3.5]
    assert segment_means(ramp, 8).ravel().tolist() == [0, 0, 1, 1, 2, 3, 3, 4]


def test_large_half_precision_features_do_not_overflow() -> None:
    features = np.full((40, 1, 2), 60_000, np.float16)
    assert segment_means(features, 2).ravel().tolist() == [60_000.0 - 60_000 % 32] * 4


def test_bags_are_the_stored_features(tiny_store: Callable[..., FeatureStore], tmp_path: Path) -> None:
    store = tiny_store({"n.mp4": 7, "x.mp4": 40, "other.mp4": 2}, {"x.mp4": [3]})
    bags = load_bags(store, {"x.mp4": True, "n.mp4": False}, ["patch2x3"], 8, tmp_path)
    assert bags.videos == ["x.mp4", "n.mp4"]
    assert bags.abnormal.tolist() == [True, False]
    assert list(bags.views) == ["patch2x3"]
    assert bags.views["patch2x3"].shape == (2, 8, 6, 16)
    for bag, video in zip(bags.views["patch2x3"], bags.videos, strict=True):
        stored = np.load(store.root / video / "patch2x3.npy")
        np.testing.assert_allclose(bag, plain_means(stored, 8), rtol=1e-5, atol=1e-6)


def test_a_batch_holds_the_bags_that_it_was_asked_for(
    tiny_store: Callable[..., FeatureStore], tmp_path: Path
) -> None:
    store = tiny_store({f"{i}.mp4": 4 for i in range(3)})
    bags = load_bags(
        store, {"0.mp4": False, "1.mp4": True, "2.mp4": False}, ["clip", "patch2x3"], 4, tmp_path
    )
    views, abnormal = bags.batch([1, 1, 2], torch.device("cpu"))
    assert abnormal.tolist() == [True, True, False]
    assert {name: list(view.shape) for name, view in views.items()} == {
        "clip": [3, 4, 1, 16],
        "patch2x3": [3, 4, 6, 16],
    }
    for row, video in enumerate(("1.mp4", "1.mp4", "2.mp4")):  # four snippets in four segments: as they are
        np.testing.assert_array_equal(views["clip"][row], np.load(store.root / video / "clip.npy"))


def on(bags: Bags) -> set[str]:
    return {
        t.device.type for t in [*bags.views.values(), *bags.branches.values()] if isinstance(t, torch.Tensor)
    }


def test_bags_are_where_training_is_as_far_as_there_is_room(
    tiny_store: Callable[..., FeatureStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tiny_store({"a.mp4": 4, "b.mp4": 9})
    bags = load_bags(store, {"a.mp4": False, "b.mp4": True}, ["clip", "patch2x3"], 4, tmp_path)
    gpu = torch.device("meta")  # stands for one: a device with nothing but shapes
    size = 2 * 4 * (1 + 6) * 16 * 4

    def room(free: int) -> None:
        monkeypatch.setattr(module, "_room", lambda device: free)

    bags.move(torch.device("cpu"))
    bags.move(gpu)
    room(size - 1)
    bags.move(gpu)
    assert on(bags) == {"cpu"}
    room(size)
    with monkeypatch.context() as patch:
        error = RuntimeError("CUDA error: out of memory")
        patch.setattr(torch.Tensor, "to", lambda *_: (_ for _ in ()).throw(error))
        bags.move(gpu)  # as another program took the room meanwhile
    assert on(bags) == {"cpu"}
    bags.move(gpu)
    assert on(bags) == {"meta"}

    bags.branches["2x3"] = torch.zeros(2, 4, 16)
    room(2 * 4 * 16 * 4)  # what is there already takes no more
    bags.move(gpu)
    assert on(bags) == {"meta"}
    views, abnormal = bags.batch([1, 0, 1], gpu)
    assert abnormal.is_meta and all(view.is_meta for view in views.values())
    assert {n: list(view.shape) for n, view in views.items()} == {"2x3": [3, 4, 16], "clip": [3, 4, 1, 16]}


def test_large_packs_are_mapped_from_a_file_that_later_calls_find(
    tiny_store: Callable[..., FeatureStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, labels = tiny_store({"a.mp4": 4, "b.mp4": 9}), {"b.mp4": True, "a.mp4": False}
    arguments = (labels, ["clip", "patch2x3"], 6, tmp_path / "packs")
    held = load_bags(store, *arguments)
    assert not (tmp_path / "packs").exists()
    monkeypatch.setattr(module, "MOST_IN_MEMORY", 0)
    mapped = load_bags(store, *arguments)
    monkeypatch.setattr(FeatureStore, "read", None)  # no full-length file is read again
    for bags in (mapped, load_bags(store, *arguments)):
        assert bags.videos == held.videos and bags.abnormal.equal(held.abnormal)
        for name in held.views:
            assert isinstance(bags.views[name], np.memmap)
            np.testing.assert_array_equal(bags.views[name], held.views[name])
        monkeypatch.setattr(module, "_room", lambda device: 1 << 40)
        bags.move(torch.device("meta"))  # which is for what is in memory
        batch, _ = bags.batch([1, 0, 1], torch.device("cpu"))
        expected, _ = held.batch([1, 0, 1], torch.device("cpu"))
        assert all(batch[name].equal(expected[name]) for name in expected)
    (pack,) = (tmp_path / "packs").iterdir()
    del mapped, bags, batch
    whole = (pack / "clip.npy").read_bytes()
    for damaged in (b"damaged", whole[:-1] + bytes([whole[-1] ^ 1])):
        (pack / "clip.npy").write_bytes(damaged)
        with pytest.raises(StoreError, match="clip.npy: damaged .* delete its folder"):
            load_bags(store, *arguments)


ABNORMAL = torch.tensor([False, True, False, False, True, False, False, True, False, False])  # 7 and 3


def batches(number: int, size: int = 3, seed: int = 0, stage: int = 1) -> list[list[int]]:
    return list(islice(balanced_batches(ABNORMAL, size, seed, stage), number))


@pytest.mark.parametrize("size", [1, 3, 8])
def test_batches_have_as_many_of_both_kinds(size: int) -> None:
    for batch in batches(10, size):
        kinds = [bool(ABNORMAL[i]) for i in batch]
        assert kinds == [False] * size + [True] * size


def test_every_bag_appears_equally_often_though_one_kind_is_rarer() -> None:
    counts = Counter(i for batch in batches(7) for i in batch)  # 21 places of each kind
    assert {i: counts[i] for i in range(10)} == {i: 7 if ABNORMAL[i] else 3 for i in range(10)}


@pytest.mark.parametrize(("kind", "bags"), [(0, 7), (1, 3)])
def test_no_bag_comes_twice_before_all_have_come(kind: int, bags: int) -> None:
    stream = [i for batch in batches(21) for i in batch[3 * kind : 3 * kind + 3]]
    rounds = [tuple(stream[i : i + bags]) for i in range(0, len(stream), bags)]
    assert all(len(set(one)) == bags for one in rounds)
    assert len(set(rounds)) > 1  # each round in its own order


def test_seed_and_stage_decide_the_batches() -> None:
    assert batches(7, seed=5, stage=2) == batches(7, seed=5, stage=2)
    assert batches(7, seed=5, stage=2) != batches(7, seed=6, stage=2)
    assert batches(7, seed=5, stage=2) != batches(7, seed=5, stage=3)


def test_batches_do_not_touch_the_global_generators() -> None:
    np.random.seed(0)
    torch.manual_seed(0)
    expected = np.random.random(), torch.rand(1).item()
    np.random.seed(0)
    torch.manual_seed(0)
    batches(5)
    assert (np.random.random(), torch.rand(1).item()) == expected
