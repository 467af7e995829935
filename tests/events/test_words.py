"""Words of events against plain mathematics, in one go and as snippets come."""

import numpy as np
import pytest
import torch

from ssrl_pipeline.errors import CheckpointError
from ssrl_pipeline.events import words
from ssrl_pipeline.events.find import Event
from ssrl_pipeline.events.words import (
    PLACES,
    RecentWords,
    SnippetWords,
    Usual,
    WordStream,
    WordTeller,
    read_words,
    worded,
    words_of,
)
from ssrl_pipeline.extractors.backbones import ActionHead, action_names

A, F = 400, 16


def made_up(seed: int = 0) -> tuple[ActionHead, Usual]:
    torch.manual_seed(seed)
    return ActionHead(torch.randn(A, F), torch.randn(A)), Usual(torch.randn(6, A) - 6, torch.rand(6, A))


def at(start: int, end: int) -> Event:
    return Event(start, end, start, 1.0, 1.0, None, None, None)


def standing_out(head: ActionHead, usual: Usual, patches: torch.Tensor) -> np.ndarray:
    """float64 [T, 6, A], by the formula."""
    logits = patches.double().numpy() @ head.weight.double().numpy().T + head.bias.double().numpy()
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return (log_p - usual.mean.double().numpy()) / (usual.deviation.double().numpy() + 0.3)


def test_snippets_keep_what_stands_out_most_and_where() -> None:
    head, usual = made_up()
    patches = torch.randn(5, 6, F)
    found = WordTeller(head, usual).of(patches)
    expected = standing_out(head, usual, patches)
    greatest = expected.max(axis=1)
    for t in range(5):
        order = np.argsort(-greatest[t])[: words.KEPT]
        assert found.actions[t].tolist() == order.tolist()
        np.testing.assert_allclose(found.values[t], greatest[t][order], rtol=1e-3)
        assert found.patches[t].tolist() == expected[t][:, order].argmax(axis=0).tolist()


def test_an_event_has_the_words_of_the_greatest_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "KEPT", A)  # then nothing is estimated
    head, usual = made_up()
    patches = torch.randn(9, 6, F)
    event = worded(at(33, 96), WordTeller(head, usual).of(patches))  # snippets 2 to 5
    own = standing_out(head, usual, patches)[2:6]
    mean = own.max(axis=1).mean(axis=0)
    order = np.argsort(-mean)[:3]
    assert event.words == tuple(action_names()[place] for place in order)
    strength = np.zeros(6)
    for rows in own[:, :, order[0]]:
        strength[rows.argmax()] += rows.max()
    assert event.patch == PLACES[strength.argmax()]
    assert event.looks == f"looks like {', '.join(event.words)} ({event.patch})"


def test_what_was_not_kept_counts_half_of_the_least_that_was() -> None:
    rows = SnippetWords(
        np.array([[0, 1], [1, 2], [0, 1], [2, 3]], np.uint16),
        np.array([[8, 2], [6, 2], [4, 2], [6, 4]], np.float16),
        np.array([[5, 0], [0, 0], [4, 0], [0, 0]], np.uint8),
    )
    found = words_of(rows)  # sums: 0 has 8 + 1 + 4 + 2, 2 has 1 + 2 + 1 + 6, 1 has 2 + 6 + 2 + 2
    assert found.words == tuple(action_names()[place] for place in (0, 1, 2))
    assert found.patch == "bottom right"


def test_a_video_without_more_is_told_by_its_own_median() -> None:
    head, _ = made_up()
    torch.manual_seed(1)
    patches = torch.randn(40, 6, F)
    log_p = torch.log_softmax(patches.double() @ head.weight.double().T + head.bias.double(), dim=-1)
    median = np.quantile(log_p.numpy(), 0.5, axis=0)
    deviation = 1.4826 * np.quantile(np.abs(log_p.numpy() - median), 0.5, axis=0)
    own = Usual(torch.from_numpy(median).float(), torch.from_numpy(deviation).float())
    stream = WordStream(head, None)
    for begin in range(0, 40, 7):
        stream.add(patches[begin : begin + 7])
    found, expected = stream.words(), WordTeller(head, own).of(patches)
    np.testing.assert_allclose(found.values, expected.values, atol=0.05)  # float16 lies in the file
    assert (found.actions[:, 0] == expected.actions[:, 0]).mean() > 0.9


