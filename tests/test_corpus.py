"""The scripts that make, check and mutate a corpus of videos: the judge and the mutations themselves."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ssrl_pipeline.extractors.decode import Limits

sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts"))
from check_corpus import asked_for, compare, decode, is_right
from fuzz_containers import mutate


def test_mutants_are_different_and_repeatable() -> None:
    content = bytes(range(256)) * 10
    mutants = [mutate(np.random.default_rng(i), content) for i in range(50)]
    assert mutants == [mutate(np.random.default_rng(i), content) for i in range(50)]
    assert len(set(mutants)) > 45 and content not in mutants[:5]


def test_what_the_check_calls_right(make_video: Callable[..., Path], tmp_path: Path) -> None:
    """The judge itself: frames that are lost, repeated or others are noticed."""
    frames = decode(make_video(tmp_path / "a.mp4", frames=10), "opencv", Limits()).frames
    assert compare(frames, frames) == (True, 0.0)
    assert not compare(frames[:-1], frames)[0]
    assert not compare(np.roll(frames, 1, axis=0), frames)[0]
    assert not compare(np.zeros_like(frames), frames)[0]
    assert [asked_for(kind) for kind in ("bad text.mp4", "names/bad.mp4", "badly.mp4")] == ["bad", "bad", ""]
    assert is_right("a.mp4", False, True, "") and not is_right("a.mp4", False, True, "perhaps damaged")
    assert not is_right("a.mp4", True, False, "") and is_right("cut.mp4", True, False, "")
    assert not is_right("bad.mp4", False, True, "") and not is_right("broken.mp4", False, True, "")
