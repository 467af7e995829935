"""What is checked of a trial, and the table of it."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import av
import numpy as np
from live_stream import read_mark
from trial_parts import Disk, Look, Watched
from trial_pictures import FPS, Shown, Span, Wrong

TELLS = {"cut": "lost", "black": "black", "frozen": "frozen", "moved": "moved"}
LATEST = {"lost": 12, "black": 12, "frozen": 25, "moved": 50}  # seconds until each is told, at most
BEFORE = AFTER = 5.0  # seconds of a clip around its event
LATE = 15.0  # seconds after which a score is known, and a clip is whole, at most
ALIKE = 6.0  # grey levels: mean difference of a frame and the source's, at most; codecs leave 1 to 2
MORE_MIB = 0.05  # share by which memory may be greater in the last third than in the first
Line = dict[str, Any]


@dataclass
class Trial:
    """What a trial was, and what came of it. Times are seconds since 1970, spans shares of the trial."""

    begun: float  # of the cameras' frame 0
    zero: float
    seconds: float
    wrong: dict[str, list[Wrong]]
    down: Span
    full: Span
    shows: dict[str, Shown]
    out: Path
    without: list[Watched] = field(default_factory=list)
    watched: Watched | None = None
    disk: Disk | None = None
    heard: list[Line] = field(default_factory=list)
    code: int = 0

    def lines(self, *types: str) -> list[Line]:
        """In the order in which they came."""
        assert self.watched
        return [line for _, line in self.watched.lines if line["type"] in types]

    def is_full(self, begin: float, end: float) -> bool:
        """Whether the disk is, at some time between these seconds of the trial."""
        full = [share * self.seconds for share in self.full]
        return bool(self.disk and self.disk.fills_up) and begin < full[1] and full[0] < end

    def has_begun(self, camera: str, frame: int) -> bool:
        """Whether the camera's stream begins about with a frame, as it was connected then."""
        lines = self.lines("connected")
        return any(x["camera"] == camera and 0 <= frame - x["frame"] <= 4 * FPS for x in lines)

    def at(self, time: str) -> float:
        """A line's time as seconds of the trial."""
        return since_1970(time) - self.zero


def since_1970(time: str) -> float:
    return datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()


