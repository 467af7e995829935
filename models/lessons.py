"""What people said of moments, as a detector learns from it, and how one with weights to train does.

A clicked moment is supervision by glances: its snippet is abnormal, and so are those beside it that the
detector finds about as abnormal, the less surely the farther they are (the Gaussian kernels and their mining
of GlanceVAD, Zhang et al. 2024). A snippet called normal is one. Whole videos are learnt from beside them,
as bags of which the higher scores are judged, so that what was known is not forgotten.

Dimensions: T snippets, P crops or patches, F feature size.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

ALIKE = 0.9  # of the clicked snippet's score, from which on a neighbour is part of the event
SPREAD = 1.0  # snippets: deviation of the kernel about each snippet of the event
SURE = 0.5  # of a kernel: farther away nothing is said
STEPS, RATE = 80, 0.01  # the rate is a share of a weight's own size
MINE_EVERY = 10  # steps after which the events about clicks are looked for anew
CLICKS, BAGS = 4, 2  # lessons of a step: moments, and bags of either kind
TOP = 0.5  # share of a bag's snippets that it is judged by
EPS = 1e-6


class Lesson(Protocol):
    """Some snippets of a video on end, and what is known of them."""

    @property
    def views(self) -> Mapping[str, Tensor]:
        """View name -> [T, P, F]."""

    @property
    def wanted(self) -> Tensor:
        """float [T]: 1 abnormal, 0 normal, nan where nothing was said."""

    @property
    def normal(self) -> Mapping[str, Tensor]:
        """View name -> int [T, P]: of patches that were called normal, and their surroundings, the number of
        the verdict, from 1, the later the higher; 0 of others."""

    @property
    def bag(self) -> bool | None:
        """Whether the video is abnormal; None: the snippets alone are the lesson."""


def fine_tune(
    model: nn.Module, lessons: Sequence[Lesson], part: nn.Module | None = None, seed: int = 0
) -> None:
    """Some steps from the weights that a detector has, which stays in evaluation mode: no dropout.

    The same lessons in the same order give the same weights.

    Args:
        model: a :class:`~ssrl_pipeline.models.detector.Detector`.
        lessons: of which those without a bag are moments.
        part: of the model, that alone learns; None: all of it.
    """
    weights = [one for one in (part or model).parameters() if one.dim() > 1]  # biases and scales stay
    learned = [one.requires_grad for one in model.parameters()]
    model.requires_grad_(False)
    for one in weights:
        one.requires_grad_(True)
    groups = [{"params": [one], "lr": RATE * float(one.detach().square().mean().sqrt())} for one in weights]
    optimiser = torch.optim.Adam(groups)
    moments = [one for one in lessons if one.bag is None]
    bags = [[one for one in lessons if one.bag is kind] for kind in (False, True)]
    draw = np.random.default_rng(seed)
    targets: list[Tensor] = []
    model.eval()
    for step in range(STEPS):
        if step % MINE_EVERY == 0:
            targets = [expanded(one.wanted, _scores(model, one)) for one in moments]
        optimiser.zero_grad()
        for place in _some(draw, len(moments), CLICKS):
            _moment_loss(_raw(model, moments[place]), targets[place]).backward()
        for kind, of_kind in enumerate(bags):
            for place in _some(draw, len(of_kind), BAGS):
                scores = _raw(model, of_kind[place])
                highest = scores.topk(max(1, int(TOP * len(scores)))).values.mean()
                loss = F.binary_cross_entropy(highest.clamp(EPS, 1 - EPS), torch.tensor(float(kind))) / BAGS
                loss.backward()
        optimiser.step()
    for one, before in zip(model.parameters(), learned, strict=True):
        one.grad = None
        one.requires_grad_(before)


def expanded(wanted: Tensor, scores: Tensor) -> Tensor:
    """What is wanted of every snippet: about each click, of all that are like it on end.

    Args:
        wanted: [T], as of :class:`Lesson`.
        scores: [T], of the detector as it is.

    Returns:
        [T], 0 to 1, nan where nothing is known.
    """
    target, places = wanted.clone(), torch.arange(len(wanted))
    for click in (wanted == 1).nonzero().flatten().tolist():
        alike = (scores >= ALIKE * scores[click]) & (wanted != 0)
        alike[click] = True
        first = last = click
        while first > 0 and alike[first - 1]:
            first -= 1
        while last + 1 < len(wanted) and alike[last + 1]:
            last += 1
        away = (first - places).clamp(min=0) + (places - last).clamp(min=0)
        kernel = torch.exp(-away.square() / (2 * SPREAD**2))
        known = (kernel >= SURE) & (wanted != 0)
        target[known] = torch.maximum(target[known].nan_to_num(0.0), kernel[known])
    return target


def _moment_loss(scores: Tensor, target: Tensor) -> Tensor:
    known = ~target.isnan()
    return F.binary_cross_entropy(scores[known].clamp(EPS, 1 - EPS), target[known]) / CLICKS


def _raw(model: nn.Module, lesson: Lesson) -> Tensor:
    scores: Tensor = model.raw({name: view[None] for name, view in lesson.views.items()})  # type: ignore
    return scores[0]


@torch.no_grad()
def _scores(model: nn.Module, lesson: Lesson) -> Tensor:
    return _raw(model, lesson)


def _some(draw: np.random.Generator, among: int, most: int) -> list[int]:
    return [int(one) for one in draw.permutation(among)[:most]]
