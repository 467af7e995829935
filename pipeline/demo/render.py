"""A made-up surveillance data set with exact ground truth: people on a plaza under one fixed camera.

Normal videos show pedestrians; in an abnormal one a cart, a runner or a cyclist
passes among them. All else (crowd, clothes, light, noise, compression) is drawn
in the same way for both labels::

    render_dataset(Path("videos"), seed=0)
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from ssrl_pipeline.demo.figures import (
    RUN,
    STAND,
    WALK,
    Outline,
    Part,
    cart,
    cyclist,
    outlines,
    person,
    random_colour,
    random_look,
)
from ssrl_pipeline.demo.scene import RenderPlan, Scene, blur_noise, build_scene, shaded
from ssrl_pipeline.disk import clear_leftovers, write_text
from ssrl_pipeline.results import VideoWriter

__all__ = [
    "ANOMALIES",
    "VISIBLE",
    "Clip",
    "RenderPlan",
    "Scene",
    "build_scene",
    "render_dataset",
    "render_video",
]

ANOMALIES = ("cart", "runner", "cyclist")
SPEEDS = {"cart": (2.0, 2.8), "runner": (3.6, 4.4), "cyclist": (3.4, 4.4), "walker": (0.9, 1.4)}  # m/s
VISIBLE = 0.3  # the share of an anomalous object that must be in view for its frame to count


class Clip(NamedTuple):
    frames: np.ndarray  # RGB, uint8 [N, H, W, 3]
    intervals: list[tuple[int, int]]  # of anomalous frames, 0-based, end exclusive


class Actor(NamedTuple):
    """Somebody on the move, seen in N frames."""

    track: np.ndarray  # [N, 2]: x and z, metres
    heading: np.ndarray  # [N, 2], unit vectors
    travelled: np.ndarray  # [N], metres
    radius: float  # of the ground that nobody else may enter, metres
    body: Callable[[float], list[Part]]  # after so many metres; faces +x

    def figure(self, frame: int) -> list[Part]:
        (x, z), (cos, sin) = self.track[frame].tolist(), self.heading[frame].tolist()
        return [
            Part([(x + a * cos - c * sin, b, z + a * sin + c * cos) for a, b, c in spheres], radii, colour)
            for spheres, radii, colour in self.body(float(self.travelled[frame]))
        ]


def _intruder(rng: np.random.Generator, kind: str, scene: Scene) -> Actor:
    """The anomaly: it crosses the near part of the plaza, and comes back where the time allows."""
    plan, speed = scene.plan, rng.uniform(*SPEEDS[kind])
    z = rng.uniform(5.6, 6.8) + (kind == "cart")
    slope, direction = rng.uniform(-0.1, 0.1), rng.choice([-1, 1])
    crossing = 2 * scene.camera.half_view(z) / speed * plan.fps  # frames
    passes = 2 if 2 * crossing < 0.62 * plan.frames else 1
    spare = 0.8 * plan.frames - passes * crossing
    gap = rng.uniform(0, 0.1) * spare  # it turns just out of sight
    lead = 0.1 * plan.frames + rng.random() * (spare - (passes - 1) * gap)
    frame, middles = np.arange(plan.frames), lead + crossing / 2 + (crossing + gap) * np.arange(passes)
    turn = np.abs(frame[:, None] - middles).argmin(axis=1)  # which pass a frame belongs to
    way = direction * (1 - 2 * turn)
    x = way * (frame - middles[turn]) / plan.fps * speed
    look, colour = random_look(rng), random_colour(rng, (150, 220), (170, 230))
    body, radius = {
        "cart": (partial(cart, look, colour), 1.6),
        "runner": (partial(person, look, RUN), 0.6),
        "cyclist": (partial(cyclist, look, colour), 0.9),
    }[kind]
    heading = way[:, None] * np.array([1, slope]) / math.hypot(1, slope)
    track = np.stack([x, z + slope * x + 0.7 * turn], axis=1)
    return Actor(track, heading, frame / plan.fps * speed, radius, body)


def _pedestrian(rng: np.random.Generator, scene: Scene) -> Actor:
    """Someone who comes by a random spot at a random moment, or stands there."""
    z = rng.uniform(9, scene.wall[1] - 1.5)  # people keep to the far half, anomalies to the near one
    spot = np.array([rng.uniform(-1, 1) * scene.camera.half_view(z), z])
    along = -math.atan2(*scene.wall) + math.pi * rng.integers(2)
    course = along + rng.normal(0, 0.1)
    heading = np.array([math.cos(course), math.sin(course)])
    seconds = np.arange(scene.plan.frames) / scene.plan.fps
    way = rng.uniform(*SPEEDS["walker"]) * (seconds - rng.uniform(0, seconds[-1]))
    travelled, gait = way + rng.random(), WALK
    if rng.random() < 0.12:
        way, travelled, gait = way * 0, 0.3 * np.sin(1.3 * seconds), STAND
    headings = np.tile(heading, (len(way), 1))
    body = partial(person, random_look(rng), gait)
    return Actor(spot + way[:, None] * heading, headings, travelled, 0.35, body)


def _free(actor: Actor, others: Sequence[Actor], scene: Scene) -> bool:
    """Whether the actor never bumps into the building, the furniture or the others."""
    distance = np.hypot(*scene.wall)
    if (actor.track @ scene.wall).max() / distance > distance - 1.2:
        return False
    taken = [(np.array([x, z]), radius) for x, z, radius in scene.obstacles]
    taken += [(other.track, other.radius + actor.radius) for other in others]
    return all(np.hypot(*(actor.track - place).T).min() > radius for place, radius in taken)


def _daylight(rng: np.random.Generator, plan: RenderPlan) -> Callable[[int], np.ndarray]:
    """The brightness [H, W, 1] of a frame: a slow drift, and the shade of a cloud that passes."""
    sky, depth = blur_noise(rng, 256, (4,)), rng.uniform(0, 0.25)
    start, wind = rng.uniform(80, 176, 2), rng.uniform(-50, 50, 2) / plan.frames
    level, drift = rng.uniform(0.9, 1.06), rng.uniform(0, 0.05)
    phase, pace = rng.uniform(0, 2 * math.pi), rng.uniform(3, 9) / plan.frames

    def at(frame: int) -> np.ndarray:
        patch = cv2.getRectSubPix(sky, (56, 32), (start + wind * frame).tolist())
        shade = cv2.resize(np.clip(0.5 + 0.5 * patch, 0, 1), (plan.width, plan.height))
        gain = np.float32(level + drift * math.sin(phase + pace * frame))
        light: np.ndarray = gain * (1 - depth * shade[..., None])
        return light

    return at


def _share_in_view(target: Sequence[Outline], nearer: Sequence[Outline], plan: RenderPlan) -> float:
    """The share of the target's pixels that are inside the frame and that nothing nearer covers."""
    w, h = plan.width, plan.height
    mask = np.zeros((3 * h, 3 * w), np.uint8)  # the frame is the middle of it
    middle = np.array([w, h], np.int32) << 5
    for polygon, _ in target:
        cv2.fillConvexPoly(mask, polygon + middle, 1, cv2.LINE_8, 5)
    whole = cv2.countNonZero(mask)
    for polygon, _ in nearer:
        cv2.fillConvexPoly(mask, polygon + middle, 0, cv2.LINE_8, 5)
    return cv2.countNonZero(mask[h : 2 * h, w : 2 * w]) / max(whole, 1)