@dataclass
class Found:
    """Rows of the table, and figures beside it."""

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)

    def note(self, what: str, wanted: object, found: object, good: bool | None) -> None:
        """`good` None: a figure alone."""
        self.rows.append((what, str(wanted), str(found), {True: "ok", False: "NO", None: ""}[good]))

    @property
    def good(self) -> bool:
        return all(row[3] != "NO" for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        return {
            "checks": [dict(zip(("what", "wanted", "found", "ok"), r, strict=True)) for r in self.rows],
            **self.more,
        }


def check(trial: Trial) -> Found:
    found = Found()
    check_events(trial, found)
    check_receivers(trial, found)
    check_clips(trial, found)
    check_health(trial, found)
    check_scoring(trial, found)
    check_resources(trial, found)
    check_delay(trial, found)
    found.note("watch ends on SIGTERM with", 143, trial.code, trial.code == 143)
    return found


def check_events(trial: Trial, found: Found) -> None:
    """Each time that somebody unusual was there is in an event, and what else was one is named."""
    ends = trial.lines("event_end")
    spans = [(line["camera"], trial.at(line["start_time"]), trial.at(line["end_time"])) for line in ends]
    wanted = [(name, one) for name, listed in trial.wrong.items() for one in listed if one.kind == "event"]
    matched = set()
    for name, one in wanted:
        those = {i for i, (cam, b, e) in enumerate(spans) if cam == name and b < one.end and one.begin < e}
        matched |= those
        told = ", ".join(f"{spans[i][1]:.0f} to {spans[i][2]:.0f} s" for i in sorted(those)) or "none"
        found.note(
            f"{name}: somebody unusual, {one.begin:.0f} to {one.end:.0f} s", "an event", told, bool(those)
        )
    others = [spans[i] for i in range(len(spans)) if i not in matched]
    faults = [(n, o) for n, listed in trial.wrong.items() for o in listed if o.kind != "event"]
    near = [
        s for s in others if any(s[0] == n and s[1] < o.end + 10 and o.begin - 5 < s[2] for n, o in faults)
    ]
    alone = [s for s in others if s not in near]
    found.note("events while a camera was ill", "-", named(near), None)
    found.note("events without a reason", 0, named(alone), not alone)


def named(spans: Sequence[tuple[str, float, float]]) -> str:
    return "; ".join(f"{name} {begin:.0f} to {end:.0f} s" for name, begin, end in spans) or "0"


def check_receivers(trial: Trial, found: Found) -> None:
    """Each line of an event and of health came once to whom it is for."""
    types = ("event_start", "event_end", "health_start", "health_end")
    wanted = Counter(map(key, trial.lines(*types)))
    found.note("lines of events and health told twice on stdout", 0, twice(wanted), not twice(wanted))
    posted = [json.loads(line) for line in (trial.out / "posted.jsonl").read_text().splitlines()]
    hook = Counter(key(one["body"]) for one in posted if one["path"] == "/hook")
    for name, told in (("webhook", hook), ("broker", Counter(map(key, trial.heard)))):
        lost, more = wanted - told, told - wanted
        bad = [f"lost {list(lost)}"] * bool(lost) + [f"more {list(more)}"] * bool(more)
        good = f"{sum(told.values())}" if not bad else "; ".join(bad)
        found.note(f"{name}: told once each", sum(wanted.values()), good, not bad)
    made = [json.loads(one["answer"])["event_id"] for one in posted if one["path"].endswith("/create")]
    ended = [one["path"].split("/")[-2] for one in posted if one["path"].endswith("/end")]
    starts = len(trial.lines("event_start"))
    good = len(made) == starts and sorted(made) == sorted(ended)
    found.note("Frigate: created and ended once each", starts, f"{len(made)}, {len(ended)}", good)


def key(line: Line) -> tuple[Any, ...]:
    return line["type"], line["camera"], line.get("event", line.get("health")), line["start_time"]


def twice(counts: Counter[tuple[Any, ...]]) -> int:
    return sum(count > 1 for count in counts.values())


def check_clips(trial: Trial, found: Found) -> None:
    """Frames of clips by the numbers drawn in them, each against the source's."""
    for line in trial.lines("event_end"):
        begin, end = trial.at(line["start_time"]), trial.at(line["end_time"])
        what = f"clip of {line['camera']} {line['event']}, {begin:.0f} to {end:.0f} s"
        if trial.is_full(begin - BEFORE, end + AFTER + LATE):
            kept = "none" if line["clip"] is None else "a clip"
            found.note(what, "the disk is full", kept, None)
            continue
        if line["clip"] is None:
            found.note(what, "a clip", "none", False)
            continue
        assert trial.disk
        path = trial.out / "kept" / Path(line["clip"]).relative_to(trial.disk.folder.absolute())
        record = json.loads(path.with_suffix(".json").read_text())
        first, frames, difference = compare(path, trial.shows[line["camera"]])
        start, stop = (first + record[name] - record["clip_first"] for name in ("start", "end"))
        faults = []
        if first < 0:
            faults.append("its frames are not the stream's, one after the other")
        if difference > ALIKE:
            faults.append(f"a frame is not the source's: {difference:.1f}")
        if frames != record["clip_last"] - record["clip_first"] + 1:
            faults.append("another number of frames was told")
        if start - first < BEFORE * FPS and not trial.has_begun(line["camera"], record["clip_first"]):
            faults.append("it begins too late")
        if first + frames - stop < AFTER * FPS - 1 and end + AFTER + LATE < trial.seconds:
            faults.append("it ends too early")
        text = f"frames {first} to {first + frames - 1}, of the event {start} to {stop - 1}"
        found.note(what, "the stream's frames", "; ".join([text, *faults]), not faults)
        clip = {"clip": str(path), "first": first, "last": first + frames - 1, "difference": difference}
        found.more.setdefault("clips", []).append(clip)


def compare(clip: Path, shown: Shown) -> tuple[int, int, float]:
    """Which of the source's frames a clip's first one is, how many there are, and their greatest difference.

    The number is -1 where no frame tells which it is: those of a black or a frozen camera do not.
    """
    with av.open(str(clip)) as file:
        images = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    marks, counts = np.unique(shown.schedule[shown.schedule[:, 0] >= 0, 1], return_counts=True)
    telling = set(marks[counts == 1].tolist())
    numbers = [read_mark(image) for image in images]
    first = next((n - i for i, n in enumerate(numbers) if n in telling and images[i].max() > 60), -1)
    if first < 0 or first + len(images) > len(shown.schedule):
        return -1, len(images), float("inf")
    pairs = zip(images, range(first, first + len(images)), strict=True)
    differences = [np.abs(image.astype(int) - shown.frame(number)).mean() for image, number in pairs]
    return first, len(images), float(max(differences))


def check_health(trial: Trial, found: Found) -> None:
    starts, ends = trial.lines("health_start"), trial.lines("health_end")
    left = list(starts)
    for name, listed in trial.wrong.items():
        for one in listed:
            if (health := TELLS.get(one.kind)) is None:
                continue
            line = next(
                (
                    x
                    for x in left
                    if x["camera"] == name
                    and x["health"] == health
                    and -3 < trial.at(x["start_time"]) - one.begin < LATEST[health]
                ),
                None,
            )
            over = next(
                (
                    x
                    for x in ends
                    if line
                    and x["camera"] == name
                    and x["health"] == health
                    and x["start_time"] == line["start_time"]
                ),
                None,
            )
            told = "not told" if line is None else f"since {trial.at(line['start_time']):.0f} s"
            if line:
                left.remove(line)
                told += f" until {trial.at(over['end_time']):.0f} s" if over else ", its end not told"
            found.note(
                f"{name}: {one.kind}, {one.begin:.0f} to {one.end:.0f} s", health, told, bool(line and over)
            )
    others = "; ".join(f"{x['camera']} {x['health']} {trial.at(x['start_time']):.0f} s" for x in left) or "0"
    found.note("false health alarms", 0, others, not left)


def check_scoring(trial: Trial, found: Found) -> None:
    """What was not scored, and why."""
    for name in trial.wrong:
        dropped = Counter[str]()
        for line in trial.lines("dropped"):
            if line["camera"] == name:
                dropped[line["reason"]] += line["frames"]
        slow = dropped.pop("the model is slower than the camera", 0)
        scored = sum(line["frames"] for line in trial.lines("score") if line["camera"] == name)
        rest = ", ".join(f"{reason} {count}" for reason, count in dropped.items()) or "none"
        found.note(f"{name}: frames scored", "-", f"{scored}; dropped: {rest}", None)
        found.note(f"{name}: frames dropped for want of time", 0, slow, slow == 0)


def check_resources(trial: Trial, found: Found) -> None:
    """Medians of the first and of the last third."""
    assert trial.watched
    looks = [look for look in trial.watched.looks if look.at >= trial.zero]
    first, last = (middle(part) for part in (looks[: len(looks) // 3], looks[-(len(looks) // 3) :]))
    for name, unit in (("mib", " MiB"), ("threads", ""), ("files", "")):
        a, b = first[name], last[name]
        good = b <= a * (1 + MORE_MIB) if name == "mib" else abs(a - b) <= 2
        found.note(f"{name}, first and last third", "the same", f"{a:.0f}{unit}, {b:.0f}{unit}", good)
    found.more["looks"] = [look._asdict() for look in looks]


def middle(looks: Sequence[Look]) -> dict[str, float]:
    return {name: float(np.median([getattr(look, name) for look in looks])) for name in Look._fields}


def check_delay(trial: Trial, found: Found) -> None:
    """Seconds from a snippet's last frame until its score was told."""
    assert trial.watched
    alone = np.array([one for watched in trial.without for one in delays(watched)])
    told = np.array([one for one in delays(trial.watched, trial.zero)])
    for share, name in ((50, "median"), (99, "99th percentile")):
        a, b = np.percentile(alone, share), np.percentile(told, share)
        found.note(f"delay of scores, {name}", f"{a:.2f} s without receivers", f"{b:.2f} s", None)
    found.more["delays"] = {"without": alone.tolist(), "with": told.tolist()}


def delays(watched: Watched, since: float = 0.0) -> Iterator[float]:
    for at, line in watched.lines:
        if line["type"] == "score" and line["time"] and at >= since:
            yield at - since_1970(line["time"]) - line["frames"] / FPS
