"""A few videos whose bytes were changed at random end in frames or in an error, in time."""

import sys
from pathlib import Path

import fuzz_containers
import numpy as np
import pytest
from check_corpus import decode
from fuzz_containers import fuzz, mutate, read
from helpers.videos import made_with_av

from ssrl_pipeline.extractors.decoding import Limits

SEEDS = {"a.mp4": "mpeg4", "a.mkv": "mpeg4", "a.ts": "mpeg2video", "a.webm": "libvpx", "a.wmv": "wmv2"}


def test_mutants_are_different_and_repeatable() -> None:
    content = bytes(range(256)) * 10
    mutants = [mutate(np.random.default_rng(i), content) for i in range(50)]
    assert mutants == [mutate(np.random.default_rng(i), content) for i in range(50)]
    assert len(set(mutants)) > 45 and content not in mutants[:5]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_mutants_end_in_frames_or_an_error(tmp_path: Path) -> None:
    seeds = [made_with_av(tmp_path / name, codec, noise=16) for name, codec in SEEDS.items()]
    found = fuzz(seeds, tmp_path, count=20, limits=Limits(seconds=30.0, memory=2 << 30))
    assert found.wrong == [] and sum(found.outcomes.values()) == 20
    assert len(found.outcomes) > 1, "mutants that all end alike show nothing"


def test_what_the_fuzzer_calls_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made_with_av(tmp_path / "a.avi", "mpeg4")
    frames = decode(path, Limits()).frames
    monkeypatch.setattr("shutil.which", lambda name: name)

    def outcome(by_ffmpeg: np.ndarray) -> str:
        monkeypatch.setattr(fuzz_containers, "ffmpeg_frames", lambda *arguments: by_ffmpeg)
        return read(path, Limits(), 60.0)

    assert outcome(frames) == fuzz_containers.READ
    assert outcome(frames[::-1]) == fuzz_containers.UNLIKE in fuzz_containers.KNOWN
    assert outcome(frames[:-1]) == fuzz_containers.UNLIKE
    assert (
        outcome(np.stack([*frames, frames[0]])) == "60 frames, ffmpeg reads 61" not in fuzz_containers.KNOWN
    )
