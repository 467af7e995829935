"""The place that all rendered videos of a seed share: a plaza before a building, under a fixed camera."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ssrl_pipeline.demo.figures import GREY, Outline, Part, Pinhole, Point, box, limb, outlines, tint


@dataclass(frozen=True)
class RenderPlan:
    """How many videos of either label each split gets, and the size of them all.

    Raises:
        ValueError: a number is unfit; the message holds it.
    """

    train: int = 9
    val: int = 3
    test: int = 6
    frames: int = 128
    fps: int = 16
    width: int = 420  # pixels
    height: int = 240

    def __post_init__(self) -> None:
        if min(self.train, self.val, self.test) < 0:
            raise ValueError(f"videos of a label must not be negative: {self}")
        if self.fps < 1 or self.frames < 7 * self.fps:
            raise ValueError(f"{self.frames} frames at {self.fps} fps: an anomaly needs 7 s to come and go")
        if self.width % 2 or self.height % 2 or self.height < 32 or not 1.2 <= self.width / self.height <= 2:
            raise ValueError(f"{self.width}x{self.height}: must be even, 32 or more, 1.2:1 to 2:1")


@dataclass(frozen=True)
class Scene:
    """What all videos of a seed share: the place and the camera."""

    plan: RenderPlan
    camera: Pinhole
    background: np.ndarray  # RGB, uint8 [2H, 2W, 3]
    furniture: list[tuple[float, list[Outline]]]  # distance z and outlines of each piece
    obstacles: np.ndarray  # [K, 3]: x, z and radius, metres
    wall: np.ndarray  # [2]: where the building is nearest, x and z
    sun: np.ndarray  # [2]: the shadow of the tip of a post one metre high
    pattern: np.ndarray  # the sensor's fixed noise, float32 [H, W, 1]


def build_scene(rng: np.random.Generator, plan: RenderPlan | None = None) -> Scene:
    """A paved plaza before a building, with a planter, a bench, a lamp and a tree."""
    plan = plan or RenderPlan()
    camera = Pinhole(2 * plan.width, 2 * plan.height)
    side, slant, distance = rng.choice([-1, 1]), rng.uniform(-0.2, 0.2), rng.uniform(18, 19.5)
    wall, sun = distance * np.array([math.sin(slant), math.cos(slant)]), np.array([side * 0.55, 0.3])
    pieces: list[tuple[float, float, float, list[Part]]] = []  # x, z, radius

    def leaves(count: int, spread: Point, x: float, y: float, z: float, size: float) -> list[Part]:
        spots = rng.uniform(-1, 1, (count, 3)) * spread + [x, y, z]
        shades = rng.uniform(0.55, 1, count) + 0.3 * (spots[:, 1] - y) / spread[1]
        return [
            Part([(a, b, c)], [size * rng.uniform(0.5, 1)], tint((74, 104, 52), shade))
            for (a, b, c), shade in zip(spots.tolist(), shades, strict=True)
        ]

    x, z = side * rng.uniform(1.5, 2.6), rng.uniform(12.2, 13)
    tub = box((x - 1.5, 0, z - 0.45), (x + 1.5, 0.5, z + 0.45), (176, 170, 160))
    pieces.append((x, z, 1.7, tub + leaves(45, (1.3, 0.2, 0.3), x, 0.65, z, 0.26)))
    x, z = side * rng.uniform(-1.5, 1), rng.uniform(15.6, 16)
    bench = box((x - 0.9, 0.4, z - 0.22), (x + 0.9, 0.46, z + 0.22), (128, 88, 54))
    bench += box((x - 0.9, 0.55, z + 0.22), (x + 0.9, 0.9, z + 0.28), (118, 80, 50))
    bench += [limb((x + leg, 0, z), (x + leg, 0.4, z), 0.05, 0.05, GREY) for leg in (-0.7, 0.7)]
    pieces.append((x, z, 1.2, bench))
    x, z = side * -rng.uniform(2.0, 3.2), rng.uniform(11, 11.6)
    lamp = [limb((x, 0, z), (x, 0.5, z), 0.1, 0.08, GREY), limb((x, 0.5, z), (x, 5, z), 0.06, 0.045, GREY)]
    pieces.append((x, z, 0.5, lamp))
    x, z = side * rng.uniform(5.2, 5.8), rng.uniform(13.6, 14.4)
    trunk = limb((x, 0, z), (x, 2.8, z), 0.17, 0.11, (88, 70, 54))
    pieces.append((x, z, 0.6, [trunk, *leaves(120, (1.3, 1.4, 1.1), x, 3.6, z, 0.42)]))
    shadows = [outline for *_, parts in pieces for outline in outlines(camera, parts, sun)]
    return Scene(
        plan=plan,
        camera=camera,
        background=shaded(_backdrop(rng, camera, wall, side), shadows),
        furniture=[(z, outlines(camera, parts)) for _, z, _, parts in pieces],
        obstacles=np.array([(x, z, radius) for x, z, radius, _ in pieces]),
        wall=wall,
        sun=sun,
        pattern=rng.normal(0, 0.8, (plan.height, plan.width, 1)).astype(np.float32),
    )


def blur_noise(rng: np.random.Generator, size: int, octaves: Sequence[int]) -> np.ndarray:
    """Noise of these numbers of blots, float32 [size, size], with zero mean and unit deviation."""
    total = np.zeros((size, size), np.float32)
    for blots in octaves:
        grid = rng.standard_normal((blots, blots), dtype=np.float32) / math.sqrt(blots)
        total += cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
    total -= total.mean()
    total /= total.std()
    return total


def _backdrop(rng: np.random.Generator, camera: Pinhole, wall: np.ndarray, side: int) -> np.ndarray:
    """Paving, a brick path, grass and the building as the camera sees them: RGB, uint8 [2H, 2W, 3]."""
    rays, distance = camera.rays(), float(np.hypot(*wall))
    normal = wall / distance
    to_wall = distance / (rays[..., [0, 2]] @ normal)
    to_ground = camera.altitude / np.maximum(-rays[..., 1], 1e-3)
    hit = rays * np.minimum(to_ground, to_wall)[..., None]
    u, v = hit[..., [0, 2]] @ [normal[1], -normal[0]], hit[..., [0, 2]] @ normal  # along and towards the wall
    y = hit[..., 1] + camera.altitude
    pixel = np.hypot(u, np.hypot(v, camera.altitude - y)) / camera.focal  # its width in metres, there
    stretch = np.hypot(v, camera.altitude) / camera.altitude  # its height over its width, on the ground

    def gaps(a: np.ndarray, period: float, width: float, extent: np.ndarray) -> np.ndarray:
        """The share of every pixel that gaps between stones take."""
        off = np.abs((a / period + 0.5) % 1 - 0.5) * period
        covered = (width + extent - 2 * off) / (2 * extent)
        return np.asarray(np.clip(covered, 0, np.minimum(1, width / extent)))

    def stones(a: np.ndarray, b: np.ndarray, long: float, wide: float, gap: float) -> np.ndarray:
        row, column = np.floor(a / long).astype(int) % 64, np.floor(b / wide).astype(int) % 64
        between = np.maximum(gaps(a, long, gap, pixel), gaps(b, wide, gap, pixel * stretch))
        tone: np.ndarray = rng.normal(1, 0.045, (64, 64, 1))[row, column] * (1 - 0.32 * between[..., None])
        return tone

    def noise(octaves: Sequence[int], metres: float, a: np.ndarray = u, b: np.ndarray = v) -> np.ndarray:
        xs, ys = ((256 + c * 512 / metres).astype(np.float32) for c in (a, b))
        texture = blur_noise(rng, 512, octaves)
        return cv2.remap(texture, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)[..., None]

    image = np.array((172, 164, 152)) * rng.uniform(0.9, 1.05) * stones(u, v, 0.9, 0.9, 0.03)
    path = np.abs(v - rng.uniform(10.6, 11.4))[..., None] < 0.7
    image = np.where(path, np.array((150, 118, 102)) * stones(u, v, 0.3, 0.15, 0.02), image)
    grass = np.array((92, 116, 66)) * (1 + 0.18 * noise((128, 256), 7))
    image = np.where((v > distance - 1.3)[..., None], grass, image)
    image *= 1 + 0.035 * noise((4, 16, 64), 25)
    crown = np.exp(-((((u + side * 4) / 2.6) ** 2 + ((v - 8.2) / 1.5) ** 2) ** 2))  # of a tree out of view
    image *= 1 - 0.42 * crown[..., None] * np.clip(0.4 + 1.5 * noise((16, 32, 64), 17), 0, 1)
    image *= 1 - 0.3 * np.exp((v - distance) / 0.5)[..., None]

    front = np.array((176, 150, 128)) * rng.uniform(0.85, 1.1)
    front = front * (1 - 0.16 * gaps(y, 0.3, 0.03, pixel))[..., None] * (1 + 0.05 * noise((8, 64), 20, u, y))
    spacing = rng.uniform(2.4, 3.2)
    across, up = np.abs(u % spacing - spacing / 2)[..., None], ((y - 0.8) % 2.6)[..., None]
    glass = np.array((70, 84, 98)) * (0.75 + 0.25 * up) * (1 + 0.12 * noise((8, 16), 10, u, y))
    front = np.where((across < 0.71) & (up < 1.78), (206, 202, 194), front)
    front = np.where((across < 0.62) & (across > 0.03) & (up > 0.09) & (up < 1.69), glass, front)
    front = np.where((y < 0.45)[..., None], (112, 108, 104), front)
    image = np.where((to_wall < to_ground)[..., None], front, image)
    image += rng.normal(0, 2.5, (*image.shape[:2], 1))
    return np.clip(image, 0, 255).astype(np.uint8)


def shaded(image: np.ndarray, shadows: Sequence[Outline]) -> np.ndarray:
    """A copy of the image with soft shadows in it."""
    height, width = image.shape[:2]
    light = np.full((height // 2, width // 2), 255, np.uint8)
    for polygon, _ in shadows:
        cv2.fillConvexPoly(light, polygon, 130, cv2.LINE_AA, 5)  # one bit more of shift: half the size
    light = cv2.resize(cv2.GaussianBlur(light, (0, 0), height / 400), (width, height))
    return cv2.multiply(image, cv2.cvtColor(light, cv2.COLOR_GRAY2RGB), scale=1 / 255)
