"""Two cameras over RTSP for half an hour, with all that may go wrong, and what people were told of it.

    python scripts/endurance/trial.py --out trial --minutes 30

Real parts: cameras of GStreamer's RTSP server, mosquitto, a web server and a disk of their own (a tmpfs,
where one may be mounted). A memory learns rendered plazas; then somebody unusual passes four times. One
camera is cut twice and moved, the other blackened and frozen; the broker and the web server are killed and
started again, and the disk is full for a while. The script checks that each event was told once to each
receiver, with a clip whose frames are the stream's, that health was told when it should be and never
else, that memory, threads and files stay, and how late scores come with receivers and without. Without:
the same cameras are watched by a `watch` that tells nobody, before and after.

The pictures and the detector are made once in DIR/made.
"""

import argparse
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from trial_checks import Trial, check
from trial_parts import Disk, Listener, Part, Watched, broker, camera, started, web, write_config
from trial_pictures import CLIP, Wrong, draw, learn

from ssrl_pipeline.console import table

SHORTEST = 8.0  # minutes: the faults need so long, one after the other
STARTING = 100.0  # seconds that two `watch` get to start
WRONG = {  # where each begins, as a share of the trial, and how many seconds it takes
    "gate": [
        ("event", 0.08, CLIP),
        ("cut", 0.20, 12),
        ("cut", 0.32, 25),
        ("event", 0.48, CLIP),
        ("moved", 0.64, 60),
        ("event", 0.84, CLIP),
    ],
    "yard": [("black", 0.25, 20), ("frozen", 0.38, 40), ("event", 0.66, CLIP)],
}
DOWN = 0.45, 0.58  # the broker and the web server
FULL = 0.80, 0.95  # the disk


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--minutes", type=float, default=30.0)
    options = parser.parse_args()
    if options.minutes < SHORTEST:
        parser.error(f"--minutes {options.minutes:g}: {SHORTEST:g} are the least")
    out, seconds = options.out / "run", 60 * options.minutes
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    trial = run(options.out / "made", out, seconds)
    found = check(trial)
    (out / "trial.json").write_text(json.dumps(found.as_json(), indent=2) + "\n")
    print(table(found.rows, ("what", "wanted", "found", "")))
    raise SystemExit(0 if found.good else 1)


def run(made: Path, out: Path, seconds: float) -> Trial:
    """Seconds: of the trial, beside those before and after it in which nobody is told."""
    bare = max(60.0, seconds / 15)
    lead = bare + STARTING
    wrong = {
        name: [Wrong(kind, share * seconds, share * seconds + length) for kind, share, length in listed]
        for name, listed in WRONG.items()
    }
    checkpoint = made / "runs" / "trial" / "best.pt"
    is_made = checkpoint.exists()
    shows = [
        draw(made, name, seed, lead + seconds + STARTING + bare, lead, listed, videos=not is_made)
        for seed, (name, listed) in enumerate(wrong.items())
    ]
    if not is_made:
        learn(made)
    begun = time.time() + 2
    cameras = {one.name: camera(one, begun, out) for one in shows}
    ports = {name: one.port for name, one in cameras.items()}
    mqtt, http = broker(out), web(out)
    alone = write_config(out / "alone.yaml", ports)
    told = write_config(out / "told.yaml", ports, mqtt.port, http.port)
    trial = Trial(begun, begun + lead, seconds, wrong, DOWN, FULL, {one.name: one for one in shows}, out)
    with started(mqtt, http, *cameras.values()):
        listener = Listener(mqtt.port)
        trial.without.append(watch_alone(alone, checkpoint, out, bare))
        trial.disk = disk = Disk(out / "events")
        watched = Watched(told, checkpoint, out, "--events", disk.folder)
        try:
            watched.until_scores(len(cameras))
            steps = timetable(wrong, cameras, [mqtt, http], disk, seconds)
            follow(steps, trial.zero, seconds)
        finally:
            trial.code = watched.end()
            trial.watched = watched
            disk.close(out / "kept")
        trial.without.append(watch_alone(alone, checkpoint, out, bare))
        time.sleep(1)
        listener.close()
    trial.heard = listener.heard
    assert trial.watched
    (out / "lines.json").write_text(json.dumps(trial.watched.lines))
    (out / "heard.json").write_text(json.dumps(trial.heard))
    return trial


def watch_alone(config: Path, checkpoint: Path, out: Path, seconds: float) -> Watched:
    watched = Watched(config, checkpoint, out)
    try:
        watched.until_scores(len(WRONG))
        time.sleep(seconds)
    finally:
        watched.end()
    return watched


Step = tuple[float, str, Callable[[], object]]


def timetable(
    wrong: dict[str, list[Wrong]], cameras: dict[str, Part], servers: list[Part], disk: Disk, seconds: float
) -> list[Step]:
    """What the script does to the parts, and when."""
    steps: list[Step] = []
    for name, listed in wrong.items():
        for one in listed:
            if one.kind == "cut":
                steps.append((one.begin, f"{name} is cut", cameras[name].kill))
                steps.append((one.end, f"{name} is back", cameras[name].start))
    for part, what in zip(servers, ("the broker", "the web server"), strict=True):
        steps.append((DOWN[0] * seconds, f"{what} is killed", part.kill))
        steps.append((DOWN[1] * seconds, f"{what} is back", part.start))
    if disk.fills_up:
        steps.append((FULL[0] * seconds, "the disk is full", disk.fill))
        steps.append((FULL[1] * seconds, "the disk has room", disk.empty))
    return sorted(steps, key=lambda step: step[0])


def follow(steps: list[Step], zero: float, seconds: float) -> None:
    if time.time() > zero:
        raise SystemExit(f"this machine is too slow: watch needed {time.time() - zero:.0f} seconds too long")
    for at, what, act in steps:
        time.sleep(max(0.0, zero + at - time.time()))
        print(f"{time.time() - zero:7.1f} s  {what}", flush=True)
        act()
    time.sleep(max(0.0, zero + seconds - time.time()))


if __name__ == "__main__":
    main()
