"""The demo's videos: repeatable, labelled exactly, and decodable frame by frame."""

from pathlib import Path

import numpy as np
import pytest

from ssrl_pipeline.extractors.decoding import open_video
from ssrl_pipeline.labels import read_intervals, read_labels
from ssrl_pipeline.render import ANOMALIES, RenderPlan, build_scene, render_dataset, render_video

SMALL = RenderPlan(train=1, val=1, test=1, frames=49, fps=7, width=84, height=48)


def test_data_set(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    render_dataset(tmp_path / "a", seed=3, progress=lambda *call: calls.append(call), plan=SMALL)
    render_dataset(tmp_path / "b", seed=3, plan=SMALL)
    render_dataset(tmp_path / "c", seed=4, plan=SMALL)
    assert calls == [(i, 6) for i in range(1, 7)]
    labels, intervals = (
        read_labels(tmp_path / "a" / "labels.csv"),
        read_intervals(tmp_path / "a" / "intervals.csv"),
    )
    assert len(labels) == 6 and {v for v, label in labels.items() if label.abnormal} == set(intervals)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted([*labels, "labels.csv", "intervals.csv"])
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert any((tmp_path / "a" / n).read_bytes() != (tmp_path / "c" / n).read_bytes() for n in labels)
    for name in labels:
        video = open_video(tmp_path / "a" / name)
        assert sum(1 for _ in video.frames) == 49 and video.info.fps == pytest.approx(7)


@pytest.mark.parametrize("anomaly", ANOMALIES)
def test_anomalies_come_and_go(anomaly: str) -> None:
    scene = build_scene(np.random.default_rng(0), SMALL)
    for seed in range(3):
        frames, intervals = render_video(np.random.default_rng(seed), anomaly, scene)
        truth = np.zeros(len(frames), bool)
        for start, end in intervals:
            truth[start:end] = True
        assert frames.shape == (49, 48, 84, 3) and frames.dtype == np.uint8
        assert 0.15 < truth.mean() < 0.75
        assert not truth[0] and not truth[-1]


def test_normal_videos_have_no_intervals() -> None:
    scene = build_scene(np.random.default_rng(0), SMALL)
    assert render_video(np.random.default_rng(1), None, scene).intervals == []
    with pytest.raises(ValueError, match="'dragon'"):
        render_video(np.random.default_rng(1), "dragon", scene)
    with pytest.raises(ValueError, match="7 s"):
        RenderPlan(frames=20, fps=16)