def render_video(rng: np.random.Generator, anomaly: str | None, scene: Scene) -> Clip:
    """Renders a video of the scene, of the size and length of the scene's plan.

    A frame is anomalous when, of all pixels that the cart, runner or cyclist
    would take up in the open, the share VISIBLE is inside the frame and covered
    by nothing.

    Args:
        anomaly: one of ANOMALIES, or None for a normal video.

    Raises:
        ValueError: there is no such anomaly.
    """
    if anomaly not in (None, *ANOMALIES):
        raise ValueError(f"anomaly {anomaly!r}: not one of {', '.join(ANOMALIES)}")
    plan, camera = scene.plan, scene.camera
    absent = ANOMALIES[rng.integers(len(ANOMALIES))]  # a normal crowd leaves room for one as well
    actors = [_intruder(rng, anomaly or absent, scene)]
    for _ in range(rng.integers(4, 8)):
        tries = (_pedestrian(rng, scene) for _ in range(40))
        actor = next((one for one in tries if _free(one, actors, scene)), None)
        actors += [actor] if actor else []
    actors = actors if anomaly else actors[1:]
    light = _daylight(rng, plan)
    grain = rng.standard_normal((plan.height + 64, plan.width + 64, 3), dtype=np.float32)
    grain *= rng.uniform(2, 4.5)  # grey levels
    frames = np.empty((plan.frames, plan.height, plan.width, 3), np.uint8)
    anomalous = np.zeros(plan.frames, bool)
    for i in range(plan.frames):
        figures = [  # of those out of sight, neither body nor shadow reaches 3 m into view
            actor.figure(i) if abs(actor.track[i, 0]) < camera.half_view(actor.track[i, 1]) + 3 else []
            for actor in actors
        ]
        layers = [(float(a.track[i, 1]), outlines(camera, f)) for a, f in zip(actors, figures, strict=True)]
        if anomaly:
            distance, target = layers[0]
            nearer = [o for z, layer in (*scene.furniture, *layers) if z < distance for o in layer]
            anomalous[i] = _share_in_view(target, nearer, plan) >= VISIBLE
        canvas = shaded(scene.background, [o for f in figures for o in outlines(camera, f, scene.sun)])
        for _, layer in sorted((*scene.furniture, *layers), key=lambda item: -item[0]):
            for polygon, colour in layer:
                cv2.fillConvexPoly(canvas, polygon, colour, cv2.LINE_AA, 4)
        image = cv2.resize(canvas, (plan.width, plan.height), interpolation=cv2.INTER_AREA)
        y, x = rng.integers(64, size=2)  # cutting from one sheet is much faster than drawing anew
        noise = scene.pattern + grain[y : y + plan.height, x : x + plan.width]
        frames[i] = np.clip(image * light(i) + noise + 0.5, 0, 255)
    edges = np.flatnonzero(np.diff(np.pad(anomalous, 1)))
    return Clip(frames, [(int(start), int(end)) for start, end in edges.reshape(-1, 2)])


