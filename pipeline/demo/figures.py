"""People, a bicycle and a cart as moving figures, and the camera that sees them.

World coordinates are metres: x to the right, y up, z away from the camera. A
figure is a list of parts, and every part is the convex hull of some spheres:
two make a limb, spheres without size make a flat face.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np

Point = tuple[float, float, float]
Colour = tuple[int, int, int]  # RGB
Outline = tuple[np.ndarray, Colour]  # a convex polygon, int32 [K, 1, 2], in sixteenths of a canvas pixel
BLACK, GREY, SILVER = (32, 30, 30), (66, 68, 72), (200, 200, 196)


class Part(NamedTuple):
    spheres: Sequence[Point]
    radii: Sequence[float]
    colour: Colour


@dataclass(frozen=True)
class Pinhole:
    """A pinhole 5 m above the origin, tilted down; its canvas has twice the video's size."""

    width: int  # canvas pixels
    height: int
    altitude: float = 5.0
    tilt: float = math.radians(21)

    @property
    def focal(self) -> float:
        return 1.5 * self.height

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Metres [..., 3] to canvas pixels [..., 2] and depths [...] in metres."""
        x, down, z = points[..., 0], self.altitude - points[..., 1], points[..., 2]
        depth = z * math.cos(self.tilt) + down * math.sin(self.tilt)
        zoom = self.focal / np.maximum(depth, 0.5)
        row = zoom * (down * math.cos(self.tilt) - z * math.sin(self.tilt))
        return np.stack([self.width / 2 + zoom * x, self.height / 2 + row], axis=-1), depth

    def rays(self) -> np.ndarray:
        """Directions [canvas H, canvas W, 3] of all pixels."""
        column, row = np.meshgrid(np.arange(self.width) + 0.5, np.arange(self.height) + 0.5)
        right, down = (column - self.width / 2) / self.focal, (row - self.height / 2) / self.focal
        cos, sin = math.cos(self.tilt), math.sin(self.tilt)
        return np.stack([right, -down * cos - sin, cos - down * sin], axis=-1)

    def half_view(self, z: float) -> float:
        """How far to the left and right one sees the ground at a distance, in metres."""
        return (z * math.cos(self.tilt) + self.altitude * math.sin(self.tilt)) * self.width / 2 / self.focal


CIRCLE = np.array([(math.cos(k * math.pi / 6), math.sin(k * math.pi / 6)) for k in range(12)])


def outlines(camera: Pinhole, figure: Sequence[Part], sun: np.ndarray | None = None) -> list[Outline]:
    """The parts of a figure as polygons, the farthest first; with `sun`, of its shadow on the ground."""
    if not figure:
        return []
    points = np.array([point for part in figure for point in part.spheres])
    radii = np.array([radius for part in figure for radius in part.radii])
    if sun is not None:
        points = points + points[:, 1:2] * [sun[0], -1, sun[1]]
    pixels, depths = camera.project(points)
    if depths.min() < 1:
        return []
    discs = pixels[:, None] + CIRCLE * (radii * camera.focal / depths)[:, None, None]
    discs = np.rint(discs * 16).astype(np.int32)  # [spheres, 12, 2]
    ends = np.cumsum([0, *(len(part.spheres) for part in figure)])
    hulls = [cv2.convexHull(discs[i:j].reshape(-1, 1, 2)) for i, j in pairwise(ends)]
    order = np.argsort(-np.add.reduceat(depths, ends[:-1]) / np.diff(ends), kind="stable")
    return [(hulls[k], figure[k].colour) for k in order]


def tint(colour: Sequence[float], factor: float) -> Colour:
    r, g, b = (min(255, round(c * factor)) for c in colour)
    return r, g, b


def random_colour(rng: np.random.Generator, saturation: tuple[int, int], value: tuple[int, int]) -> Colour:
    """A colour of any hue, its HSV saturation and value from these ranges (0 to 255)."""
    hsv = np.array([[[rng.integers(180), rng.integers(*saturation), rng.integers(*value)]]], np.uint8)
    return tint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0].tolist(), 1)


def limb(a: Point, b: Point, thick: float, thin: float, colour: Colour) -> Part:
    return Part((a, b), (thick, thin), colour)


def _face(corners: Sequence[Point], colour: Colour) -> Part:
    return Part(corners, (0.0,) * len(corners), colour)


def box(low: Point, high: Point, colour: Colour) -> list[Part]:
    (x, y, z), (x1, y1, z1) = low, high
    lid = _face([(x, y1, z), (x1, y1, z), (x1, y1, z1), (x, y1, z1)], tint(colour, 1.1))
    long = [_face([(x, y, c), (x1, y, c), (x1, y1, c), (x, y1, c)], tint(colour, 0.9)) for c in (z, z1)]
    ends = [_face([(a, y, z), (a, y, z1), (a, y1, z1), (a, y1, z)], tint(colour, 0.7)) for a in (x, x1)]
    return [lid, *long, *ends]


class Look(NamedTuple):
    height: float  # metres
    skin: Colour
    hair: Colour
    top: Colour
    trousers: Colour
    coat: bool
    bag: bool


def random_look(rng: np.random.Generator) -> Look:
    return Look(
        height=rng.uniform(1.62, 1.9),
        skin=tint((224, 178, 148), rng.uniform(0.5, 1)),
        hair=tint((120, 88, 60), rng.uniform(0.2, 1.2)),
        top=random_colour(rng, (20, 180), (60, 235)),
        trousers=random_colour(rng, (20, 150), (35, 120)),
        coat=rng.random() < 0.25,
        bag=rng.random() < 0.35,
    )


def _bend(a: Point, b: Point, bone: float, way: int) -> tuple[Point, Point]:
    """Middle joint and end of two equal bones from `a` as far as they reach to `b`."""
    dx, dy, dz = (q - p for p, q in zip(a, b, strict=True))
    gap = math.hypot(dx, dy, dz)
    reach = min(1.0, 2 * bone / gap)
    off = way * math.sqrt(max(0.0, (bone / gap) ** 2 - reach**2 / 4))
    joint = a[0] + dx * reach / 2 - dy * off, a[1] + dy * reach / 2 + dx * off, a[2] + dz * reach / 2
    return joint, (a[0] + dx * reach, a[1] + dy * reach, a[2] + dz * reach)


def _body(look: Look, hip: Point, neck: Point, feet: Sequence[Point], hands: Sequence[Point]) -> list[Part]:
    """A human being that faces +x, its limbs as far as they reach; left and right at -z and +z."""
    h, (x, y, _), (nx, ny, _) = look.height, hip, neck
    lean, hem = (nx - x) / (ny - y), y - (0.13 * h if look.coat else 0)
    shoulders = [(nx, ny - 0.05 * h, side * 0.085 * h) for side in (-1, 1)]
    hem_line = [(x, hem, side * 0.035 * h) for side in (-1, 1)]
    face = (nx + lean * 0.08 * h, ny + 0.075 * h, 0.0)
    parts = [
        Part(shoulders + hem_line, [0.042 * h] * 2 + [0.07 * h] * 2, look.top),
        limb(neck, face, 0.032 * h, 0.03 * h, tint(look.skin, 0.85)),
        Part([face], [0.058 * h], look.skin),
        Part([(face[0] - 0.018 * h, face[1] + 0.02 * h, 0)], [0.058 * h], look.hair),
    ]
    if look.bag:
        bottom, top = (x - 0.1 * h, y + 0.1 * h, 0.0), (nx - 0.1 * h, ny - 0.08 * h, 0.0)
        parts.append(limb(bottom, top, 0.065 * h, 0.055 * h, tint(look.trousers, 1.4)))
    for side, foot, hand in zip((-1, 1), feet, hands, strict=True):
        knee, heel = _bend((x, y, side * 0.05 * h), foot, 0.245 * h, 1)
        slant = (knee[0] - heel[0]) / h  # a shin that leans back lifts the heel
        toe = (heel[0] + 0.1 * h, heel[1] - (0.01 + 0.3 * max(0.0, slant)) * h, heel[2])
        elbow, wrist = _bend((nx, ny - 0.04 * h, side * 0.115 * h), hand, 0.16 * h, -1)
        parts += [
            limb((x, y, side * 0.05 * h), knee, 0.056 * h, 0.04 * h, look.trousers),
            limb(knee, heel, 0.038 * h, 0.026 * h, tint(look.trousers, 0.85)),
            limb(heel, toe, 0.026 * h, 0.018 * h, BLACK),
            limb((nx, ny - 0.04 * h, side * 0.115 * h), elbow, 0.036 * h, 0.028 * h, tint(look.top, 0.85)),
            limb(elbow, wrist, 0.027 * h, 0.02 * h, tint(look.top, 0.78)),
            Part([wrist], [0.025 * h], look.skin),
        ]
    return parts


class Gait(NamedTuple):
    """A way to go; lengths relative to the body's height."""

    cycle: float  # way of two steps
    step: float  # how far a foot swings to either side
    lift: float  # of the foot that swings forward
    arm: float  # how far a hand swings
    raised: float  # how much of that it rises in front
    hand: tuple[float, float]  # its middle, ahead of and below the shoulder
    hip: float
    lean: float


