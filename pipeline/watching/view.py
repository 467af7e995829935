"""What a camera sees against what it used to see, without a model: edges by their direction.

Where an edge is and how it runs does not change with the light, with a lamp or with a camera's change
to infrared, while how bright it is does. So the picture is compared by the directions of its gradients,
doubled, which makes a line of light on dark the same as one of dark on light. Over some seconds noise and
passers-by average out, and over minutes the reference is learnt.

Dimensions: pictures are grey, H x W = 90 x 160; cells are 10 x 10 pixels of it, 9 x 16.
"""

from typing import NamedTuple

import cv2
import numpy as np

SIZE = (160, 90)  # width, height
CELL = 10
SOON, SLOW = 2.0, 600.0  # seconds over which the present and the reference are averaged
LEARNING = 20.0  # seconds, and pictures, until the reference can be compared with
LEAST = 40
SOFT = 4.0  # grey levels: gradients well above count as one edge each
FAINT = 0.3  # grey levels: what is below has no direction
EDGE = 0.25  # strength in the reference, of at most 1, from which a pixel is an edge of it
STRUCTURED = 4.0  # pixels' worth of edges that a cell has at least, to be compared
FEWEST = 10  # such cells that a scene has at least
LOST = 0.3  # a cell's agreement with the reference, of at most 1, below which it shows something else
FLAT = 0.35  # of its usual edges' height
DIM = 25.0  # grey levels: a cell that is darker shows nothing, whatever is there
PLAIN = 1.0  # levels a pixel: a picture with fewer edges shows nothing
STILL = 0.6  # of a cell's edges: the share that keeps its direction, where what is seen stands still
KEPT = 0.2, 0.5, 0.75  # changed, flat and sharp, up to which a view is still the usual one


class Seen(NamedTuple):
    """What one picture is like; None where that cannot be said (yet)."""

    mean: float  # grey levels
    bright: float  # the level that one pixel in a hundred is above
    edges: float  # the gradient, in levels a pixel, that one pixel in ten is above
    change: float  # the greatest difference of a pixel from the picture before, levels; inf: none before
    changes: float  # the mean difference
    changed: float | None = None  # the share of structured cells that show something else, which stands still
    flat: float | None = None  # the share that show nothing much any more
    sharp: float | None = None  # fine detail against coarse, as a share of what is usual

    @property
    def usual(self) -> bool:
        """Whether it may be learnt from: never in the dark, where noise would be learnt."""
        if self.mean < DIM or self.edges < PLAIN:
            return False
        if self.changed is None or self.flat is None or self.sharp is None:
            return True
        return self.changed < KEPT[0] and self.flat < KEPT[1] and self.sharp > KEPT[2]


