"""What the cameras of the trial show, and when: rendered plazas; and a detector of what is unusual there.

Each frame carries its number along its upper edge (live_stream.mark), which the cameras' masks cover.
"""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from live_stream import SQUARE, mark

from ssrl_pipeline.demo.render import ANOMALIES, build_scene, render_video
from ssrl_pipeline.demo.scene import RenderPlan
from ssrl_pipeline.results import VideoWriter
from ssrl_pipeline.watching.cameras import Sight

WIDTH, HEIGHT = 384, 216  # a part of what is rendered
MOVED = 36, 24  # pixels to the right and down: what a camera that was moved shows
FPS = 4  # a quarter of the pace at which people walk there: two cores carry two cameras beside other work
MASK = [[0, 0], [1, 0], [1, (SQUARE + 2) / HEIGHT], [0, (SQUARE + 2) / HEIGHT]]
NORMAL, UNUSUAL = 4, 2  # clips that are shown, one after the other, again and again; that judge the detector
PHASES = 0, 8  # frames from the start of a clip, from which on snippets are learnt
BLACK = -1
CLIP = RenderPlan().frames / FPS  # seconds

Span = tuple[float, float]  # seconds of the trial


class Wrong(NamedTuple):
    """Something that happens to a camera."""

    kind: str  # event; cut, black, frozen or moved
    begin: float  # seconds of the trial
    end: float


@dataclass
class Shown:
    """What one camera shows.

    Attributes:
        pictures: file of uint8 [N, H, W, 3].
        schedule: int32 [frames, 2], picture and number of each frame.
        truth: spans in frames, end exclusive, in which somebody unusual is to be seen.
    """

    name: str
    pictures: Path
    schedule: np.ndarray
    truth: list[tuple[int, int]] = field(default_factory=list)

    def frame(self, number: int) -> np.ndarray:
        """The frame that carries a number."""
        which, drawn = self.schedule[number]
        if which == BLACK:
            return np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        images = np.memmap(self.pictures, np.uint8, "r").reshape(-1, HEIGHT, WIDTH, 3)
        return mark(np.array(images[which]), int(drawn))


def draw(
    folder: Path,
    name: str,
    seed: int,
    seconds: float,
    begin: float,
    wrong: list[Wrong],
    videos: bool,
) -> Shown:
    """Renders what a camera shows.

    Args:
        seconds: for how long it shows something.
        begin: when the trial begins, of which `wrong` counts the seconds.
        videos: whether to render what a detector learns from, too, into folder/videos.
    """
    folder.mkdir(parents=True, exist_ok=True)
    events = [one for one in wrong if one.kind == "event"]
    file, intervals = render(folder, name, seed, len(events), videos)
    length = RenderPlan().frames
    numbers = np.arange(int(seconds * FPS))
    pictures = numbers % (NORMAL * length)
    truth = []
    for i, one in enumerate(events):
        first = round((begin + one.begin) * FPS)
        pictures[first : first + length] = (2 * NORMAL + i) * length + np.arange(length)
        truth += [(first + start, first + end) for start, end in intervals[i]]
    for one in wrong:
        span = slice(round((begin + one.begin) * FPS), round((begin + one.end) * FPS))
        if one.kind == "black":
            pictures[span] = BLACK
        elif one.kind == "moved":
            pictures[span] += NORMAL * length
        elif one.kind == "frozen":
            pictures[span], numbers[span] = pictures[span.start], span.start
    schedule = np.stack([pictures, numbers], axis=1).astype(np.int32)
    schedule.tofile(folder / f"{name}.plan")
    return Shown(name, file, schedule, truth)


def render(
    folder: Path, name: str, seed: int, events: int, videos: bool
) -> tuple[Path, list[list[tuple[int, int]]]]:
    """The file of a camera's pictures, made once, and where in each unusual clip somebody is.

    The clips are: the usual ones, the same as a moved camera shows them, and the unusual ones.
    """
    file, truth = folder / f"{name}.raw", folder / f"{name}.json"
    if truth.exists() and not videos:
        return file, json.loads(truth.read_text())
    rng = np.random.default_rng(seed)
    scene = build_scene(rng, RenderPlan())
    usual = np.concatenate([render_video(rng, None, scene).frames for _ in range(NORMAL)])
    unusual = [render_video(rng, ANOMALIES[(seed + i) % len(ANOMALIES)], scene) for i in range(events)]
    np.concatenate([cut(usual), cut(usual, *MOVED), *(cut(clip.frames) for clip in unusual)]).tofile(file)
    truth.write_text(json.dumps([clip.intervals for clip in unusual]))
    if videos:
        judging = [render_video(rng, kind, scene).frames for kind in ANOMALIES[:UNUSUAL]]
        write_videos(folder / "videos", name, cut(usual), [cut(frames) for frames in judging])
    return file, [clip.intervals for clip in unusual]


def cut(frames: np.ndarray, x: int = 0, y: int = 0) -> np.ndarray:
    """The part of rendered frames that a camera shows."""
    return frames[:, y : y + HEIGHT, x : x + WIDTH]


def write_videos(folder: Path, name: str, usual: np.ndarray, unusual: list[np.ndarray]) -> None:
    """What the camera usually shows, masked, to learn from, and both kinds to choose a threshold by."""
    folder.mkdir(exist_ok=True, parents=True)
    labels = folder / "labels.csv"
    rows = labels.read_text().splitlines() if labels.exists() else ["video,label,split"]
    listed = [("normal", "train", np.roll(usual, -phase, 0)) for phase in PHASES]
    listed += [("normal", "val", usual[start:][: RenderPlan().frames]) for start in PHASES]
    listed += [("abnormal", "val", frames) for frames in unusual]
    sight = Sight((tuple((x, y) for x, y in MASK),))
    for number, (label, split, frames) in enumerate(listed):
        video = f"{name}_{split}_{label}_{number}.mp4"
        with VideoWriter(folder / video, WIDTH, HEIGHT, FPS) as writer:
            for image in sight.cover(frames):
                writer.write(image)
        rows.append(f"{video},{label},{split}")
    labels.write_text("\n".join(rows) + "\n")


def learn(folder: Path) -> Path:
    """The checkpoint of a memory of the normal videos."""
    common = [sys.executable, "-m", "ssrl_pipeline"]
    features, videos = ["--features", folder / "features"], folder / "videos"
    subprocess.run([*common, "extract", "--videos", videos, *features, "--preset", "live"], check=True)
    labels = ["--labels", videos / "labels.csv", "--runs", folder / "runs", "--name", "trial"]
    subprocess.run([*common, "train", "--model", "memory", *features, *labels], check=True)
    return folder / "runs" / "trial" / "best.pt"
