"""Sixteen frames make a snippet; the last is completed by looping its own frames."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from ssrl_pipeline.extractors.snippets import Pending, cut_snippets, snippet_count


def frame(number: int) -> np.ndarray:
    return np.full((2, 3, 3), number, np.uint8)


def numbers(frames: int, drop_last: bool = False) -> list[list[int]]:
    """Which frames each snippet of a video of so many frames holds."""
    found = []
    for snippet in cut_snippets((frame(i) for i in range(frames)), drop_last):
        assert snippet.dtype == np.uint8
        assert snippet.shape == (16, 2, 3, 3)
        assert (snippet == snippet[:, :1, :1, :1]).all()  # frames are not mixed
        found.append(snippet[:, 0, 0, 0].tolist())
    return found


@pytest.mark.parametrize(
    ("frames", "whole", "last"),
    [
        (0, 0, []),
        (1, 0, [0] * 16),
        (5, 0, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0]),
        (15, 0, [*range(15), 0]),
        (16, 1, []),
        (17, 1, [16] * 16),
        (31, 1, [*range(16, 31), 16]),
        (32, 2, []),
        (40, 2, [*range(32, 40), *range(32, 40)]),
    ],
)
def test_which_frames_are_in_which_snippet(frames: int, whole: int, last: list[int]) -> None:
    full = [list(range(16 * i, 16 * i + 16)) for i in range(whole)]
    assert numbers(frames) == full + ([last] if last else [])
    assert numbers(frames, drop_last=True) == full
    assert snippet_count(frames) == whole + bool(last)
    assert snippet_count(frames, drop_last=True) == whole


def test_frames_are_taken_as_they_are_needed() -> None:
    taken = []

    def stream() -> Iterator[np.ndarray]:
        for i in range(40):
            taken.append(i)
            yield frame(i)

    found = cut_snippets(stream())
    assert taken == []
    next(found)
    assert len(taken) == 16
    next(found)
    assert len(taken) == 32


def test_a_snippet_keeps_its_frames_when_a_decoder_reuses_their_memory() -> None:
    frames = [frame(i) for i in range(16)]
    (snippet,) = cut_snippets(frames)
    for image in frames:
        image[:] = 99
    assert snippet[:, 0, 0, 0].tolist() == list(range(16))


def test_frames_that_are_lent_are_copied_in_time() -> None:
    lent = np.empty((2, 3, 3), np.uint8)

    def stream() -> Iterator[np.ndarray]:
        for i in range(20):
            lent[:] = i
            yield lent

    found = [snippet[:, 0, 0, 0].tolist() for snippet in cut_snippets(stream())]
    assert found == [list(range(16)), [16, 17, 18, 19] * 4]


def test_frames_are_written_where_they_will_be_used() -> None:
    given: list[np.ndarray] = []

    def empty(shape: tuple[int, ...]) -> np.ndarray:
        given.append(np.full(shape, 255, np.uint8))
        return given[-1]

    found = list(cut_snippets((frame(i) for i in range(40)), pending=Pending(empty)))
    assert all(snippet is memory for snippet, memory in zip(found, given, strict=True))

    given.clear()

    def halve(images: np.ndarray, empty: Callable[..., np.ndarray]) -> np.ndarray:
        assert images.shape == (16, 2, 3, 3)
        out = empty((16, 1, 3, 3))
        out[:] = images[:, :1] // 2
        return out

    found = list(cut_snippets((frame(i) for i in range(40)), pending=Pending(empty, halve)))
    assert all(snippet is memory for snippet, memory in zip(found, given, strict=True))
    assert found[2][:, 0, 0, 0].tolist() == [i // 2 for i in range(32, 40)] * 2


def test_frames_of_two_sizes_make_no_snippet() -> None:
    """Where the second would fit by being repeated, too."""
    with pytest.raises(ValueError, match=r"a frame of \[1, 3, 3\] after 2 of \[2, 3, 3\]"):
        list(cut_snippets([frame(0), frame(1), frame(2)[:1]]))