def test_a_stream_gives_what_its_parts_do() -> None:
    head, usual = made_up()
    patches = torch.randn(11, 6, F)
    stream = WordStream(head, usual)
    for begin in range(0, 11, 4):
        stream.add(patches[begin : begin + 4])
    for found, expected in zip(stream.words(), WordTeller(head, usual).of(patches), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_camera_tells_the_words_that_a_file_has(monkeypatch: pytest.MonkeyPatch) -> None:
    head, usual = made_up()
    rows = WordTeller(head, usual).of(torch.randn(30, 6, F))
    recent = RecentWords()
    for t in range(20):
        recent.add(16 * t, 16 * t + 16, rows.part(t, t + 1))
    assert recent.of(at(40, 200)) == worded(at(40, 200), rows)
    recent.forget(5 * 16)
    assert recent.of(at(0, 80)) == at(0, 80)  # forgotten, and no error
    assert recent.of(at(80, 200)) == worded(at(80, 200), rows)
    monkeypatch.setattr(words, "MOST_RECENT", 8)
    for t in range(20, 30):
        recent.add(16 * t, 16 * t + 16, rows.part(t, t + 1))
    assert len(recent._rows) <= 8 and recent.of(at(80, 480)).words


def test_where_frames_were_chosen_snippets_begin_elsewhere() -> None:
    head, usual = made_up()
    rows = WordTeller(head, usual).of(torch.randn(4, 6, F))
    starts = np.array([0, 31, 62, 93])  # as of 30 frames a second at --fps 15.5
    event = worded(at(31, 93), rows, starts)
    assert (event.words, event.patch) == words.words_of(rows.part(1, 3))
    assert event.words != worded(at(31, 93), rows).words


def test_where_a_camera_chooses_frames_its_snippets_are_longer() -> None:
    head, usual = made_up()
    rows = WordTeller(head, usual).of(torch.randn(4, 6, F))
    starts, recent = np.array([0, 31, 62, 93]), RecentWords()
    for t, start in enumerate(starts.tolist()):
        recent.add(start, start + 31, rows.part(t, t + 1))
    event = at(20, 61)  # the last frames of the first snippet and nearly all of the second
    assert recent.of(event) == worded(event, rows, starts)
    recent.forget(20)  # a frame of the first, beyond its 16th
    assert recent.of(event) == worded(event, rows, starts)


def test_without_words_an_event_is_as_it_was() -> None:
    assert worded(at(0, 16), None) == at(0, 16)
    assert at(0, 16).looks == ""
    head, usual = made_up()
    rows = WordTeller(head, usual).of(torch.randn(2, 6, F))
    assert worded(at(64, 80), rows).words == ()  # behind the last snippet


def test_damaged_words_are_refused() -> None:
    head, usual = made_up()
    rows = WordTeller(head, usual).of(torch.randn(4, 6, F))
    arrays = {f"words_{name}": part for name, part in rows._asdict().items()}
    assert read_words({}, 4) is None
    for found, expected in zip(read_words(arrays, 4), rows, strict=True):
        np.testing.assert_array_equal(found, expected)
    wrong = {
        "words_actions": np.full_like(rows.actions, 400),
        "words_patches": np.full_like(rows.patches, 6),
        "words_values": rows.values * np.float16(np.nan),
    }
    for name, part in wrong.items():
        with pytest.raises(ValueError, match="words"):
            read_words({**arrays, name: part}, 4)
    for changed in ({"words_values": rows.values[:, :3]}, {"words_patches": rows.patches.astype(int)}):
        with pytest.raises(ValueError, match="other types or shapes"):
            read_words({**arrays, **changed}, 4)
    with pytest.raises(ValueError, match="not of 5 snippets"):
        read_words(arrays, 5)


def test_what_a_checkpoint_says_is_checked() -> None:
    usual = made_up()[1]
    assert Usual.read({}) is None
    assert torch.equal(Usual.read(usual._asdict()).mean, usual.mean)
    for said in ({"mean": usual.mean}, usual._asdict() | {"deviation": usual.mean[:5]}, {"mean": "a"}):
        with pytest.raises(CheckpointError, match="the checkpoint's words are damaged"):
            Usual.read(said)
    with pytest.raises(CheckpointError, match="no mean of"):
        Usual.read(usual._asdict() | {"mean": usual.mean * torch.nan})