WALK = Gait(0.8, 0.2, 0.06, 0.12, 0, (0.04, 0.3), 0.51, 0.01)
STAND = Gait(0.8, 0.01, 0, 0.01, 0, (0.03, 0.31), 0.525, 0)
RUN = Gait(1.5, 0.34, 0.24, 0.17, 1, (0.1, 0.16), 0.49, 0.09)


def person(look: Look, gait: Gait, travelled: float) -> list[Part]:
    h, turn = look.height, 2 * math.pi * travelled / (gait.cycle * look.height)
    hip = (gait.hip + 0.008 * math.cos(2 * turn)) * h
    neck = (gait.lean * h, hip + 0.31 * h, 0.0)
    feet, hands = [], []
    for side in (-1, 1):
        swing, forward = side * math.sin(turn), max(0.0, side * math.cos(turn))
        feet.append((gait.step * h * swing, (0.04 + gait.lift * forward) * h, side * 0.05 * h))
        ahead, below = gait.hand[0] - gait.arm * swing, gait.hand[1] + gait.arm * gait.raised * swing
        hands.append((neck[0] + ahead * h, neck[1] - (0.04 + below) * h, side * 0.13 * h))
    return _body(look, (0, hip, 0), neck, feet, hands)


def cyclist(look: Look, paint: Colour, travelled: float) -> list[Part]:
    parts = []
    for x in (-0.52, 0.55):
        angles = [k * math.pi / 6 - travelled / 0.35 for k in range(12)]
        rim = [(x + 0.35 * math.cos(a), 0.35 + 0.35 * math.sin(a), 0.0) for a in angles]
        parts += [limb(rim[k - 1], rim[k], 0.024, 0.024, BLACK) for k in range(12)]
        parts += [limb(rim[k], rim[k + 6], 0.008, 0.008, SILVER) for k in (0, 2, 4)]
    rear, crank, seat = (-0.52, 0.35, 0.0), (-0.06, 0.3, 0.0), (-0.22, 0.92, 0.0)
    head, front, left, right = (0.4, 0.9, 0.0), (0.55, 0.35, 0.0), (0.46, 1.08, -0.22), (0.46, 1.08, 0.22)
    tubes = [(rear, crank), (rear, seat), (crank, seat), (seat, head), (crank, head), (head, front)]
    parts += [limb(a, b, 0.026, 0.026, paint) for a, b in tubes] + [limb(left, right, 0.02, 0.02, BLACK)]
    pedals = []
    for side in (-1, 1):
        angle = -travelled * 1.6 + side * math.pi / 2
        pedals.append((-0.06 + 0.17 * math.cos(angle), 0.35 + 0.17 * math.sin(angle), side * 0.1))
    return parts + _body(look, (-0.2, 1.02, 0), (0.16, 1.5, 0), pedals, [left, right])


