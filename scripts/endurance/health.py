"""How often a camera's health is told wrongly in normal video, and how soon where something is wrong.

    python scripts/endurance/health.py --ped2 ped2/videos --vioperu vioperu --hours 2

Normal video: rendered plazas (the demo's), and, where given, UCSD Ped2 and VioPeru, whose normal clips
are put together by camera. The frames are shown three a second, which stretches them; each scene is
played again and again, as it is and with other light, noise, rain, lamps, headlights and a change to
infrared. Then each scene is frozen, blackened, covered, blurred, moved and zoomed, and the script says
when that was told, and whether anything else was.

Thresholds were chosen on scenes marked "chosen on"; the others judge.
"""

import argparse
import copy
import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from ssrl_pipeline.demo.render import RenderPlan, build_scene, render_video
from ssrl_pipeline.watching.health import Health, News

RATE = 3.0  # pictures a second
WIDE = (240, 135)  # what a scene is kept as; the camera shows the middle two thirds of it
SHOWN = (160, 90)
NORMAL, WRONG, AFTER = 150, 90, 30  # seconds before, during and after what is wrong
RENDERED_CLIPS = 6  # of each plaza
ALIKE = 0.5  # correlation of two clips' usual pictures, above which they are one camera's
SHORTEST = 700  # pictures of a VioPeru camera that count as a scene: five clips
Vary = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


class Scene(NamedTuple):
    name: str
    chosen_on: bool
    frames: np.ndarray  # uint8 [N, 135, 240], grey


Learnt = tuple[Scene, Health]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ped2", type=Path, help="folder of UCSD Ped2's videos")
    parser.add_argument("--vioperu", type=Path, help="folder with VioPeru's clips.csv")
    parser.add_argument("--hours", type=float, default=1.0, help="of each kind of light, over all scenes")
    parser.add_argument("--chosen-on", action="store_true", help="only those scenes")
    parser.add_argument("--each", action="store_true", help="each normal video by itself, instead, as it is")
    options = parser.parse_args()
    if options.each:
        print("| normal video | hours | false alarms | an hour | which |\n| --- | --- | --- | --- | --- |")
        for name, part in each_video(options).items():
            print_false_alarms(name, LIGHT["as it is"], part, options.hours)
        return
    scenes = [scene for scene in find_scenes(options) if scene.chosen_on or not options.chosen_on]
    for chosen_on in (True, False):
        part = [scene for scene in scenes if scene.chosen_on == chosen_on]
        if not part:
            continue
        print(f"\n## {'Chosen on' if chosen_on else 'Judged on'}: {', '.join(scene.name for scene in part)}")
        print("\n| normal video | hours | false alarms | an hour | which |\n| --- | --- | --- | --- | --- |")
        for name, vary in LIGHT.items():
            print_false_alarms(name, vary, part, options.hours)
        print("\n| what is wrong | told | seconds until told | until its end is told | told beside it |")
        print("| --- | --- | --- | --- | --- |")
        learnt = [used_to(scene) for scene in part]
        for name, (wanted, change) in FAULTS.items():
            print_detection(name, wanted, change, learnt)


def print_false_alarms(name: str, vary: Vary, scenes: Sequence[Scene], hours: float) -> None:
    told: Counter[str] = Counter()
    seconds = 0.0
    for number, scene in enumerate(scenes):
        rng, health = np.random.default_rng(number), Health()
        pictures = int(hours * 3600 * RATE / len(scenes))
        for i in range(pictures):
            picture = vary(crop(scene.frames[i % len(scene.frames)]), i / RATE, rng)
            for news in health.see(picture, i / RATE):
                if news.begins:
                    told[f"{news.health} ({scene.name}, {i / RATE:.0f} s)"] += 1
        seconds += pictures / RATE
    which = "; ".join(told) or "-"
    count = sum(told.values())
    print(f"| {name} | {seconds / 3600:.2f} | {count} | {count / seconds * 3600:.2f} | {which} |", flush=True)


