"""Stage two: features and video labels into an SSRL checkpoint.

    ssrl-pipeline train --name first
    torchrun --nproc-per-node 2 -m ssrl_pipeline train --name first

The joint schedule learns from the crops and all scales of patches at once. The
staged one is the paper's: stage one learns from the crops alone; each further
stage starts from the best of the one before, freezes what `train.freeze` says,
and adds one scale. The best is judged by the bags of validation videos. The same
command goes on where a run was stopped (:mod:`ssrl_pipeline.training.run_folder`).
"""

import copy
import dataclasses
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import torch

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint
from ssrl_pipeline.config import to_tree
from ssrl_pipeline.data import (
    Intervals,
    Labels,
    Split,
    check_scales,
    check_videos,
    ground_truth,
    split_videos,
)
from ssrl_pipeline.errors import ConfigError, LabelError, PipelineError
from ssrl_pipeline.features import Features
from ssrl_pipeline.models import SSRL, LinearProbe, Losses, LossWeights, MILLoss
from ssrl_pipeline.scales import view_of
from ssrl_pipeline.settings import ModelSettings, TrainSettings
from ssrl_pipeline.tf32 import allow_tf32
from ssrl_pipeline.training.bags import balanced_batches, load_bags
from ssrl_pipeline.training.group import Group
from ssrl_pipeline.training.kinds.evidence import fit_evidence
from ssrl_pipeline.training.length import begun_with, check_shares, fitted, usual_length
from ssrl_pipeline.training.run_folder import Evaluation, RunFolder, owned
from ssrl_pipeline.training.selection import (
    FrameJudge,
    Judge,
    NoJudge,
    Validated,
    ValidationJudge,
    beside_probe,
    best_of,
)
from ssrl_pipeline.training.steps import Learner, seed_of


def train_ssrl(
    store: Features,
    labels: Labels,
    run: Path,
    model_settings: ModelSettings,
    settings: TrainSettings,
    group: Group,
    report: Callable[[Evaluation], object] = lambda evaluation: None,
    intervals: Intervals | None = None,
) -> Path:
    """Trains all stages, or goes on where an earlier call with the same arguments was stopped.

    Args:
        store: features of at least all videos to learn from and to choose by.
        labels: videos without a split are training videos.
        run: the run's folder.
        group: this process among those that train together.
        report: called after every evaluation, in the main process.
        intervals: of the test videos, where `select_on` is test.

    Returns:
        The best checkpoint, in the run's folder.

    Raises:
        PipelineError: labels, store and settings do not fit each other, the
            folder holds another run or another process trains in it, or the
            loss is not finite.
    """
    split = split_videos(labels, settings.val_fraction, settings.seed)
    check_videos(store, [*split.train, *split.val])
    gpus = [group.device] if group.device.type == "cuda" else []  # others are none of its business
    with owned(run, group), torch.random.fork_rng(gpus), allow_tf32(False, group.device):
        trainer = SSRLTrainer(store, labels, split, run, model_settings, settings, group, intervals)
        for stage in trainer.stages:
            trainer.train_stage(stage, report)
        return trainer.folder.finish(trainer.stages[-1])