def render_dataset(
    folder: Path,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    plan: RenderPlan | None = None,
) -> None:
    """Renders the videos of a plan into a flat folder, with their labels and ground truth.

    Writes ``{train,val,test}_{normal,abnormal}_NN.mp4``; ``labels.csv`` with the
    columns video, label (normal or abnormal) and split; and ``intervals.csv``
    with video, start and end, one row for each anomalous interval (frames,
    0-based, end exclusive). Videos are named relative to the folder. A seed and
    a plan always give the same content. What has these names is overwritten.

    Args:
        progress: called with the numbers of videos done and of all videos.

    Raises:
        PipelineError: videos cannot be written; see :class:`VideoWriter`.
    """
    plan = plan or RenderPlan()
    splits = (("train", plan.train), ("val", plan.val), ("test", plan.test))
    jobs = [(s, label, k) for s, count in splits for label in ("normal", "abnormal") for k in range(count)]
    labels, intervals = ["video,label,split"], ["video,start,end"]
    for table in ("labels.csv", "intervals.csv"):
        (folder / table).unlink(missing_ok=True)  # an interrupted run must not leave them with other videos
    clear_leftovers(folder)
    scene_rng, *rngs = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(len(jobs) + 1))
    scene = build_scene(scene_rng, plan)
    for done, ((split, label, k), rng) in enumerate(zip(jobs, rngs, strict=True), start=1):
        name = f"{split}_{label}_{k:02d}.mp4"
        clip = render_video(rng, ANOMALIES[k % len(ANOMALIES)] if label == "abnormal" else None, scene)
        with VideoWriter(folder / name, plan.width, plan.height, plan.fps) as writer:
            for frame in clip.frames:
                writer.write(frame)
        labels.append(f"{name},{label},{split}")
        intervals += [f"{name},{start},{end}" for start, end in clip.intervals]
        if progress:
            progress(done, len(jobs))
    write_text(folder / "intervals.csv", "\n".join(intervals) + "\n")
    write_text(folder / "labels.csv", "\n".join(labels) + "\n")
