"""Steps of the optimiser: a model as it learns from batches that several processes may share.

A step's batch depends on the seed, the stage and the step alone, however many
processes share it; its dropout on these and the process.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from ssrl_pipeline.models import SSRL, Losses, MILLoss
from ssrl_pipeline.settings import OptimiserSettings, TrainSettings
from ssrl_pipeline.training.bags import Bags, share_of_batch
from ssrl_pipeline.training.group import Group


class Learner:
    """The model of a stage, its optimiser and the running mean of its weights.

    Args:
        model: on the group's device; what needs no gradient stays as it is.
        bags: to learn from.
        steps: of the stage, by which the rate may fall.
    """

    def __init__(
        self,
        model: SSRL,
        bags: Bags,
        loss: MILLoss,
        settings: TrainSettings,
        group: Group,
        stage: int,
        steps: int,
    ):
        self.model, self.bags, self.loss = model, bags, loss
        self.settings, self.group, self.stage, self.steps = settings, group, stage, steps
        self._wrapped = group.wrap(model)
        learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
        decay = settings.optimiser.weight_decay
        self.optimiser = torch.optim.Adam(learned, weight_decay=decay, fused=True)
        self.average = RunningMean(model, settings.average)

    def state(self) -> dict[str, Any]:
        """All that a run needs to go on from here."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from a :meth:`state`."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])

    def step(self, index: Sequence[int], step: int) -> dict[str, float]:
        """One step, from 1; returns the loss, its terms and the rate, as Evaluation names them.

        Args:
            index: the rows of the bags that all processes learn from together.
        """
        settings, group = self.settings, self.group
        rate = learning_rate(settings.optimiser, step, self.steps)
        for parameters in self.optimiser.param_groups:
            parameters["lr"] = rate
        torch.manual_seed(seed_of(settings.seed, self.stage, step, *([group.rank] if group.rank else [])))
        _training_mode(self.model)
        self.optimiser.zero_grad()
        sums = torch.zeros(len(Losses._fields), device=group.device)
        for part in range(settings.accumulate):
            own = share_of_batch(share_of_batch(index, part, settings.accumulate), group.rank, group.size)
            views, abnormal = self.bags.batch(own, group.device)
            with group.accumulating(self._wrapped, last=part == settings.accumulate - 1):
                with torch.autocast(
                    group.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"
                ):
                    output = self._wrapped(views)
                losses = self.loss.train()(output, abnormal, group.gather)
                (losses.total * (group.size / settings.accumulate)).backward()
            sums += torch.stack(losses).detach() / settings.accumulate
        self.optimiser.step()
        values = sums.tolist()  # here alone a step waits for a GPU
        return {**dict(zip(("loss", *Losses._fields[1:]), values, strict=True)), "lr": rate}


class RunningMean(AveragedModel):
    """The exponential running mean of a model's weights and statistics.

    As its parent's with `get_ema_multi_avg_fn`, but that copies a number to the device
    each time, for which the host waits until all that was begun is done.
    """

    def __init__(self, model: nn.Module, decay: float):
        super().__init__(model, use_buffers=True)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        means, latest = ([*part.parameters(), *part.buffers()] for part in (self.module, model))
        floats = [i for i, mean in enumerate(means) if mean.is_floating_point()]
        share = 1 - self.decay if self.n_averaged else 1.0
        torch._foreach_lerp_([means[i] for i in floats], [latest[i] for i in floats], share)
        for i in set(range(len(means))) - set(floats):  # counts of batches
            means[i].copy_(latest[i])
        self.n_averaged += 1


def learning_rate(settings: OptimiserSettings, step: int, steps: int) -> float:
    """The rate of one step (from 1) of a stage."""
    rate = settings.lr * min(1.0, step / max(1, settings.warmup))
    if settings.schedule == "cosine":
        rate *= (1 + math.cos(math.pi * (step - 1) / steps)) / 2
    return rate


def _training_mode(model: nn.Module) -> None:
    """Training mode, except for what is frozen: its batch norms and its dropout stay as they are."""
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def seed_of(*numbers: int) -> int:
    """A seed that depends on all of the numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
