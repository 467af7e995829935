"""The judge of the corpus of videos notices what is wrong."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from check_corpus import asked_for, compare, compare_times, decode, is_right

from ssrl_pipeline.extractors.decoding import Limits
from ssrl_pipeline.times import FrameTimes


def test_what_the_check_calls_right(make_video: Callable[..., Path], tmp_path: Path) -> None:
    """The judge itself: frames that are lost, repeated or others are noticed."""
    frames = decode(make_video(tmp_path / "a.mp4", frames=10), Limits()).frames
    assert compare(frames, frames) == (True, 0.0)
    assert not compare(frames[:-1], frames)[0]
    assert not compare(np.roll(frames, 1, axis=0), frames)[0]
    assert not compare(np.zeros_like(frames), frames)[0]
    assert [asked_for(kind) for kind in ("bad text.mp4", "names/bad.mp4", "badly.mp4")] == ["bad", "bad", ""]
    assert is_right("a.mp4", False, True, "") and not is_right("a.mp4", False, True, "perhaps damaged")
    assert not is_right("a.mp4", True, False, "") and is_right("cut.mp4", True, False, "")
    assert not is_right("bad.mp4", False, True, "") and not is_right("broken.mp4", False, True, "")
    told = "frames of 8x8 among those of 4x4, scaled to these"
    assert is_right("changing.ts", False, True, told) and not is_right("changing.ts", False, True, "")
    assert not is_right("changing.ts", False, False, told) and not is_right("changing.ts", True, False, "")
    told = "no times in it, frames taken for 25 a second"
    assert is_right("untimed a.264", False, True, told) and not is_right("a.264", False, True, told)
    assert not is_right("restarted a.ts", False, True, told) and not is_right("untimed.264", False, True, "")
    told = "perhaps damaged; times that begin anew at frame 3, taken for going on"
    assert is_right("restarted a.ts", False, True, told)


def test_what_the_check_says_of_times() -> None:
    """The difference that is greatest, in lengths of a frame, from the first frame on."""
    stamps = np.array([0.0, 0.1, 0.3, 0.4, 0.5])
    times = FrameTimes(10.0, stamps)
    assert compare_times(times, [7 + float(stamp) for stamp in stamps]) == pytest.approx(0)
    assert compare_times(times, [7.0, 7.1, 7.2, 7.3, 7.4]) == pytest.approx(1)
    assert compare_times(FrameTimes(10.0), [0.0, 0.1, 0.26]) == pytest.approx(0.6)
    assert math.isnan(compare_times(times, [0.0, 0.1, None, 0.4, 0.5]))
    assert math.isnan(compare_times(times, [0.0, 0.1, 0.1, 0.4, 0.5]))