class SSRLTrainer:
    """What the stages of a run share."""

    def __init__(
        self,
        store: Features,
        labels: Labels,
        split: Split,
        run: Path,
        model_settings: ModelSettings,
        settings: TrainSettings,
        group: Group,
        intervals: Intervals | None,
    ):
        self.scales = check_scales(model_settings.scales, store)
        self.stages = stages_of(settings, self.scales)
        settings = fitted(settings, split, run, group.size)
        begun = begun_with(run, "model")
        if begun is not None and "evidence" not in begun:  # it began without, or in a version before
            model_settings = dataclasses.replace(model_settings, evidence=False)
        self.batch_size, self.steps, self.every = check_shares(settings, group.size)
        self.evidence = model_settings.evidence and settings.schedule == "joint"
        if not self.steps and not self.evidence:
            raise ConfigError("train.steps: 0 leaves nothing that was learned; 1 or more")
        settings = dataclasses.replace(settings, last_stage=None)  # how far to go is not the run's nature
        self.recipe, self.split, self.group = store.recipe, split, group
        self.model_settings, self.settings = model_settings, settings
        trees = {"model": to_tree(model_settings), "train": to_tree(settings)}
        same = {**to_tree(settings), "tensorboard": None}  # may come or go
        known = to_tree(model_settings)
        if not model_settings.evidence:
            del known["evidence"]  # as of versions before, so that their runs go on
        if not settings.loss.correction:
            del same["loss"]["correction"]  # likewise
        identity = {"model": known, "train": same, "recipe": self.recipe, "split": [split.train, split.val]}
        defaults = {"model": to_tree(ModelSettings()), "train": to_tree(TrainSettings())}
        for tree in (same, defaults["train"]):
            del tree["false_alarms"]  # of what comes after
        del defaults["model"]["evidence"]
        del defaults["train"]["loss"]["correction"]
        self.folder = RunFolder(run, trees, identity, defaults, group, settings.tensorboard)
        terms = dataclasses.asdict(settings.loss)
        how = {name: terms.pop(name) for name in ("across_videos", "top")}
        self.loss = MILLoss(weights=LossWeights(**terms), **how)
        segments = settings.segments or usual_length(store, split)
        views = ["clip", *map(view_of, self.scales)]
        with group.main_first():
            self.bags = load_bags(store, split.train, views, segments, run.parent / ".packs")
            self.val_bags = (
                load_bags(store, split.val, views, segments, run.parent / ".packs") if split.val else None
            )
        for bags in filter(None, (self.bags, self.val_bags)):
            bags.move(group.device)
        self.labels = labels
        self.judge = self._judge(store, labels, intervals)

    def train_stage(self, stage: int, report: Callable[[Evaluation], object]) -> None:
        """Trains one stage, from its beginning or from where the run was stopped."""
        settings, state = self.settings, self.folder.state
        if state and state["stage"] > stage:
            return
        model = self._build(stage).to(self.group.device)
        learner = Learner(model, self.bags, self.loss, settings, self.group, stage, self.steps)
        if state and state["stage"] == stage:
            learner.load_state(state)
            done, best_step, best = state["step"], state["best_step"], best_of(state)
            self.folder.state = None  # it may be large
        else:
            done, best_step, best = 0, 0, self._before_learning(model, stage, report)
        patience = self.steps if settings.patience is None else settings.patience * self.every
        batches = balanced_batches(self.bags.abnormal, self.batch_size, settings.seed, stage)
        for step, index in islice(enumerate(batches, start=1), done, self.steps):
            if step - 1 - best_step >= patience:
                break
            terms = learner.step(index, step)
            if not np.isfinite(list(terms.values())).all():
                raise self._not_finite(stage, step, index)
            learner.average.update_parameters(model)
            if step % self.every and step != self.steps:
                continue
            judged = cast(SSRL, learner.average.module.eval())
            validated = self.judge(judged)
            if is_best := validated.beats(best):
                best_step, best = step, validated
                self.folder.save_best(stage, self._checkpoint(judged, stage, step, validated))
            where = {"stage": stage, "step": step, "best_step": best_step, "best": list(best)}
            evaluation = Evaluation(stage, step, **terms, **validated.figures, best=is_best)
            self.folder.log(evaluation)
            self.folder.save_state({**where, **learner.state()})
            if self.group.is_main:
                report(evaluation)
        self.group.wait()  # for the stage's best, which the next one reads

    def _before_learning(self, model: SSRL, stage: int, report: Callable[[Evaluation], object]) -> Validated:
        """What is known of the evidence by itself, which is the best so far; nothing where there is none."""
        if not self.evidence:
            return Validated()
        alone = copy.deepcopy(model).eval()
        alone.head.add_nothing()
        validated = self.judge(alone)
        self.folder.save_best(stage, self._checkpoint(alone, stage, 0, validated))
        if not isinstance(self.judge, NoJudge):
            terms = dict.fromkeys(("loss", *Losses._fields[1:], "lr"))
            evaluation = Evaluation(stage, 0, **terms, **validated.figures, best=True)
            self.folder.log(evaluation)
            if self.group.is_main:
                report(evaluation)
        return validated

    def _judge(self, store: Features, labels: Labels, intervals: Intervals | None) -> Judge:
        if self.settings.select_on == "test":
            if intervals is None:
                raise LabelError("train.select_on=test needs the anomalous intervals of the test videos")
            return FrameJudge(store, ground_truth(store, labels, intervals, "test"), self.group)
        if self.val_bags is None:
            return NoJudge()
        return ValidationJudge(self.val_bags, self.loss, 2 * self.batch_size, self.group)

    def _build(self, stage: int) -> SSRL:
        """The stage's model: new where it is new, the best of the stage before and frozen elsewhere."""
        torch.manual_seed(seed_of(self.settings.seed, stage))
        model = SSRL(
            self.recipe["feature_size"],
            self.scales[: stage - 1],
            crops=self.recipe["views"]["clip"],
            dropout=self.model_settings.dropout,
            share_relation=self.model_settings.share_relation,
            patches=self.model_settings.patches,
            evidence=self.evidence,
        )
        if self.model_settings.standardise:
            normal = [row for row, abnormal in enumerate(self.bags.abnormal) if not abnormal]
            for name in model.views:
                model.scaling.fit(name, (self.bags.bag(name, row).cpu() for row in normal))
        if self.evidence:
            fit_evidence(cast(LinearProbe, model.probe), self.bags, self.labels, self.settings.seed)
        if stage > self.stages[0]:
            before = load_checkpoint(self.folder.stage_path(stage - 1)).weights
            model.load_state_dict(before, strict=False)
            kept = "" if self.settings.freeze == "stage" else "patches."
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(not (name in before and name.startswith(kept)))
            if not any(parameter.requires_grad for parameter in model.parameters()):
                raise ConfigError("train.freeze=stage leaves nothing to learn where model.patches is max")
            self._compute_frozen(model, self.scales[: stage - 2])
        return model

    @torch.no_grad()
    def _compute_frozen(self, model: SSRL, scales: Sequence[str]) -> None:
        """Computes once what frozen branches make of every bag, so that no step has to."""
        device = self.group.device
        model.eval().to(device)
        for bags in filter(None, (self.bags, self.val_bags)):
            for scale in scales:
                rows = (bags.bag(view_of(scale), row)[None].to(device) for row in range(len(bags.videos)))
                bags.branches[scale] = torch.cat([model.branch(scale, row).cpu() for row in rows])
            bags.move(device)

    def _not_finite(self, stage: int, step: int, index: list[int]) -> PipelineError:
        names = ", ".join(sorted({self.bags.videos[i] for i in index}))
        return PipelineError(
            f"the loss of stage {stage}, step {step} is not finite; its batch: {names}. What was saved in "
            f"{self.folder.path} is kept; look for damaged features or lower train.optimiser.lr"
        )

    def _checkpoint(self, model: SSRL, stage: int, step: int, validated: Validated) -> Checkpoint:
        return Checkpoint.of(
            model,
            recipe=self.recipe,
            settings={"model": to_tree(self.model_settings), "train": to_tree(self.settings)},
            provenance={
                "stage": stage,
                "step": step,
                **validated.figures,
                **({"validation": rivals} if (rivals := self.judge.rivals(model)) else {}),
                "train_videos": list(self.split.train),
                "val_videos": list(self.split.val),
            },
        )


def ssrl_summary(checkpoint: Checkpoint) -> str:
    """How it does on the validation videos, and how a linear probe; and whether it is any more than that."""
    lines, known = [], checkpoint.provenance
    if found := known.get("validation"):
        lines.append(beside_probe("AUC of the validation videos", found["auc"], found["probe_auc"]))
    if known["step"] == 0:
        lines.append("it adds nothing to its linear probe: no number of steps did better on videos held out")
    return "\n".join(lines)


def stages_of(settings: TrainSettings, scales: Sequence[str]) -> range:
    """The stages to train: the crops' and one for each scale, or the last of these, which has them all.

    Raises:
        ConfigError: `last_stage` asks for more scales than there are.
    """
    last = len(scales) + 1
    if settings.schedule != "staged":
        return range(last, last + 1)
    if settings.last_stage and settings.last_stage > last:
        raise ConfigError(
            f"train.last_stage: there is no stage {settings.last_stage}; with {' and '.join(scales) or 'no'} "
            f"patches the last one is {last} (features of --preset paper have four)"
        )
    return range(1, (settings.last_stage or last) + 1)
