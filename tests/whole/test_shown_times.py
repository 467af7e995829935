"""A video whose frames come at times of their own, through every stage."""

import csv
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from ssrl_pipeline.checkpoint import Checkpoint, save_checkpoint
from ssrl_pipeline.cluster.devices import Devices
from ssrl_pipeline.extraction.elsewhere import extract_elsewhere
from ssrl_pipeline.extraction.stage import ExtractorOptions, extract
from ssrl_pipeline.models import SSRL
from ssrl_pipeline.scoring.score import score_many
from ssrl_pipeline.scoring.scorer import Scorer

pytestmark = pytest.mark.usefixtures("quick_network")

STAMPS = np.arange(40) / 8 + 60 * (np.arange(40) >= 20)  # a minute's pause in the middle


def write_video(path: Path, stamps: np.ndarray) -> None:
    path.parent.mkdir()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for i, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 6 * i, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(1000 * stamp), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_frames_have_the_times_at_which_they_are_shown(tmp_path: Path) -> None:
    """By a store, also by one that another process fills, and without one."""
    video = tmp_path / "videos" / "v.mkv"
    write_video(video, STAMPS)
    options = ExtractorOptions("i3d", "live", "random", engine="eager")
    extractor = options.build("cpu")
    stores = [
        extract(video.parent, tmp_path / "features", extractor)[0],
        extract(
            *(video.parent, tmp_path / "other", options.planner()),
            place=extract_elsewhere(Devices(["cpu"]), options),
        )[0],
    ]
    model = {"feature_size": 1024, "scales": ["2x3"], "crops": 1, "dropout": 0.7}
    torch.manual_seed(0)
    checkpoint = Checkpoint(SSRL(**model).state_dict(), model, extractor.recipe, {}, {})
    save_checkpoint(tmp_path / "x.pt", checkpoint)
    scorer = Scorer(tmp_path / "x.pt", "cpu")
    scorer.extractor = extractor
    results = [scorer.score(video), *(scorer.score_from(store, "v.mkv", video) for store in stores)]
    for result in results:
        np.testing.assert_allclose(result.times, STAMPS, atol=1e-9)
        assert (result.fps, result.duration) == (pytest.approx(8), pytest.approx(65))
    for root in (tmp_path / "features", tmp_path / "other"):
        assert np.load(root / "v.mkv" / "times.npy").shape == (40,)

    (scored,) = score_many(scorer, {"v.mkv": video}, tmp_path / "scores", overlay=True)
    rows = list(csv.DictReader((scored.folder / "scores.csv").read_text().splitlines()))
    np.testing.assert_allclose([float(row["time_s"]) for row in rows], STAMPS, atol=1e-6)
    assert json.loads((scored.folder / "scores.json").read_text())["duration_s"] == pytest.approx(65)
    with av.open(str(scored.folder / "overlay.mp4")) as container:
        (stream,) = container.streams
        times = [float(frame.pts * stream.time_base) for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, STAMPS, atol=1e-4)
