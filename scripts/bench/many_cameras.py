"""Many rendered cameras from one `watch`, most of them quiet: what is dropped, how late scores are, events.

    OMP_NUM_THREADS=2 taskset -c 0,1 python scripts/bench/many_cameras.py --checkpoint runs/x/best.pt

Cameras are played at real time, with a decoder each that never begins anew. A busy one shows people, and in
every second clip of its loop an anomaly; a quiet one shows an empty place, with noise and compression.
The threshold is the checkpoint's: train it on videos like these (`ssrl-pipeline demo`) or the events mean
nothing.
"""

import argparse
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch

from ssrl_pipeline.demo.render import ANOMALIES, RenderPlan, build_scene, render_video
from ssrl_pipeline.extractors.decoding import Limits, open_video
from ssrl_pipeline.extractors.decoding.video import VideoInfo
from ssrl_pipeline.extractors.repeats import tell_repeats
from ssrl_pipeline.results.video_writer import VideoWriter
from ssrl_pipeline.scoring.scorer import Scorer
from ssrl_pipeline.settings import WatchSettings
from ssrl_pipeline.watching.plan import Analysis, Plan
from ssrl_pipeline.watching.sources import Source
from ssrl_pipeline.watching.watch import Line, Watch

SPARE = 60.0  # seconds by which videos are longer than the watch
CLIPS = 4  # of a busy camera's loop; every second has an anomaly


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--videos", type=Path, default=Path("many_cameras"), help="where they are rendered")
    parser.add_argument("--quiet", type=int, default=14)
    parser.add_argument("--busy", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--unchanged", choices=("auto", "describe", "repeat"), default="repeat")
    a = parser.parse_args()
    plan = RenderPlan(frames=10 * a.fps, fps=a.fps)
    truths = {f"busy{i}": render_busy(a.videos / f"busy{i}.mp4", plan, i) for i in range(a.busy)}
    for i in range(a.quiet):
        render_quiet(a.videos / f"quiet{i}.mp4", plan, i)
    names = [*truths, *(f"quiet{i}" for i in range(a.quiet))]
    for name in names:
        repeat(a.videos / f"{name}.mp4", a.videos / f"{name}_long.mp4", 60 * a.minutes + SPARE)
    scorer = Scorer(a.checkpoint, "cpu", unchanged=a.unchanged)
    lines, repeats = play(names, a.videos, scorer, 60 * a.minutes)
    print(json.dumps(report(lines, names, truths, plan), indent=2))
    print(repeats)


def render_busy(path: Path, plan: RenderPlan, seed: int) -> list[tuple[int, int]]:
    """Anomalous intervals of the loop, in frames."""
    rng = np.random.default_rng(seed)
    scene, truth = build_scene(rng, plan), []
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, plan.width, plan.height, plan.fps) as writer:
        for number in range(CLIPS):
            clip = render_video(rng, ANOMALIES[number % len(ANOMALIES)] if number % 2 else None, scene)
            truth += [
                (start + number * plan.frames, end + number * plan.frames) for start, end in clip.intervals
            ]
            for frame in clip.frames:
                writer.write(frame)
    return truth


def render_quiet(path: Path, plan: RenderPlan, seed: int) -> None:
    rng = np.random.default_rng(1000 + seed)
    scene = build_scene(rng, plan)
    empty = (
        cv2.resize(scene.background, (plan.width, plan.height), interpolation=cv2.INTER_AREA) + scene.pattern
    )
    with VideoWriter(path, plan.width, plan.height, plan.fps) as writer:
        for _ in range(plan.frames):
            noisy = empty + 3 * rng.standard_normal(empty.shape, np.float32) + 0.5
            writer.write(np.clip(noisy, 0, 255).astype(np.uint8))


def repeat(path: Path, long: Path, seconds: float) -> None:
    """Writes a video again and again into another, packet by packet, until that is so long."""
    with av.open(str(path)) as source, av.open(str(long), "w") as target:
        (stream,) = source.streams.video
        copy = target.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.dts is not None]
        for loop in range(math.ceil(seconds / float(stream.duration * stream.time_base))):
            for packet in packets:
                again = av.Packet(bytes(packet))
                again.pts = packet.pts + loop * stream.duration
                again.dts = packet.dts + loop * stream.duration
                again.duration, again.time_base = packet.duration, packet.time_base
                again.is_keyframe, again.stream = packet.is_keyframe, copy
                target.mux(again)


