"""What judges the corpus of videos has to notice what is wrong."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ssrl_pipeline.extractors.decoding import Limits

sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts"))
from check_corpus import asked_for, compare, decode, is_right


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
    told = "frames of 8x8 among those of 4x4, scaled to these"
    assert is_right("changing.ts", False, True, told) and not is_right("changing.ts", False, True, "")
    assert not is_right("changing.ts", False, False, told) and not is_right("changing.ts", True, False, "")
