"""Runs `watch` on a live stream that is lost now and then, and checks what is scored and what it takes.

    python scripts/endurance/watch_stream.py --video vtest.avi --out shown --fps 10 --minutes 30 --pace 4

A process of its own serves the video, looped, as a live stream over HTTP; every frame carries
its number. The stream is out for 20 seconds after a third and after two thirds. Then the same
frames are watched as a file. The script reports whether a frame was scored twice, how memory,
threads and open files developed, and how scores and events agree with those of the file. After a
gap the snippets begin at other frames, so scores differ by more than the window explains. Events
agree where they overlap; the difference of their starts is given in frames.

Without --checkpoint, a stand-in for the network describes the pictures (the mean colours of
patches, projected at random), and an untrained SSRL scores them; the threshold is then the
score that a tenth of the file's snippets reach. This tests the machinery at many times the pace.
"""

import argparse
import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from live_stream import LiveServer, mark, read_mark

from ssrl_pipeline.events.rule import EventRule
from ssrl_pipeline.extractors.passes import Wanted
from ssrl_pipeline.extractors.reader import ViewArrays
from ssrl_pipeline.models import SSRL
from ssrl_pipeline.models.live_window import WindowScorer
from ssrl_pipeline.scoring.scorer import Scorer
from ssrl_pipeline.settings import WatchSettings
from ssrl_pipeline.watching.plan import Analysis, Plan
from ssrl_pipeline.watching.sources import parse_sources
from ssrl_pipeline.watching.watch import Watch