def print_detection(name: str, wanted: Sequence[str], change: Vary, learnt: Sequence[Learnt]) -> None:
    delays, overs, beside = [], [], Counter[str]()
    for number, (scene, health) in enumerate(learnt):
        told = list(play_fault(scene, copy.deepcopy(health), change, np.random.default_rng(number)))
        first = [at for at, news in told if news.begins and news.health in wanted]
        over = [at - WRONG for at, news in told if not news.begins and news.health in wanted]
        delays += first[:1]
        overs += over[-1:]
        beside.update(news.health for _, news in told if news.begins and news.health not in wanted)
    until = f"{np.median(delays):.0f} (at most {max(delays):.0f})" if delays else "-"
    after = f"{np.median(overs):.0f}" if overs else "-"
    others = ", ".join(f"{health} {n}" for health, n in beside.items()) or "-"
    print(f"| {name} | {len(delays)} of {len(learnt)} | {until} | {after} | {others} |", flush=True)


def used_to(scene: Scene) -> Learnt:
    """A camera that has seen the scene for a while."""
    health = Health()
    for i in range(int(NORMAL * RATE)):
        health.see(crop(scene.frames[i % len(scene.frames)]), i / RATE)
    return scene, health


def play_fault(
    scene: Scene, health: Health, change: Vary, rng: np.random.Generator
) -> Iterator[tuple[float, News]]:
    """When what was told, in seconds since it went wrong; a change gets wide frames."""
    begin, held = int(NORMAL * RATE), None
    for i in range(begin, begin + int((WRONG + AFTER) * RATE)):
        since, wide = (i - begin) / RATE, scene.frames[i % len(scene.frames)]
        held = wide if held is None else held
        wrong = since < WRONG
        picture = change(held if change in HOLDING else wide, since, rng) if wrong else crop(wide)
        for news in health.see(picture, i / RATE):
            yield since, news


def crop(wide: np.ndarray, x: float = 0.0, y: float = 0.0, zoom: float = 1.0) -> np.ndarray:
    """What the camera shows, moved by shares of its own width and height."""
    w, h = SHOWN[0] / zoom, SHOWN[1] / zoom
    middle = (WIDE[0] / 2 + x * SHOWN[0] - 0.5, WIDE[1] / 2 + y * SHOWN[1] - 0.5)
    if zoom == 1:
        left, top = round(middle[0] - w / 2 + 0.5), round(middle[1] - h / 2 + 0.5)
        return wide[top : top + SHOWN[1], left : left + SHOWN[0]]
    patch = cv2.getRectSubPix(wide, (round(w), round(h)), middle)
    return cv2.resize(patch, SHOWN, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)


def to_grey(values: np.ndarray) -> np.ndarray:
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)


def noise(rng: np.random.Generator, strength: float) -> np.ndarray:
    return strength * rng.standard_normal(SHOWN[::-1], dtype=np.float32)


@lru_cache(maxsize=512)
def spot(x: float, y: float, radius: float) -> np.ndarray:
    """1 in the middle, falling off; shares of the picture's width."""
    column, row = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in SHOWN))
    return np.exp(-((column / SHOWN[0] - x) ** 2 + ((row - 45) / SHOWN[0] - y) ** 2) / radius**2)


def drifting(picture: np.ndarray, now: float, rng: np.random.Generator) -> np.ndarray:
    """Clouds, and from day to dusk and back in half an hour."""
    gain = 0.6 + 0.35 * np.cos(now / 1800 * 2 * np.pi) + 0.08 * np.sin(now / 40)
    shade = 1 - 0.3 * spot(round((now / 120) % 2 - 0.5, 2), 0, 0.4)
    return to_grey(picture * gain * shade + noise(rng, 0.5))


def night(picture: np.ndarray, now: float, rng: np.random.Generator) -> np.ndarray:
    """A fifth of the light under two lamps, and noise."""
    lamps = 0.08 + 0.3 * spot(0.25, -0.1, 0.25) + 0.25 * spot(0.8, 0.0, 0.2)
    return to_grey(8 + picture * lamps + noise(rng, 1.5))


def switched(picture: np.ndarray, now: float, rng: np.random.Generator) -> np.ndarray:
    """Lamps at night that go on and off every three minutes."""
    return night(picture, now, rng) if now // 180 % 2 else to_grey(picture * 0.7 + noise(rng, 0.8))


def rain(picture: np.ndarray, now: float, rng: np.random.Generator) -> np.ndarray:
    """Streaks, and less contrast."""
    streaks = (rng.random(SHOWN[::-1]) < 0.012).astype(np.float32) * 60
    streaks = cv2.blur(streaks, (1, 7)) * 5
    return to_grey(picture * 0.6 + 45 + streaks + noise(rng, 1.0))


