"""Scores in chunks against the scores of the whole video at once."""

import errno
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.models import SSRL, FusedDetector, PatchMemory
from ssrl_pipeline.models import long_video as streaming
from ssrl_pipeline.models.long_video import ScoreStream, score_long
from ssrl_pipeline.models.ssrl.relation import RelationBlock

CPU = torch.device("cpu")
CHUNK = 8  # of the streams here: more than the convolutions reach, 5
LENGTHS = (1, 2, 5, 6, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5)
MEMORY = {"feature_size": 16, "views": {"clip": 3, "patch2x3": 6}, "size": 7}


def lively(model: nn.Module) -> nn.Module:
    """Random statistics and weights of all batch norms; the weight of the non-local block's starts at 0."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.3, 3)
            nn.init.uniform_(module.weight, 1, 3)
            nn.init.normal_(module.bias, std=0.5)
        elif isinstance(module, nn.Linear) and module.out_features == 1:
            nn.init.normal_(module.weight)  # scores that differ
    return model.eval()


def ssrl(scales: tuple[str, ...], crops: int) -> SSRL:
    torch.manual_seed(0)
    model = lively(SSRL(16, scales, crops))
    for name in model.views:
        model.scaling.fit(name, [torch.randn(50, 16) * 2 + 1])
    return model


def fill(memory: PatchMemory) -> PatchMemory:
    """Random normal snippets, about as far from the features below as the alarm level."""
    torch.manual_seed(2)
    for name, buffer in memory.named_buffers():
        if name.endswith("normal"):
            buffer.normal_()
        elif name.endswith("centre"):
            buffer.fill_(4 if "evidence" in name else 3)
    return memory.eval()


def features(model: nn.Module, snippets: int) -> dict[str, Tensor]:
    torch.manual_seed(3)
    return {name: torch.randn(snippets, count, 16) * 2 for name, count in model.views.items()}


def cut(views: dict[str, Tensor], *lengths: int) -> Iterator[dict[str, Tensor]]:
    parts = {name: rows.split(list(lengths)) for name, rows in views.items()}
    return ({name: rows[i] for name, rows in parts.items()} for i in range(len(lengths)))


def at_once(model: nn.Module, views: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        scores = model({name: rows[None] for name, rows in views.items()}).scores[0]
    assert len(scores) == 1 or scores.std() > 2e-3, "scores that are all alike would agree with anything"
    return scores


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScoreStream.__init__, "__defaults__", (CHUNK,))


@pytest.mark.parametrize("snippets", LENGTHS)
@pytest.mark.parametrize(("scales", "crops"), [((), 3), (("2x3",), 1), (("2x3", "3x5"), 4)])
def test_ssrl_scores_as_if_it_saw_the_whole_video(snippets: int, scales: tuple[str, ...], crops: int) -> None:
    model = ssrl(scales, crops)
    views = features(model, snippets)
    scores = score_long(model, cut(views, *[1] * snippets), CPU)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, at_once(model, views), atol=1e-5, rtol=0)


@pytest.mark.parametrize("lengths", [(29,), (8, 8, 8, 5), (3, 20, 6), (1, 27, 1), (7, 0, 9, 13)], ids=str)
def test_how_the_features_come_makes_no_difference(lengths: tuple[int, ...]) -> None:
    model = ssrl(("2x3",), 2)
    views = features(model, 29)
    scores = score_long(model, cut(views, *lengths), CPU)
    torch.testing.assert_close(scores, at_once(model, views), atol=1e-5, rtol=0)


@pytest.mark.parametrize("snippets", LENGTHS)
def test_the_memory_and_both_together(snippets: int) -> None:
    memory = fill(PatchMemory(**MEMORY))
    fused = FusedDetector({"feature_size": 16, "scales": ["2x3", "3x5"], "crops": 3}, MEMORY, weight=0.7)
    lively(fused)
    fill(fused.memory)
    for model in (memory, fused):
        views = features(model, snippets)
        scores = score_long(model, cut(views, *[1] * snippets), CPU)
        torch.testing.assert_close(scores, at_once(model, views), atol=1e-5, rtol=0)


def test_a_stretch_is_right_up_to_the_reach_of_its_ends() -> None:
    """Over a chain of seams: one element nearer to a cut end than `reach`, the result is another."""
    block = lively(RelationBlock(16))
    x = torch.randn(2, 40, 16)
    with torch.no_grad():
        whole = block(x)
        part = block(x[:, 10:30], block.gather(x) / 40)
    assert block.reach == 5
    torch.testing.assert_close(part[:, 5:-5], whole[:, 15:25])
    for wrong, right in ((part[:, 4], whole[:, 14]), (part[:, -5], whole[:, 25])):
        assert (wrong - right).abs().max() > 1e-3


def test_scores_so_far_and_then_of_more() -> None:
    model = ssrl(("2x3",), 2)
    views = features(model, 3 * CHUNK)
    with ScoreStream(model, CPU) as stream:
        for end, chunk in zip((10, 2 * CHUNK, 3 * CHUNK), cut(views, 10, 2 * CHUNK - 10, CHUNK), strict=True):
            stream.add(chunk)
            expected = at_once(model, {name: rows[:end] for name, rows in views.items()})
            torch.testing.assert_close(stream.scores(), expected, atol=1e-5, rtol=0)


def test_long_sums_go_to_a_file_and_a_full_disk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ssrl((), 2)
    views = features(model, 4 * CHUNK)
    monkeypatch.setattr(streaming, "IN_MEMORY", 2 * CHUNK * 2 * 16 * 4)  # two of the four chunks
    with ScoreStream(model, CPU) as stream:
        stream.add(views)
        torch.testing.assert_close(stream.scores(), at_once(model, views), atol=1e-5, rtol=0)

    def full(content: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with ScoreStream(model, CPU) as stream:
        monkeypatch.setattr(stream._parts[0]._file, "write", full)
        with pytest.raises(PipelineError, match=r"No space left on device.*TMPDIR"):
            stream.add(views)


def test_what_cannot_be_scored_is_refused() -> None:
    model = ssrl((), 1)
    for empty in ([], [features(model, 0)]):
        with pytest.raises(ValueError, match="no snippet"):
            score_long(model, iter(empty), CPU)
    with pytest.raises(ValueError, match="no snippet"):
        score_long(fill(PatchMemory(**MEMORY)), iter([]), CPU)
    with pytest.raises(ValueError, match="training mode"):
        score_long(model.train(), iter([features(model, 3)]), CPU)


def test_work_of_a_chunk_does_not_grow_with_the_video() -> None:
    """What passes the relation block at a time: a chunk and its neighbours, however long the video is."""
    model = ssrl(("2x3",), 2)
    seen: list[int] = []
    model.relation.fuse.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[2]))
    model.patches["2x3"].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[1]))
    score_long(model, cut(features(model, 100), *[10] * 10), CPU)
    assert max(seen) == CHUNK + 2 * model.reach
    assert len(seen) < 2 * 100 / CHUNK + 12
