"""How many small things the rule of unchanged clips notices, by how far they are off their ground.

    python scripts/bench/small_objects.py --levels 4 5 6

A square of a fortieth of the frame's height stands or moves, at a place and in a direction drawn at random,
on ground with noise that was empty in the snippet before. It is noticed if all patches of `fast` that its
middle lies in are described.
"""

import argparse

import numpy as np

from ssrl_pipeline.extractors.passes import Pass, plan_passes
from ssrl_pipeline.extractors.presets import PRESETS
from ssrl_pipeline.extractors.repeats import UnchangedRule
from ssrl_pipeline.extractors.unchanged import Unchanged
from ssrl_pipeline.extractors.views import Grid

HEIGHT, WIDTH = 240, 320
SIDE = HEIGHT // 40
NOISE = 2.0  # grey levels
FRAMES, STEP = 4, 4  # of a snippet that are drawn, and frames from one to the next
EDGE = 60  # pixels from the border that it keeps to begin with


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--levels", type=int, nargs="+", default=[UnchangedRule().levels])
    parser.add_argument("--contrasts", type=int, nargs="+", default=[10, 15, 20, 30])
    parser.add_argument("--speeds", type=float, nargs="+", default=[0, 0.5, 2], help="pixels a frame")
    parser.add_argument("--squares", type=int, default=40)
    a = parser.parse_args()
    views = PRESETS["fast"].views
    passes = plan_passes(None, views, "exact")  # type: ignore[arg-type]  # nothing is described
    for speed in a.speeds:
        for contrast in a.contrasts:
            shares = []
            for levels in a.levels:
                rng = np.random.default_rng(0)  # the same squares
                rule = UnchangedRule(levels=levels, checked=10**6)
                noticed = [is_noticed(rng, rule, passes, contrast, speed) for _ in range(a.squares)]
                shares.append(f"{levels} levels {100 * np.mean(noticed):.0f} %")
            print(f"{contrast} off its ground, {speed:g} pixels a frame: {', '.join(shares)}", flush=True)


def is_noticed(
    rng: np.random.Generator, rule: UnchangedRule, passes: tuple[Pass, ...], contrast: int, speed: float
) -> bool:
    ground = rng.integers(60, 180, (HEIGHT // 16, WIDTH // 16, 1)).repeat(16, 0).repeat(16, 1).repeat(3, 2)
    angle = rng.uniform(0, 2 * np.pi)
    begin = np.array([rng.uniform(EDGE, side - EDGE - SIDE) for side in (HEIGHT, WIDTH)])
    way = speed * STEP * np.arange(FRAMES)[:, None] * np.array([np.sin(angle), np.cos(angle)])

    def snippet(places: np.ndarray) -> np.ndarray:
        frames = np.repeat(ground[None].astype(float), FRAMES, axis=0)
        for frame, (top, left) in zip(frames, np.rint(places).astype(int), strict=False):
            frame[top : top + SIDE, left : left + SIDE] += contrast
        return np.clip(frames + rng.normal(0, NOISE, frames.shape), 0, 255).round().astype(np.uint8)

    unchanged = Unchanged(rule, passes)
    for _ in range(2):
        unchanged.decide(snippet(np.empty((0, 2))))
    wanted = unchanged.decide(snippet(begin + way))
    row, column = ((begin + way).mean(0) + SIDE / 2) / (HEIGHT, WIDTH)
    grids = [(one.cut, described) for one, described in zip(passes, wanted.described, strict=True)]
    return all(
        described[int(row * cut.rows) * cut.columns + int(column * cut.columns)]
        for cut, described in grids
        if isinstance(cut, Grid)
    )


if __name__ == "__main__":
    main()