def headlights(picture: np.ndarray, now: float, rng: np.random.Generator) -> np.ndarray:
    """At night; every twenty seconds one comes by, for four."""
    way = round(now % 20 / 4, 2)
    glare = 200 * spot(way, 0.1, 0.18) + 120 * spot(round(way + 0.08, 2), 0.1, 0.3) if way < 1 else 0
    return to_grey(night(picture, now, rng) + glare)


def day_and_night(picture: np.ndarray, now: float, rng: np.random.Generator) -> np.ndarray:
    """From day to night under two lamps and back in forty minutes, with noise that grows."""
    day = 0.5 + 0.5 * np.cos(now / 2400 * 2 * np.pi)
    dark = 8 + picture * (0.08 + 0.3 * spot(0.25, -0.1, 0.25) + 0.25 * spot(0.8, 0.0, 0.2))
    return to_grey(day * picture + (1 - day) * dark + noise(rng, 0.5 + 1.5 * (1 - day)))


def infrared(picture: np.ndarray, now: float, rng: np.random.Generator) -> np.ndarray:
    """Every ten minutes the camera changes to infrared: other tones, light from its own lamp, noise."""
    if now // 600 % 2 == 0:
        return to_grey(picture + noise(rng, 0.5))
    tones = 255 * np.abs(np.sin(picture / 255 * np.pi * 0.9 + 0.3))  # what was bright may be dark
    return to_grey(20 + 0.7 * tones * (0.25 + spot(0.5, 0, 0.5)) + noise(rng, 1.5))


LIGHT: dict[str, Vary] = {
    "as it is": lambda picture, now, rng: picture,
    "drifting light": drifting,
    "night": night,
    "lamps on and off": switched,
    "rain": rain,
    "headlights at night": headlights,
    "day and night": day_and_night,
    "infrared and back": infrared,
}


def frozen(wide: np.ndarray, now: float, rng: np.random.Generator) -> np.ndarray:
    return crop(wide)


def frozen_coded(wide: np.ndarray, now: float, rng: np.random.Generator) -> np.ndarray:
    """Every second a key frame, which shows it a little otherwise; the tests have a real codec."""
    picture = crop(wide).astype(np.int16)
    wavering = np.random.default_rng(int(now)).random(picture.shape) < 0.05
    return to_grey(picture + wavering)


def hand(wide: np.ndarray, now: float, rng: np.random.Generator) -> np.ndarray:
    """A palm, moving a little, that lets light in at one side."""
    return to_grey(35 + 60 * spot(round(1 + 0.02 * np.sin(now), 3), 0.1, 0.5) + noise(rng, 1.0))


def sprayed(wide: np.ndarray, now: float, rng: np.random.Generator) -> np.ndarray:
    """Paint over four fifths, with a soft edge."""
    paint = np.clip(2.5 * spot(0.45, 0.02, 0.42), 0, 1) ** 0.5
    paint = np.where(paint > 0.75, 1, paint)
    return to_grey(crop(wide) * (1 - paint) + 150 * paint + noise(rng, 0.7))


def grey(wide: np.ndarray, now: float, rng: np.random.Generator) -> np.ndarray:
    return to_grey(128 + noise(rng, 0.7))


def black(wide: np.ndarray, now: float, rng: np.random.Generator) -> np.ndarray:
    return to_grey(4 + np.abs(noise(rng, 1.5)))


def blurred(share: float) -> Vary:
    """By a Gaussian whose deviation is a share of the picture's width."""

    def change(wide: np.ndarray, now: float, rng: np.random.Generator) -> np.ndarray:
        return crop(cv2.GaussianBlur(wide, (0, 0), share * SHOWN[0]))

    return change


def moved(x: float, y: float = 0.0, zoom: float = 1.0) -> Vary:
    return lambda wide, now, rng: crop(wide, x, y, zoom)


