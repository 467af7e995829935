"""Decodes every file of a corpus, compares the frames with those of ffmpeg's program, and says what is wrong.

    python scripts/corpus/check_corpus.py corpus/      # makes what is missing first; see corpus.py
    python scripts/corpus/check_corpus.py corpus/ --markdown docs/corpus.md

It prints a line for each file. The exit code is 1 where the package is wrong: the outcome is not
what the beginning of the file's name asks for, frames are not ffmpeg's, or times are not ffprobe's.
"""

import argparse
import json
import math
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from corpus import files, make

from ssrl_pipeline.console.messages import one_line
from ssrl_pipeline.console.terminal import table
from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.extractors.decoding import Limits, open_video
from ssrl_pipeline.times import FrameTimes, from_stamps

PAGE = """# Each kind of video, and what happens to it

Made by `python scripts/corpus/check_corpus.py FOLDER --markdown docs/corpus.md`: {summary}.

"Frames" says how many frames the package reads, of how many ffmpeg's program reads. They are compared
with ffmpeg's, and their times with ffprobe's, except in damaged files, which versions of libav repair in
different ways. "Times off by" is the greatest difference, in lengths of a frame. [inputs.md](inputs.md)
sums this table up.

| kind | must be | outcome | frames | times off by | note with the result | |
| --- | --- | --- | --- | --- | --- | --- |
{lines}
"""
SAID = {  # what must be read, and what must be said of it
    "changing": "scaled to these",
    "untimed": "no times in it",
    "restarted": "times that begin anew",
}
NEAR_TIME = 0.5  # lengths of a frame
NEAR = 7.0  # mean absolute difference of grey levels that two conversions of colours may have


class Decoded(NamedTuple):
    """What the package makes of a file."""

    frames: np.ndarray  # uint8 [N, H, W, 3]; without the first, [0]
    times: FrameTimes
    error: str  # why it did not come to the end; "" where it did
    damage: str
    seconds: float


class Judged(NamedTuple):
    """A line of the table."""

    verdict: str  # "" or WRONG
    kind: str
    outcome: str
    frames: int
    by_ffmpeg: int
    difference: float  # mean absolute difference of grey levels, of the frame that differs most
    off: float  # of the time that differs most, in lengths of a frame; nan where not compared
    damage: str
    seconds: float


def decode(path: Path, limits: Limits) -> Decoded:
    start, error, damage = time.perf_counter(), "", ""
    frames: list[np.ndarray] = []
    stamps: list[float] = []
    fps = 0.0
    try:
        with open_video(path, limits) as video:
            fps = video.info.fps
            for frame in video.frames:
                frames.append(frame)
                stamps.append(video.time)
            damage = video.damage()
    except VideoError as failure:
        error = str(failure).removeprefix(f"{path}: ")
    kept = np.stack(frames) if frames else np.zeros((0, 1, 1, 3), np.uint8)
    times = from_stamps(np.array(stamps), fps) if stamps else FrameTimes()
    return Decoded(kept, times, error, damage, time.perf_counter() - start)


def asked_for(kind: str) -> str:
    """The first word of a file's name, which says what must happen to it."""
    first = Path(kind).name.split(" ")[0].split(".")[0]
    return first if first in ("bad", "cut", "hurt", "broken", *SAID) else ""


def is_right(kind: str, refused: bool, like_ffmpeg: bool, damage: str) -> bool:
    """Whether the outcome is what the file's kind asks for."""
    asked = asked_for(kind)
    if refused:
        return asked not in ("", *SAID)
    if asked == "broken":  # versions of libav repair differently, so the frames decide nothing
        return bool(damage)
    if asked in SAID:
        return like_ffmpeg and SAID[asked] in damage
    return asked != "bad" and like_ffmpeg and (asked != "" or not damage)


def judge(folder: Path, path: Path, limits: Limits) -> Judged:
    kind = path.relative_to(folder).as_posix()
    one = decode(path, limits)
    same, count, worst, off = False, 0, 0.0, math.nan
    if not one.error:
        truth = ffmpeg_frames(path, (one.frames.shape[2], one.frames.shape[1]))
        same, worst = compare(one.frames, truth)
        count = len(truth)
        if asked_for(kind) != "broken":
            off = compare_times(one.times, ffprobe_times(path))
    right = is_right(kind, bool(one.error), same and not off > NEAR_TIME, one.damage)
    numbers = (len(one.frames), count, worst, off, one.damage, one.seconds)
    return Judged("" if right else "WRONG", kind, one.error or "read", *numbers)