class Played:
    """A file as a camera: a frame comes when it is due, or as soon as it is decoded."""

    def __init__(self, path: Path, stop: threading.Event, rate: float | None):
        self.path, self.stop, self.rate, self.time, self.hardware = path, stop, rate, 0.0, ""
        with open_video(path, Limits(threads=1)) as video:
            self.info: VideoInfo = video.info._replace(reported_frames=0)
        self.fps = round(self.info.fps)
        self.frames = self._frames()

    def _frames(self) -> Iterator[np.ndarray]:
        begun = time.monotonic()
        with open_video(self.path, Limits(threads=1), lend=True, rate=self.rate) as video:
            for count, frame in enumerate(video.frames):
                self.time = count / self.fps
                if self.stop.wait(max(0.0, begun + self.time - time.monotonic())):
                    return
                yield frame

    def damage(self) -> str:
        return ""

    def __enter__(self) -> "Played":
        return self

    def __exit__(self, *error: object) -> None:
        self.frames.close()


def play(names: list[str], videos: Path, scorer: Scorer, seconds: float) -> tuple[list[Line], str]:
    """The lines of a watch, with the second at which each was told and how late its score was."""
    stop, lines = threading.Event(), []
    extractor = scorer.extractor

    def opener(source: Source, timeout: float, started: Callable[..., None]) -> Any:
        started(lambda: None)
        return Played(videos / f"{source.name}_long.mp4", stop, extractor.fps)

    def tell(line: Line) -> None:
        post = posts.get(line["camera"])
        lines.append(line | {"behind_s": post.behind_s if post else None})

    analysis = Analysis(
        scorer.model,
        torch.device("cpu"),
        extractor.describe,
        scorer.chosen.rule,
        pending=extractor.pending,
        unchanged=extractor.unchanged,
        chosen_fps=extractor.fps,
    )
    plans = [Plan(Source(name, f"rtsp://{name}", "stream"), analysis) for name in names]
    watch = Watch(plans, WatchSettings(), tell, lambda text: None, opener)
    posts = {post.name: post for post in watch.posts}
    timer = threading.Timer(seconds, stop.set)
    timer.start()
    watch.run(stop)
    timer.cancel()
    return lines, tell_repeats(post.unchanged.repeats for post in watch.posts)


def report(
    lines: list[Line], names: list[str], truths: dict[str, list[tuple[int, int]]], plan: RenderPlan
) -> dict[str, Any]:
    """Frames dropped, delay of scores, and events against the truth, of busy and of quiet cameras."""
    told: dict[str, Any] = {}
    for kind in ("busy", "quiet"):
        own = [line for line in lines if line["camera"].startswith(kind)]
        scored = [line for line in own if line["type"] == "score"]
        dropped = sum(line["frames"] for line in own if line["type"] == "dropped")
        frames = dropped + sum(line["frames"] for line in scored)
        late = [line["behind_s"] for line in scored] or [float("nan")]
        told[kind] = {
            "cameras": sum(name.startswith(kind) for name in names),
            "snippets scored": len(scored),
            "share of frames dropped": round(dropped / max(1, frames), 4),
            "delay, median and 99 %": np.quantile(late, (0.5, 0.99)).round(3).tolist(),
            "events": sum(line["type"] == "event_end" for line in own),
        }
    found: Counter[str] = Counter()
    for name, intervals in truths.items():
        events = [(x["start"], x["end"]) for x in lines if x["type"] == "event_end" and x["camera"] == name]
        last = max((x["frame"] for x in lines if x["type"] == "score" and x["camera"] == name), default=0)
        length = CLIPS * plan.frames
        shown = [
            (start + loop * length, end + loop * length)
            for loop in range(last // length + 1)
            for start, end in intervals
            if end + loop * length <= last
        ]
        found["anomalies"] += len(shown)
        found["found"] += sum(any(a < end and start < b for a, b in events) for start, end in shown)
        found["false events"] += sum(
            not any(a < end and start < b for start, end in shown) for a, b in events
        )
    return told | {"truth": dict(found)}


if __name__ == "__main__":
    main()