def cart(look: Look, paint: Colour, travelled: float) -> list[Part]:
    """An electric cart of 2.6 m with a roof on posts, and its driver."""
    parts = box((0.62, 0.48, -0.56), (1.28, 0.86, 0.56), paint)
    parts += box((-1.28, 0.48, -0.58), (-0.45, 1.0, 0.58), paint)
    parts += box((-0.45, 0.48, -0.5), (0.05, 0.68, 0.5), GREY)
    parts += box((-0.75, 1.88, -0.6), (0.9, 1.96, 0.6), (225, 225, 220))
    for x in (-0.65, 0.65):  # in two halves, so that the wheels sort well among their sides
        parts += box((x - 0.65, 0.25, -0.6), (x + 0.65, 0.48, 0.6), tint(paint, 0.8))
    for z in (-1, 1):
        parts.append(limb((0.85, 0.86, 0.55 * z), (0.7, 1.88, 0.55 * z), 0.03, 0.03, GREY))
        parts.append(limb((-0.6, 1.0, 0.55 * z), (-0.6, 1.88, 0.55 * z), 0.03, 0.03, GREY))
        for x in (-0.85, 0.85):
            for radius, corners, side in ((0.28, 12, 0.67), (0.15, 4, 0.69)):  # tyre, spinning cap
                angles = [2 * math.pi * k / corners - travelled / 0.28 for k in range(corners)]
                ring = [(x + radius * math.cos(a), 0.28 + radius * math.sin(a), side * z) for a in angles]
                parts.append(_face(ring, BLACK if corners == 12 else SILVER))
    hands, feet = [(0.42, 1.12, -0.15), (0.42, 1.12, 0.15)], [(0.5, 0.5, -0.1), (0.5, 0.5, 0.1)]
    return parts + _body(look, (-0.2, 0.8, 0), (-0.22, 1.36, 0), feet, hands)