CPU = torch.device("cpu")
SIZE = (320, 240)
OUT_FOR = 20  # seconds of the video
SAMPLE = 5.0  # seconds from one look at memory to the next


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--fps", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--pace", type=float, default=1.0, help="times faster than the stream says")
    parser.add_argument("--window", type=int, default=WatchSettings().window)
    parser.add_argument("--delay", type=int, default=WatchSettings().delay)
    parser.add_argument("--no-file", action="store_true", help="the stream alone")
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    frames = round(60 * a.minutes * a.fps)
    settings = WatchSettings(window=a.window, delay=a.delay)
    analysis = with_checkpoint(a.checkpoint) if a.checkpoint else stand_in()
    whole = None
    if not a.no_file:
        write_marked(a.video, a.out / "marked.mp4", frames, a.fps)
        whole = watch(str(a.out / "marked.mp4"), a.out / "file", analysis, settings)
        if not a.checkpoint:
            scores = [line["score"] for line in whole if line["type"] == "score"]
            rule = EventRule(threshold=float(np.quantile(scores, 0.9)), shortest=0.5, gap=2.0)
            analysis = replace(analysis, rule=rule)
            whole = watch(str(a.out / "marked.mp4"), a.out / "file", analysis, settings)
    context = multiprocessing.get_context("spawn")
    queue: SimpleQueue[str] = context.SimpleQueue()
    outages = [(frames * i // 3, frames * i // 3 + OUT_FOR * a.fps) for i in (1, 2)]
    server = context.Process(target=serve, args=(a.video, frames, a.fps, a.pace, outages, queue), daemon=True)
    server.start()
    seconds = frames / a.fps / a.pace + 5
    lines = watch(queue.get(), a.out / "stream", analysis, settings, seconds)
    server.terminate()
    told = report(a.out / "stream", lines, frames, OUT_FOR * a.fps)
    if whole:
        told |= compare(a.out, lines, whole)
        again = rescore(a.out, analysis, settings, OUT_FOR * a.fps)
        scores = [line["score"] for line in lines if line["type"] == "score"]
        # Its pictures passed another encoder, which moves all scores a little the same way.
        away = np.array(again) - scores
        told["the stream's own snippets cut from the file: score difference, mean and deviation"] = [
            float(away.mean()),
            float(away.std()),
        ]
    print(json.dumps(told, indent=2))


def with_checkpoint(path: Path) -> Analysis:
    scorer = Scorer(path, "cpu")
    extractor = scorer.extractor
    return Analysis(scorer.model, CPU, extractor.describe, scorer.chosen.rule, unchanged=extractor.unchanged)


def stand_in() -> Analysis:
    projection = np.random.default_rng(0).standard_normal((6 * 3 * 2, 6, 64)).astype(np.float32)

    def colours(images: np.ndarray) -> ViewArrays:
        below = images[:, 16:].astype(np.float32) / 255  # without the number
        parts = np.stack([cv2.resize(image, (3, 2), interpolation=cv2.INTER_AREA) for image in below])
        numbers = np.concatenate([parts.mean(axis=0), parts.std(axis=0) * 10]).ravel()  # [36]
        return {"clip": np.einsum("i,ipd->pd", numbers, projection)[None, :1]}

    torch.manual_seed(0)
    model = SSRL(64, (), crops=1).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_var.fill_(4.0)
            module.weight.data.fill_(1.0)
    layer = model.head[-2]
    assert isinstance(layer, torch.nn.Linear)
    layer.weight.data *= 40  # else all scores are nearly the same,
    layer.bias.data += 11  # and far from the middle
    return Analysis(model, CPU, lambda snippets, wanted: list(map(colours, snippets)), EventRule())


def looped(video: Path) -> list[np.ndarray]:
    capture, images = cv2.VideoCapture(str(video)), []
    while (read := capture.read())[0]:
        images.append(cv2.cvtColor(cv2.resize(read[1], SIZE), cv2.COLOR_BGR2RGB))
    return images


def serve(
    video: Path,
    frames: int,
    fps: int,
    pace: float,
    outages: list[tuple[int, int]],
    queue: "SimpleQueue[str]",
) -> None:
    images = looped(video)
    with LiveServer(lambda n: images[n % len(images)], frames, fps, pace, outages) as server:
        queue.put(server.url)
        time.sleep(24 * 3600)


def write_marked(video: Path, path: Path, frames: int, fps: int) -> None:
    images = looped(video)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, SIZE)
    for number in range(frames):
        writer.write(cv2.cvtColor(mark(images[number % len(images)], number), cv2.COLOR_RGB2BGR))
    writer.release()


def watch(
    source: str,
    out: Path,
    analysis: Analysis,
    settings: WatchSettings,
    seconds: float = float("inf"),
) -> list[dict[str, Any]]:
    """The lines that `watch` writes; saves the scored frames' numbers, and samples of memory, beside them."""
    out.mkdir(exist_ok=True)
    stop, ended = threading.Event(), threading.Event()
    if seconds < float("inf"):
        timer = threading.Timer(seconds, stop.set)
        timer.daemon = True
        timer.start()
    with (
        (out / "lines.jsonl").open("w") as lines,
        (out / "numbers.txt").open("w") as numbers,
        (out / "samples.txt").open("w") as samples,
    ):

        def describe_closely(
            snippets: Sequence[np.ndarray], wanted: Sequence[Wanted]
        ) -> Sequence[ViewArrays]:
            for images in snippets:
                numbers.write(" ".join(str(read_mark(image)) for image in images) + "\n")
            return analysis.describe(snippets, wanted)

        def sample() -> None:
            begun = time.monotonic()
            while not ended.wait(SAMPLE):
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                now = (time.monotonic() - begun, pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
                files = len(list(Path("/proc/self/fd").iterdir()))
                print(*now, threading.active_count(), files, file=samples, flush=True)

        thread = threading.Thread(target=sample)
        thread.start()
        say = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
        tell = lambda line: print(json.dumps(line), file=lines, flush=True)  # noqa: E731
        closely = replace(analysis, describe=describe_closely)
        plans = [Plan(one, closely) for one in parse_sources([f"shown={source}"])]
        job = Watch(plans, settings, tell, say)
        job.run(stop)
        ended.set()
        thread.join()
    return [json.loads(line) for line in (out / "lines.jsonl").read_text().splitlines()]


def numbers_of(out: Path) -> np.ndarray:
    """int [snippets, 16]: the numbers of the frames that were scored."""
    return np.loadtxt(out / "numbers.txt", dtype=int, ndmin=2)


def report(out: Path, lines: list[dict[str, Any]], frames: int, gap: int) -> dict[str, Any]:
    """Frames, gaps, and how memory, threads and files went over the second half of the time."""
    scored = numbers_of(out).ravel()
    time_s, rss, threads, files = np.loadtxt(out / "samples.txt", ndmin=2).T
    jumps = np.diff(numbers_of(out), axis=1) - 1
    late = time_s >= time_s[-1] / 4  # the libraries fill their pools at first
    return {
        "frames shown": frames,
        "frames scored": len(scored),
        "scored twice": len(scored) - len(np.unique(scored)),
        "in order": bool((np.diff(scored) > 0).all()),
        "dropped": sum(line["frames"] for line in lines if line["type"] == "dropped"),
        "gaps (s)": [line["gap_s"] for line in lines if line["type"] == "connected"],
        "snippets across a gap": int((jumps >= gap).any(axis=1).sum()),
        "frames that the server left out to keep its pace": int(jumps[jumps < gap].sum()),
        "seconds": float(time_s[-1]),
        "RSS (MiB), at a quarter and at the end": [float(rss[late][0]), float(rss[-1])],
        "RSS slope after the first quarter (MiB an hour)": float(
            np.polyfit(time_s[late], rss[late], 1)[0] * 3600
        ),
        "threads": sorted({int(n) for n in threads[late]}),
        "files": sorted({int(n) for n in files[late]}),
    }


def compare(out: Path, lines: list[dict[str, Any]], whole: list[dict[str, Any]]) -> dict[str, Any]:
    """The stream against the file: scores by frame, events by overlap outside the gaps."""
    score_of, seen = {}, {}
    for name, said in (("stream", lines), ("file", whole)):
        scores = [line["score"] for line in said if line["type"] == "score"]
        numbers = numbers_of(out / name)[: len(scores)]
        score_of[name] = dict(zip(numbers.ravel().tolist(), np.repeat(scores, 16).tolist(), strict=True))
        seen[name] = events_of(said, numbers)
    both = sorted(score_of["stream"].keys() & score_of["file"].keys())
    away = np.abs([score_of["stream"][n] - score_of["file"][n] for n in both])
    covered = set(score_of["stream"])
    expected = [event for event in seen["file"] if covered.issuperset(range(*event))]
    found = [
        next((s for s in seen["stream"] if s[0] < end and begin < s[1]), None) for begin, end in expected
    ]
    starts = [abs(s[0] - event[0]) for s, event in zip(found, expected, strict=True) if s]
    alone = [s for s in seen["stream"] if not any(s[0] < end and begin < s[1] for begin, end in seen["file"])]
    return {
        "frames compared": len(both),
        "score difference, mean and greatest": [float(away.mean()), float(away.max())],
        "events of the file, of the stream": [len(seen["file"]), len(seen["stream"])],
        "events of the file outside the gaps": len(expected),
        "of these matched by overlap": sum(s is not None for s in found),
        "difference of starts (frames), median and greatest": [float(np.median(starts)), max(starts)]
        if starts
        else None,
        "events of the stream alone": len(alone),
    }


def rescore(out: Path, analysis: Analysis, settings: WatchSettings, gap: int) -> list[float]:
    """Scores of the snippets that the stream was cut into, their frames taken from the file."""
    scorer = WindowScorer(analysis.model, CPU, settings.window, settings.delay)
    window, scores, last = scorer.window(), [], 0
    capture, position, image = cv2.VideoCapture(str(out / "marked.mp4")), -1, np.empty(0)
    for row in numbers_of(out / "stream"):
        images = []
        for number in row:
            while position < number:
                image, position = capture.read()[1], position + 1
            images.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        if row[0] - last > gap:
            scores += scorer.finish(window)
        last = row[-1]
        (features,) = analysis.describe([np.stack(images)])
        views = {name: torch.from_numpy(features[name]) for name in analysis.model.views}
        scores += [score for score in scorer.add([window], views) if score is not None]
    return scores + scorer.finish(window)


def events_of(lines: list[dict[str, Any]], numbers: np.ndarray) -> list[tuple[int, int]]:
    """Start and end of each event by the numbers in the frames, not by those that `watch` counts."""
    scores = [line for line in lines if line["type"] == "score"]
    number = {line["frame"]: int(row[0]) for line, row in zip(scores, numbers, strict=True)}
    last = {
        line["frame"] + line["frames"]: int(row[-1]) + 1 for line, row in zip(scores, numbers, strict=True)
    }
    return [(number[e["start"]], last[e["end"]]) for e in lines if e["type"] == "event_end"]


if __name__ == "__main__":
    main()
