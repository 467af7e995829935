"""How a result shows itself: as a line, in a notebook, and on a user's axes."""

import base64
import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.events.rule import ChosenRule, EventRule
from ssrl_pipeline.results.video_scores import VideoScores

SCORES = np.repeat([0.1, 0.9, 0.2], 16).astype(np.float32)


@pytest.fixture
def result() -> VideoScores:
    about = (8.0, 64, 48, "pyav", Path("best.pt"), {}, ChosenRule(EventRule(hysteresis=1.0), "a & b"))
    return VideoScores(Path("<i>&'.mp4"), SCORES, SCORES[::16], *about)


def test_a_line_tells_video_length_peak_and_events(result: VideoScores) -> None:
    line = '<VideoScores "<i>&\'.mp4": 48 frames, 6.0 s; highest score 0.90 at 2.0 s, frame 16; 1 event>'
    assert repr(result) == line
    unknown = repr(dataclasses.replace(result, fps=0.0))
    assert "48 frames; highest score 0.90 at frame 16;" in unknown


def test_times_are_those_of_the_stamps(result: VideoScores) -> None:
    """The second half comes a minute later."""
    late = dataclasses.replace(result, stamps=np.arange(48) / 8 + 60 * (np.arange(48) >= 16))
    assert "48 frames, 66.0 s; highest score 0.90 at 62.0 s, frame 16; 1 event>" in repr(late)
    html = late._repr_html_()
    assert "48 frames over 00:01:06.000, about 8 a second" in html
    assert "0.9000 at 00:01:02.000, frame 16" in html
    assert "<td>00:01:02.000</td><td>00:01:04.000</td>" in html
    assert "48 frames at 8 a second" in result._repr_html_()
    unknown = dataclasses.replace(result, fps=0.0)
    assert "<td style='text-align:left'>48 frames</td>" in unknown._repr_html_()
    summary = unknown.summary()
    assert (summary["duration_s"], summary["summary"]["peak_time_s"]) == (None, None)


@pytest.mark.parametrize("stamps", [np.arange(47.0), np.arange(48), np.zeros(48), np.full(48, np.inf)])
def test_stamps_are_one_time_for_each_frame(result: VideoScores, stamps: np.ndarray) -> None:
    with pytest.raises(ValueError, match="stamps are|frame"):
        dataclasses.replace(result, stamps=stamps)


def test_a_notebook_gets_escaped_facts_events_and_a_picture(result: VideoScores) -> None:
    html = result._repr_html_()
    assert "<i>" not in html and "&lt;i&gt;&amp;&#x27;.mp4" in html and "a &amp; b" in html
    assert "<td>00:00:02.000</td><td>00:00:04.000</td><td>0.9000</td>" in html
    (picture,) = re.findall(r"src='data:image/png;base64,([^']+)'", html)
    assert base64.b64decode(picture).startswith(b"\x89PNG")
    many = np.tile(np.repeat(np.float32([0.1, 0.9]), 60), 25)
    crowded = dataclasses.replace(result, scores=many, snippet_scores=many[::16])._repr_html_()
    assert crowded.count("<td>0.9000</td><td>0.9000</td>") == 20 and "and 5 more" in crowded


def test_plot_draws_on_given_axes(result: VideoScores) -> None:
    axes = Figure().subplots()
    truth = SCORES > 0.5
    assert result.plot(axes, truth) is axes
    assert [list(line.get_ydata()) for line in axes.lines if line.get_linestyle() == "--"] == [[0.5, 0.5]]
    spans = [(patch.get_x(), patch.get_width()) for patch in axes.patches]
    assert (2.0, 2.0) in spans
    (band,) = [c for c in axes.collections if c.get_paths()[0].vertices[:, 1].max() < 0]
    assert (band.get_paths()[0].vertices[:, 0].min(), band.get_paths()[0].vertices[:, 0].max()) == (2.0, 4.0)
    with pytest.raises(PipelineError, match="ground truth of 3 frames, scores of 48"):
        result.plot(axes, truth[:3])
    assert result.plot().figure is not axes.figure


def test_matplotlib_waits_until_something_is_drawn() -> None:
    code = "import sys, ssrl_pipeline.scoring.score; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