def reduced(image: np.ndarray) -> np.ndarray:
    """A frame, RGB uint8 [H, W, 3] -> grey uint8 [90, 160]."""
    step = max(1, image.shape[1] // (4 * SIZE[0]))  # of a large frame some pixels are enough
    small = cv2.resize(image[::step, ::step], SIZE, interpolation=cv2.INTER_AREA)
    grey: np.ndarray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    return grey


class View:
    """What a camera sees and used to see."""

    def __init__(self) -> None:
        self._at: float | None = None
        self._last: np.ndarray = np.empty(0)
        self.forget()

    def forget(self) -> None:
        """What it sees from now on is what is usual."""
        self._learnt, self._pictures = 0.0, 0  # seconds and pictures that the reference is of
        self._reference = self._height = np.zeros(())
        self._sharp = 0.0
        self.interrupt()

    def interrupt(self) -> None:
        """The next picture does not follow the last."""
        self._at = None

    def see(self, picture: np.ndarray, now: float) -> Seen:
        """A grey picture, uint8 [90, 160], at a time in seconds."""
        grey = picture.astype(np.float32)
        edges = _edges(grey)
        present = np.array([grey, np.abs(edges)])
        if self._at is None:
            seconds, change, changes, self._now, self._present = np.inf, np.inf, np.inf, edges, present
        else:
            difference = np.abs(grey - self._last)
            seconds, change, changes = max(now - self._at, 1e-3), float(difference.max()), difference.mean()
            share = np.float32(1 - np.exp(-seconds / SOON))
            self._now = self._now + share * (edges - self._now)
            self._present = self._present + share * (present - self._present)
        self._at, self._last = now, grey
        height = np.abs(self._now)
        strong = float(np.percentile(height, 90))
        seen = Seen(float(grey.mean()), float(np.percentile(grey, 99)), strong, change, float(changes))
        sharp = _sharpness(self._present[0], height)
        if self._learnt >= LEARNING and self._pictures >= LEAST:
            seen = self._compared(seen, height, sharp)
        if seen.usual:
            self._learn(edges, height, sharp, min(seconds, 1.0))
        return seen

    def _compared(self, seen: Seen, height: np.ndarray, sharp: float) -> Seen:
        strength = np.abs(self._reference)
        is_edge = strength > EDGE
        weight = np.where(is_edge, strength, 0)
        structure = _cells(weight)
        grey, size = self._present
        known = (structure >= STRUCTURED) & (_cells(grey) >= DIM * CELL**2)
        if known.sum() < FEWEST:
            return seen
        agreement = _cells(weight * _alike(self._now, self._reference))[known] / structure[known]
        lost = agreement < LOST
        flat = (
            lost
            & (_cells(np.where(is_edge, height, 0)) < FLAT * _cells(np.where(is_edge, self._height, 0)))[
                known
            ]
        )
        still = (_cells(height) >= STILL * _cells(size))[known]
        changed = lost & ~flat & still
        return seen._replace(
            changed=float(changed.mean()), flat=float(flat.mean()), sharp=sharp / self._sharp
        )

    def _learn(self, edges: np.ndarray, height: np.ndarray, sharp: float, seconds: float) -> None:
        self._learnt += seconds
        self._pictures += 1
        share = np.float32(max(1 / self._pictures, 1 - np.exp(-seconds / SLOW)))
        clear = edges / (np.abs(edges) + SOFT)
        self._reference = self._reference + share * (clear - self._reference)
        self._height = self._height + share * (height - self._height)
        self._sharp = self._sharp + float(share) * (sharp - self._sharp)


def _edges(grey: np.ndarray) -> np.ndarray:
    """Gradients of doubled direction, complex64 [90, 160]; their size is in levels a pixel."""
    gradient = cv2.Scharr(grey, cv2.CV_32F, 1, 0) / 32 + 1j * cv2.Scharr(grey, cv2.CV_32F, 0, 1) / 32
    doubled: np.ndarray = (gradient**2 / np.maximum(np.abs(gradient), 1e-6)).astype(np.complex64)
    return doubled


def _alike(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """1 where the directions are the same, -1 where they cross, 0 where there is none."""
    along: np.ndarray = (first * second.conj()).real
    return along / ((np.abs(first) + FAINT) * np.maximum(np.abs(second), 1e-6))


def _cells(values: np.ndarray) -> np.ndarray:
    """Sums of cells, [90, 160] -> [9, 16]."""
    height, width = SIZE[1] // CELL, SIZE[0] // CELL
    return values.reshape(height, CELL, width, CELL).sum((1, 3))


def _sharpness(grey: np.ndarray, height: np.ndarray) -> float:
    """The finest detail against the next coarser, at the stronger edges."""
    one, two = cv2.GaussianBlur(grey, (0, 0), 0.8), cv2.GaussianBlur(grey, (0, 0), 2.4)
    strong = height >= np.percentile(height, 80)
    fine, coarse = np.abs(grey - one)[strong].sum(), np.abs(one - two)[strong].sum()
    return float(fine / max(coarse, 1e-6))