HOLDING = (frozen, frozen_coded)  # these get one frame again and again
HIDDEN = ("covered", "out_of_focus")  # a strong blur is as good as a cover
FAULTS: dict[str, tuple[tuple[str, ...], Vary]] = {
    "frozen": (("frozen",), frozen),
    "frozen, coded anew": (("frozen",), frozen_coded),
    "black": (("black",), black),
    "covered by grey": (("covered",), grey),
    "covered by a hand": (("covered",), hand),
    "sprayed": (("covered",), sprayed),
    "blurred by 0.5 %": (("out_of_focus",), blurred(0.005)),
    "blurred by 1 %": (("out_of_focus",), blurred(0.01)),
    "blurred by 2 %": (HIDDEN, blurred(0.02)),
    "blurred by 4 %": (HIDDEN, blurred(0.04)),
    "moved by 2 %": (("moved",), moved(0.02)),
    "moved by 5 %": (("moved",), moved(0.05)),
    "moved by 10 %": (("moved",), moved(0.1)),
    "moved by 20 %": (("moved",), moved(0.2)),
    "moved down by 10 %": (("moved",), moved(0, 0.1)),
    "zoomed by 10 %": (("moved",), moved(0, 0, 1.1)),
    "zoomed by 30 %": (("moved",), moved(0, 0, 1.3)),
    "zoomed out by 20 %": (("moved",), moved(0, 0, 0.8)),
}


def find_scenes(options: argparse.Namespace) -> list[Scene]:
    scenes = [Scene(f"plaza {seed}", seed < 2, rendered(seed)) for seed in range(4)]
    if options.ped2:
        for part, chosen_on in (("Train", True), ("Test", False)):
            videos = sorted(options.ped2.glob(f"{part}*.mp4"))
            scenes.append(Scene(f"Ped2 {part}", chosen_on, np.concatenate([read(v) for v in videos])))
    if options.vioperu:
        scenes += vioperu(options.vioperu)
    return scenes


def rendered(seed: int) -> np.ndarray:
    rng, plan = np.random.default_rng(seed), RenderPlan()
    scene = build_scene(rng, plan)
    clips = [render_video(rng, None, scene).frames for _ in range(RENDERED_CLIPS)]
    return np.stack([small(frame) for clip in clips for frame in clip])


def vioperu(folder: Path) -> list[Scene]:
    """Normal clips of one town that look alike are one camera's; every other such scene judges."""
    with (folder / "clips.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] == "normal"]
    scenes: list[tuple[str, np.ndarray, list[np.ndarray]]] = []
    for row in rows:
        frames = read(folder / row["video"])
        usual = edges(np.median(frames[::10], axis=0))
        for place, other, clips in scenes:
            if place == row["place"] and np.corrcoef(usual, other)[0, 1] > ALIKE:
                clips.append(frames)
                break
        else:
            scenes.append((row["place"], usual, [frames]))
    long = [(place, np.concatenate(clips)) for place, _, clips in scenes if sum(map(len, clips)) >= SHORTEST]
    return [Scene(f"{place} {i}", i % 2 == 0, frames) for i, (place, frames) in enumerate(long)]


def each_video(options: argparse.Namespace) -> dict[str, list[Scene]]:
    """Every normal video at its own pace, by data set; to be shown again and again."""
    paths: dict[str, list[Path]] = {}
    if options.ped2:
        paths["Ped2"] = sorted(options.ped2.glob("Train*.mp4"))
    if options.vioperu:
        with (options.vioperu / "clips.csv").open(encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["label"] == "normal"]
        paths["VioPeru"] = [options.vioperu / row["video"] for row in rows]
    return {
        f"{name}: {len(listed)} videos": [Scene(path.stem, False, read(path, RATE)) for path in listed]
        for name, listed in paths.items()
    }


def edges(picture: np.ndarray) -> np.ndarray:
    values = picture.astype(np.float32)
    return np.hypot(cv2.Sobel(values, cv2.CV_32F, 1, 0), cv2.Sobel(values, cv2.CV_32F, 0, 1)).ravel()


def read(path: Path, rate: float | None = None) -> np.ndarray:
    """Frames of a video, so many a second; None: all."""
    capture, frames, number = cv2.VideoCapture(str(path)), [], 0
    step = max(1.0, capture.get(cv2.CAP_PROP_FPS) / rate) if rate else 1.0
    while capture.grab():
        if number >= step * len(frames):
            frames.append(small(capture.retrieve()[1]))
        number += 1
    return np.stack(frames)


def small(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.resize(image, WIDE, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)


if __name__ == "__main__":
    main()