def compare_times(times: FrameTimes, truth: list[float | None]) -> float:
    """The greatest difference of the times, counted from the first frame, in lengths of a frame.

    nan where ffprobe gives a frame no time, or its times do not grow: there is nothing to compare with then.
    """
    if any(one is None for one in truth) or not (np.diff(np.array(truth, float)) > 0).all():
        return math.nan
    found = times.starts(len(truth))
    wanted = np.array(truth, float)
    return float(np.abs((found - found[0]) - (wanted - wanted[0])).max() * (times.fps or math.nan))


def ffprobe_times(path: Path) -> list[float | None]:
    """When each frame of the first video is shown, as ffprobe says it, in seconds."""
    command = ["ffprobe", "-v", "quiet", "-select_streams", "v:0", "-of", "json"]
    command += ["-show_entries", "frame=best_effort_timestamp_time", f"file:{path}"]
    content = json.loads(subprocess.run(command, capture_output=True, check=False).stdout or "{}")
    stamps = [frame.get("best_effort_timestamp_time") for frame in content.get("frames", ())]
    return [None if stamp is None else float(stamp) for stamp in stamps]


def compare(frames: np.ndarray, truth: np.ndarray) -> tuple[bool, float]:
    """Whether they are the same frames, and the greatest difference of one."""
    if len(frames) != len(truth):
        return False, 0.0
    worst, nearest = 0.0, True
    for i, frame in enumerate(frames):
        near = {j: _difference(frame, truth[j]) for j in range(max(0, i - 1), min(len(truth), i + 2))}
        worst, nearest = max(worst, near[i]), nearest and near[i] == min(near.values())
    return nearest and worst < NEAR, worst


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(np.int16) - b).mean())


def ffmpeg_frames(path: Path, size: tuple[int, int], most: int = 1 << 30) -> np.ndarray:
    """uint8 [N, H, W, 3]: each frame of the first video once, as ffmpeg's own program decodes it."""
    width, height = size
    command = ["ffmpeg", "-v", "quiet", "-nostdin", "-i", f"file:{path}", "-map", "0:v:0", "-fps_mode"]
    command += [
        "passthrough",
        "-frames:v",
        str(most),
        "-s",
        f"{width}x{height}",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]
    content = subprocess.run(command, capture_output=True, check=False).stdout
    size_bytes = width * height * 3
    whole = content[: len(content) // size_bytes * size_bytes]
    return np.frombuffer(whole, np.uint8).reshape(-1, height, width, 3)


def markdown(kinds: Sequence[Judged]) -> str:
    """The page docs/corpus.md: a line for what the package does with each kind."""
    must = {"": "read", **dict.fromkeys(SAID, "read, told"), "bad": "refused", "broken": "told, or refused"}
    lines = []
    for row in kinds:
        is_read = row.outcome == "read"
        outcome = row.outcome if is_read else f"refused: {row.outcome}"
        frames = f"{row.frames} of {row.by_ffmpeg}" if is_read else ""
        asked = must.get(asked_for(row.kind), "read, or refused")
        off = "" if math.isnan(row.off) else f"{row.off:.2f}"
        cells = (row.kind, asked, outcome, frames, off, row.damage, row.verdict.lower() or "right")
        lines.append("| " + " | ".join(one_line(cell).replace("|", "\\|") for cell in cells) + " |")
    return PAGE.format(summary=summary(kinds), lines="\n".join(lines))


def summary(kinds: Sequence[Judged]) -> str:
    wrong = sum(row.verdict != "" for row in kinds)
    read = sum(row.outcome == "read" for row in kinds)
    return f"{len(kinds)} files: {read} read, {len(kinds) - read} refused, {wrong} wrong"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--markdown", type=Path, help="a page with the table of what the package does")
    parser.add_argument("--seconds", type=float, default=20.0, help="that a decoder may take over a frame")
    arguments = parser.parse_args()
    if shutil.which("ffmpeg") is None:
        raise SystemExit("ffmpeg is not installed; it makes the files")
    make(arguments.folder)
    limits, folder = Limits(seconds=arguments.seconds), arguments.folder
    rows = [judge(folder, path, limits) for path in files(folder)]
    print(
        table([[c[:90] if isinstance(c, str) else c for c in row] for row in rows], ("", *Judged._fields[1:]))
    )
    if arguments.markdown:
        arguments.markdown.write_text(markdown(rows), encoding="utf-8")
    print(summary(rows))
    raise SystemExit(1 if any(row.verdict for row in rows) else 0)


if __name__ == "__main__":
    main()
