"""The memory of normal patches: its mathematics, what it learns from, and its checkpoints."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.stores import with_motion
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ssrl_pipeline.data.labels import Label
from ssrl_pipeline.errors import CheckpointError, LabelError, PipelineError, StoreError
from ssrl_pipeline.models.memory import PatchMemory, fit_memory
from ssrl_pipeline.models.memory_fit import coreset, folds, normal_spread
from ssrl_pipeline.scoring.stored import score_snippets
from ssrl_pipeline.settings import MemorySettings
from ssrl_pipeline.training.kinds.normal_memory import draw_snippets, train_memory

CPU = torch.device("cpu")
NORMAL = {f"n{i}": 12 for i in range(4)}


def normal_labels(*videos: str) -> dict[str, Label]:
    return {video: Label(False, None) for video in videos}


@pytest.fixture(scope="module")
def trained(tiny_store, tmp_path_factory: pytest.TempPathFactory):
    """A store of four normal videos and one with snippets 3 and 4 planted, and the memory of the four."""
    store = tiny_store({**NORMAL, "a": 12}, {"a": [3, 4]})
    labels = {**normal_labels(*NORMAL), "a": Label(True, "test")}
    return store, train_memory(store, labels, tmp_path_factory.mktemp("run"), MemorySettings(), 0)


def test_scores_are_those_of_plain_mathematics() -> None:
    generator = torch.Generator().manual_seed(0)
    model = PatchMemory(feature_size=5, views={"clip": 1, "patch2x3": 6}, size=7, neighbours=2)
    for name, buffer in model.named_buffers():
        values = torch.randn(buffer.shape, generator=generator)
        buffer.copy_(values.abs() + 0.5 if "deviation" in name else values)
    model.get_buffer("median").fill_(-2.0)
    model.get_buffer("alarm").fill_(1.5)
    views = {name: torch.randn(2, 3, n, 5, generator=generator) for name, n in model.views.items()}
    output = model(views)

    state = {name: value.numpy().astype(np.float64) for name, value in model.state_dict().items()}
    total = np.zeros((2, 3))
    for index, (name, count) in enumerate(model.views.items()):
        of = f"memories.{name}."
        z = np.empty((2, 3, count))
        for b, t, p in itertools.product(range(2), range(3), range(count)):
            x = views[name][b, t, p].numpy().astype(np.float64)
            x = (x - state[f"{of}scaling.{name}_mean"]) / state[f"{of}scaling.{name}_deviation"]
            away = sorted(math.dist(x, row) for row in state[f"{of}normal"][p])
            z[b, t, p] = (sum(away[:2]) / 2 - state[f"{of}centre"][p]) / state[f"{of}deviation"][p]
        np.testing.assert_allclose(output.distances[name].numpy(), z, atol=1e-4)
        evidence = np.log(np.exp(z).mean(axis=2))
        total += (evidence - state["evidence_centre"][index]) / state["evidence_deviation"][index]
    beyond = (total - 1.5) / 3.5
    np.testing.assert_allclose(output.scores, 0.5 + 2 * beyond / (1 + 4 * abs(beyond)), atol=1e-4)


def test_fit_agrees_with_plain_mathematics() -> None:
    rng = np.random.default_rng(1)
    videos = np.repeat([0, 1, 2], [9, 12, 7])
    count, own = len(videos), 3 / 23  # three videos, and twenty that stand for what is usual
    shift = rng.standard_normal((3, 1, 1))[videos]  # videos differ, so that holding them out matters
    features = {
        "clip": rng.standard_normal((count, 1, 4)) + shift,
        "patch2x3": rng.standard_normal((count, 6, 4)) * [0.1, 1, 3, 9] * rng.random((1, 6, 1)) + 5,
    }
    views = {"clip": 1, "patch2x3": 6}
    model = fit_memory(lambda view: features[view], views, videos, limit=99, alarm=0.9)

    total = np.zeros(count)
    for name, rows in features.items():
        memory = model.memories[name]
        flat = rows.reshape(-1, 4)
        deviation = flat.std(axis=0)
        rows = (rows - flat.mean(axis=0)) / (deviation + 0.1 * deviation.mean())
        np.testing.assert_allclose(memory.normal, rows.transpose(1, 0, 2), atol=1e-4)
        away = np.empty(rows.shape[:2])
        for n, p in itertools.product(range(count), range(rows.shape[1])):
            away[n, p] = min(
                math.dist(rows[n, p], rows[m, p]) for m in range(count) if videos[m] != videos[n]
            )
        centre = own * away.mean(axis=0) + (1 - own) * away.mean()
        spread = np.sqrt(own * away.var(axis=0) + (1 - own) * away.var())
        np.testing.assert_allclose(memory.centre, centre, rtol=1e-4)
        np.testing.assert_allclose(memory.deviation, spread, rtol=1e-4)
        evidence = np.log(np.exp((away - centre) / spread).mean(axis=1))
        total += (evidence - evidence.mean()) / evidence.std()
    assert float(model.get_buffer("median")) == pytest.approx(np.median(total), abs=1e-3)
    assert float(model.get_buffer("alarm")) == pytest.approx(np.quantile(total, 0.9), abs=1e-3)


def test_a_position_is_judged_by_its_own_normal_patches() -> None:
    rng = np.random.default_rng(2)
    left, right = np.zeros(4), np.full(4, 8.0)
    features = rng.standard_normal((40, 2, 4)) + np.stack([left, right])
    model = fit_memory(lambda view: features, {"patch1x2": 2}, np.repeat([0, 1, 2, 3], 10))
    swapped = torch.from_numpy(np.stack([right, left])).float()[None, None]
    usual = torch.from_numpy(np.stack([left, right])).float()[None, None]
    assert float(model({"patch1x2": swapped}).scores) > 0.8 > 0.5 > float(model({"patch1x2": usual}).scores)
    one = usual.clone()
    one[0, 0, 1] = 0
    z = model({"patch1x2": one}).distances["patch1x2"][0, 0]
    assert z[1] > 3 > z[0], "the patch that is strange is the one that is far"


def test_what_0_1_and_0_5_stand_for_and_that_the_stranger_still_scores_more() -> None:
    model = PatchMemory(feature_size=1, views={"clip": 1}, size=1)
    model.get_buffer("median").fill_(2.0)
    model.get_buffer("alarm").fill_(5.0)  # one patch at zero, unit deviations: the total is the distance
    totals = torch.tensor([2.0, 5.0, 8.0, 100.0, 1000.0, 1e4])
    scores = model({"clip": totals.reshape(1, -1, 1, 1)}).scores[0]
    torch.testing.assert_close(scores[:3], torch.tensor([0.1, 0.5, 0.9]))
    assert (scores.diff() > 0).all() and scores[-1] < 1


@pytest.mark.parametrize("seed", range(5))
def test_coreset_covers_nearly_as_well_as_the_best_choice(seed: int) -> None:
    rows = np.random.default_rng(seed).standard_normal((11, 3)).astype(np.float32)

    def radius(chosen) -> float:
        return max(min(math.dist(row, rows[c]) for c in chosen) for row in rows)

    chosen = coreset(rows, 4)
    best = min(radius(choice) for choice in itertools.combinations(range(11), 4))
    assert len(set(chosen.tolist())) == 4
    assert radius(chosen) <= 2 * best + 1e-5  # what greedy k-centre guarantees


def test_coreset_of_long_rows_has_one_of_each_cluster() -> None:
    rng = np.random.default_rng(4)
    centres = 3 * rng.standard_normal((20, 1000))
    cluster = rng.integers(0, 20, 400)
    rows = (centres[cluster] + rng.standard_normal((400, 1000))).astype(np.float32)
    assert set(cluster[coreset(rows, 20)].tolist()) == set(range(20))


def test_coreset_of_few_rows_and_of_equal_rows() -> None:
    assert coreset(np.zeros((3, 2), np.float32), 5).tolist() == [0, 1, 2]
    assert len(set(coreset(np.ones((9, 2), np.float32), 5).tolist())) == 5


@pytest.mark.parametrize(("count", "expected"), [(2, 2), (7, 7), (25, 10)])
def test_every_video_is_held_out_once_and_whole(count: int, expected: int) -> None:
    videos = np.repeat(np.arange(count), 3)
    masks = np.stack(list(folds(videos)))
    assert len(masks) == expected
    assert (masks.sum(axis=0) == 1).all()
    assert all(len(set(masks[:, videos == video].argmax(axis=0))) == 1 for video in range(count))
    assert (~masks).any(axis=1).all()


def test_positions_gain_their_own_spread_as_videos_come_in() -> None:
    distances = np.random.default_rng(3).gamma(2, [[0.1, 1.0, 4.0]], (500, 3))
    own = distances.std(axis=0)
    few, many = (normal_spread(distances, videos).deviation for videos in (2, 10**6))
    assert few.max() / few.min() < 2 < own.max() / own.min()
    np.testing.assert_allclose(many, own, rtol=0.02)


def test_snippets_are_drawn_evenly_and_not_beyond_the_limit() -> None:
    lengths = {"a": 3, "none": 0, "b": 9000, "c": 1000}
    everything = draw_snippets(lengths, 20000, 0)
    assert {v: len(rows) for v, rows in everything.items()} == {"a": 3, "b": 9000, "c": 1000}
    assert everything["c"].tolist() == list(range(1000))
    drawn = draw_snippets(lengths, 2000, 0)
    assert sum(map(len, drawn.values())) == 2000
    assert all(len(set(rows)) == len(rows) and rows.max() < lengths[v] for v, rows in drawn.items())
    assert abs(len(drawn["b"]) - 1800) < 100  # nine tenths, and five deviations
    assert abs(drawn["b"].mean() - 4500) < 350
    assert drawn["b"].tolist() != draw_snippets(lengths, 2000, 1)["b"].tolist()


def test_finds_what_was_planted(trained) -> None:
    store, best = trained
    model = load_checkpoint(best).build()
    scores = score_snippets("a", model, store.read("a"), CPU)
    assert np.argsort(scores)[-2:].tolist() in ([3, 4], [4, 3])
    assert scores[[3, 4]].min() > 0.5
    held_in = np.concatenate([score_snippets(v, model, store.read(v), CPU) for v in NORMAL])
    assert held_in.max() < 0.5


def test_generalises_to_normal_videos_it_never_saw(tiny_store, tmp_path: Path) -> None:
    videos = {f"n{i:02}": 20 for i in range(20)} | {f"t{i}": 25 for i in range(20)}
    store = tiny_store(videos)
    learned = [v for v in videos if v.startswith("n")]
    best = train_memory(store, normal_labels(*learned), tmp_path, MemorySettings(alarm=0.9), 0)
    model = load_checkpoint(best).build()
    fresh = np.concatenate([score_snippets(v, model, store.read(v), CPU) for v in videos if v[0] == "t"])
    assert (fresh > 0.5).mean() == pytest.approx(0.1, abs=0.05)
    assert np.median(fresh) == pytest.approx(0.1, abs=0.05)


def test_abnormal_and_other_splits_are_not_looked_at(tiny_store, tmp_path: Path) -> None:
    store = tiny_store({**NORMAL, "a": 9, "v": 9, "t": 9})
    for video in "avt":  # would be refused if read
        path = store.root / video / "patch2x3.npy"
        np.save(path, np.full_like(np.load(path), np.nan))
    others = {"a": Label(True, "train"), "v": Label(False, "val"), "t": Label(False, "test")}
    with_others = train_memory(
        store, {**normal_labels(*NORMAL), **others}, tmp_path / "1", MemorySettings(), 0
    )
    alone = train_memory(store, normal_labels(*NORMAL), tmp_path / "2", MemorySettings(), 0)
    first, second = load_checkpoint(with_others), load_checkpoint(alone)
    assert first.provenance["train_videos"] == second.provenance["train_videos"] == list(NORMAL)
    for name, value in first.weights.items():
        assert torch.equal(value, second.weights[name]), name


def test_two_videos_are_enough_and_one_is_not(tiny_store, tmp_path: Path) -> None:
    store = tiny_store({"n0": 12, "n1": 12, "a": 12, "empty": 1}, {"a": [5]})
    best = train_memory(store, normal_labels("n0", "n1"), tmp_path / "run", MemorySettings(), 0)
    scores = score_snippets("a", load_checkpoint(best).build(), store.read("a"), CPU)
    assert scores.argmax() == 5 and scores[5] > 0.5
    with pytest.raises(LabelError, match="only 'n0'; a memory needs two or more"):
        train_memory(store, normal_labels("n0"), tmp_path / "none", MemorySettings(), 0)
    with pytest.raises(LabelError, match="normal training videos: none"):
        train_memory(store, {"a": Label(True, None)}, tmp_path / "none", MemorySettings(), 0)
    assert not (tmp_path / "none").exists()


def test_memory_is_bounded_and_still_finds_it(tiny_store, tmp_path: Path) -> None:
    store = tiny_store({"n0": 90, "n1": 90, "n2": 90, "a": 40}, {"a": [5, 6, 7]})
    settings = MemorySettings(limit=8, sample=100, neighbours=3)
    best = train_memory(store, normal_labels("n0", "n1", "n2"), tmp_path, settings, 0)
    checkpoint = load_checkpoint(best)
    assert checkpoint.weights["memories.patch2x3.normal"].shape == (6, 8, 16)
    assert checkpoint.provenance["snippets"] == 100
    scores = score_snippets("a", checkpoint.build(), store.read("a"), CPU)
    assert roc_auc_score(np.isin(np.arange(40), [5, 6, 7]), scores) > 0.95


def test_a_frozen_picture_is_normal_and_any_change_is_not(tiny_store, replace_view, tmp_path: Path) -> None:
    store = tiny_store({"n0": 5, "n1": 5})
    for video in store.videos():
        replace_view(store, video, "patch2x3", np.ones((5, 6, 16), np.float32))
    model = load_checkpoint(
        train_memory(store, normal_labels("n0", "n1"), tmp_path, MemorySettings(), 0)
    ).build()
    features = np.ones((3, 6, 16), np.float32)
    features[1] += 1
    scores = score_snippets("x", model, {"patch2x3": features}, CPU)
    assert scores[1] > 0.9 > 0.5 > scores[0] == scores[2]


@pytest.mark.parametrize("views", [("motion",), ("motion", "patch2x3")])
def test_motion_is_remembered_where_it_is_asked_for(tiny_store, tmp_path: Path, views) -> None:
    store = with_motion(tiny_store({**NORMAL, "a": 9}), tmp_path / "both", fast=["a"])
    labels = normal_labels(*NORMAL)
    best = train_memory(store, labels, tmp_path / "run", MemorySettings(views=views), 0)
    model = load_checkpoint(best).build()
    assert model.sizes == {view: 12 if view == "motion" else 16 for view in views}
    fast, usual = (
        score_snippets(video, model, store.read(video), CPU) for video in ("a", next(iter(NORMAL)))
    )
    assert fast.min() > 0.5 > usual.max()
    plain = load_checkpoint(train_memory(store, labels, tmp_path / "plain", MemorySettings(), 0))
    assert list(plain.build().views) == ["patch2x3"] and "motion" not in plain.recipe["views"]


def test_views_are_chosen(tiny_store, tmp_path: Path) -> None:
    store, labels = tiny_store(NORMAL), normal_labels(*NORMAL)

    def views(name: str, **settings) -> dict[str, int]:
        return (
            load_checkpoint(train_memory(store, labels, tmp_path / name, MemorySettings(**settings), 0))
            .build()
            .views
        )

    assert views("default") == {"patch2x3": 6}
    assert views("both", views=("patch2x3", "clip")) == {"patch2x3": 6, "clip": 1}
    with pytest.raises(PipelineError, match="no view 'patch9x9'; it has clip, patch2x3"):
        views("none", views=("patch9x9",))
    store.recipe["views"] = {"clip": 1}
    assert views("clip") == {"clip": 1}


def test_clear_errors(trained, tiny_store, replace_view, tmp_path: Path) -> None:
    store = tiny_store(NORMAL)
    damaged = np.array(store.read("n2")["patch2x3"])
    damaged[4, 2, 1] = np.inf
    replace_view(store, "n2", "patch2x3", damaged)
    with pytest.raises(StoreError, match="patch2x3 features of 'n2' are not finite"):
        train_memory(store, normal_labels(*NORMAL), tmp_path, MemorySettings(), 0)
    with pytest.raises(StoreError, match="lacks 1 of 2"):
        train_memory(store, normal_labels("n0", "gone"), tmp_path, MemorySettings(), 0)
    (tmp_path / "ssrl").mkdir()
    (tmp_path / "ssrl" / "last.pt").touch()
    with pytest.raises(CheckpointError, match="another model .*--name"):
        train_memory(trained[0], normal_labels(*NORMAL), tmp_path / "ssrl", MemorySettings(), 0)
    for wrong in ({"neighbours": 0}, {"limit": 0}, {"limit": 9, "sample": 8}, {"alarm": 1.0}, {"alarm": 0.5}):
        with pytest.raises(ValueError, match=list(wrong)[-1]):
            MemorySettings(**wrong)
    model = load_checkpoint(trained[1]).build()
    with pytest.raises(ValueError, match="'patch2x3' is missing; there are clip"):
        model({"clip": torch.zeros(1, 1, 1, 16)})
    with pytest.raises(ValueError, match=r"is \[B, T, 6, 16\], not \[1, 1, 5, 16\]"):
        model({"patch2x3": torch.zeros(1, 1, 5, 16)})


def test_a_second_training_in_the_same_folder_gives_the_same(trained, tiny_store, tmp_path: Path) -> None:
    store = trained[0]
    settings = MemorySettings(limit=5, sample=20)

    def weights(seed: int) -> dict[str, torch.Tensor]:
        return load_checkpoint(train_memory(store, normal_labels(*NORMAL), tmp_path, settings, seed)).weights

    first, again, other = weights(7), weights(7), weights(8)
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not torch.equal(first["alarm"], other["alarm"])


def test_checkpoint_gives_the_same_scores_on_the_same_memory(trained) -> None:
    store, best = trained
    checkpoint = load_checkpoint(best)
    assert checkpoint.kind == "memory"
    normal = np.concatenate([store.read(v)["patch2x3"] for v in NORMAL])
    model = checkpoint.build()
    for position in range(6):
        kept = model.memories["patch2x3"].normal[position].numpy()
        scaled = model.memories["patch2x3"].scaling("patch2x3", torch.from_numpy(normal[:, position])).numpy()
        gaps, _ = NearestNeighbors(n_neighbors=1).fit(scaled).kneighbors(kept)
        assert gaps.max() < 1e-4, "what is remembered was seen at this position"


HOSTILE = (
    {"size": 10**13},
    {"feature_size": 2**31},
    {"views": {"patch2x3": 10**12}},
    {"size": -1},
    {"size": "7"},
    {"size": 2.5},
    {"views": {}},
    {"views": 3},
    {"views": {"keys": 6}},
    {"views": {"a.b": 6}},
    {"kind": "oracle"},
    {"kind": ["memory"]},
    {"kind": "ssrl"},
    {"extra": 1},
    {"neighbours": 0},
    {"neighbours": "many"},
)


@pytest.mark.parametrize("change", HOSTILE, ids=str)
def test_hostile_sizes_are_refused_at_no_cost(trained, change: dict) -> None:
    loaded = load_checkpoint(trained[1])
    with pytest.raises(CheckpointError, match="differ: "):
        Checkpoint(loaded.weights, {**loaded.model, **change}, {}, {}, {}).build()


def test_weights_that_only_pose_as_large_are_refused(trained, tmp_path: Path) -> None:
    loaded = load_checkpoint(trained[1])
    size = 10**10
    posing = {**loaded.weights, "memories.patch2x3.normal": torch.zeros(1).expand(6, size, 16)}
    path = tmp_path / "posing.pt"
    save_checkpoint(path, Checkpoint(posing, {**loaded.model, "size": size}, {}, {}, {}))
    assert path.stat().st_size < 10**5
    with pytest.raises(CheckpointError, match="too few numbers in the file"):
        load_checkpoint(path).build()
    for weights in ([1], {"alarm": 3}, {**loaded.weights, "alarm": "x"}):
        with pytest.raises(CheckpointError, match="differ: "):
            Checkpoint(weights, loaded.model, {}, {}, {}).build()


def test_built_models_do_not_share_their_numbers(trained) -> None:
    checkpoint = load_checkpoint(trained[1])
    first, second = checkpoint.build(), checkpoint.build()
    first.get_buffer("alarm").fill_(99.0)
    assert float(second.get_buffer("alarm")) == float(checkpoint.weights["alarm"]) != 99.0
