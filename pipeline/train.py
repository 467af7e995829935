"""Stage two: features and video labels into an SSRL checkpoint.

    ssrl-pipeline train --name first

The joint schedule learns from the crops and all scales of patches at once. The
staged one is the paper's: stage one learns from the crops alone; each further
stage starts from the best of the one before, freezes what `train.freeze` says,
and adds one scale. The best is judged by the bags of validation videos, never
by test videos. The run's folder gets config.yaml, metrics.jsonl, stageN.pt (the
best of each stage), best.pt (that of the last stage) and last.pt, from which the
same command goes on after a stop.

A step's batch and dropout depend on the seed, the stage and the step alone.
"""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ssrl_pipeline import checkpoint as checkpoints
from ssrl_pipeline.bags import balanced_batches, load_bags
from ssrl_pipeline.checkpoint import Checkpoint
from ssrl_pipeline.config import to_tree, to_yaml
from ssrl_pipeline.errors import CheckpointError, PipelineError
from ssrl_pipeline.files import whole_file, write_text
from ssrl_pipeline.labels import Labels
from ssrl_pipeline.models import SSRL, Losses, LossWeights, MILLoss
from ssrl_pipeline.settings import ModelSettings, TrainSettings
from ssrl_pipeline.splits import Split, check_scales, check_videos, split_videos
from ssrl_pipeline.store import FeatureStore


class Evaluation(NamedTuple):
    """One line of metrics.jsonl."""

    stage: int
    step: int
    loss: float  # of this step's batch
    bags: float  # its terms, as weighted in the loss
    magnitude: float
    smoothness: float
    sparsity: float
    val_loss: float | None  # cross-entropy of the validation bags, both classes alike; None without any
    best: bool  # of the stage so far


class TrainResult(NamedTuple):
    best: Path
    evaluations: list[Evaluation]
    split: Split


def train(
    store: FeatureStore,
    labels: Labels,
    run: Path,
    model_settings: ModelSettings,
    settings: TrainSettings,
    device: torch.device,
    report: Callable[[Evaluation], object] = lambda evaluation: None,
) -> TrainResult:
    """Trains all stages, or goes on where an earlier call with the same arguments was stopped.

    Args:
        store: features of at least all videos to learn from and to choose by.
        labels: videos without a split are training videos.
        run: the run's folder.
        report: called after every evaluation.

    Raises:
        PipelineError: labels, store and settings do not fit each other, the
            folder holds another run, or the loss is not finite.
    """
    split = split_videos(labels, settings.val_fraction, settings.seed)
    check_videos(store, [*split.train, *split.val])
    with torch.random.fork_rng():
        trainer = Trainer(store, split, run, model_settings, settings, device, report)
        for stage in trainer.stages:
            if stage >= trainer.stage:
                trainer.train_stage(stage)
    with whole_file(run / "best.pt") as scratch:
        shutil.copyfile(trainer.stage_path(trainer.stages[-1]), scratch)
    return TrainResult(run / "best.pt", trainer.evaluations, split)


class Trainer:
    """What the stages of a run share, and where the run stands: the last saved `stage` and `step`."""

    def __init__(
        self,
        store: FeatureStore,
        split: Split,
        run: Path,
        model_settings: ModelSettings,
        settings: TrainSettings,
        device: torch.device,
        report: Callable[[Evaluation], object],
    ):
        self.recipe, self.split, self.run = store.recipe, split, run
        self.model_settings, self.settings, self.device, self.report = (
            model_settings,
            settings,
            device,
            report,
        )
        self.scales = check_scales(model_settings.scales, store)
        last = len(self.scales) + 1
        self.stages = range(1, last + 1) if settings.schedule == "staged" else range(last, last + 1)
        self.evaluations: list[Evaluation] = []
        self.stage, self.step = 0, 0
        self.saved: dict[str, Any] = {}
        self._begin_or_resume()
        views = ["clip", *(f"patch{scale}" for scale in self.scales)]
        self.bags = load_bags(store, split.train, views, settings.segments)
        self.val_bags = load_bags(store, split.val, views, settings.segments) if split.val else None
        weights = dataclasses.asdict(settings.loss)
        self.loss = MILLoss(across_videos=weights.pop("across_videos"), weights=LossWeights(**weights))

    def stage_path(self, stage: int) -> Path:
        return self.run / f"stage{stage}.pt"

    def train_stage(self, stage: int) -> None:
        """Trains one stage, from its beginning or from where the run was stopped."""
        settings = self.settings
        model = self._build(stage).to(self.device)
        optimiser = torch.optim.Adam(
            [p for p in model.parameters() if p.requires_grad],
            lr=settings.optimiser.lr,
            weight_decay=settings.optimiser.weight_decay,
        )
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.average), use_buffers=True)
        done, best_loss = 0, math.inf
        if self.stage == stage and self.saved:
            model.load_state_dict(self.saved["model"])
            average.load_state_dict(self.saved["average"])
            optimiser.load_state_dict(self.saved["optimiser"])
            done, best_loss = self.step, self.saved["best_loss"]
        batches = balanced_batches(self.bags.abnormal, settings.batch_size, settings.seed, stage)
        for step, index in islice(enumerate(batches, start=1), done, settings.steps):
            terms = self._step(model, optimiser, index, stage, step)
            average.update_parameters(model)
            if step % settings.evaluate_every and step != settings.steps:
                continue
            judged = cast(SSRL, average.module.eval())
            val_loss = self._validate(judged)
            best = val_loss is None or val_loss < best_loss or step == settings.evaluate_every
            if best:
                best_loss = math.inf if val_loss is None else val_loss
                checkpoints.save_checkpoint(
                    self.stage_path(stage), self._checkpoint(judged, stage, step, val_loss)
                )
            self._log(Evaluation(stage, step, **terms, val_loss=val_loss, best=best))
            self._save(stage, step, best_loss, model, average, optimiser)

    def _build(self, stage: int) -> SSRL:
        """The stage's model: new where it is new, the best of the stage before and frozen elsewhere."""
        torch.manual_seed(_seed(self.settings.seed, stage))
        feature_size, crops = self.recipe["feature_size"], self.recipe["views"]["clip"]
        model = SSRL(feature_size, self.scales[: stage - 1], crops, self.model_settings.dropout)
        if self.model_settings.standardise:
            normal = ~self.bags.abnormal
            model.scaling.fit({name: self.bags.views[name][normal] for name in model.views})
        if stage > self.stages[0]:
            before = checkpoints.load_checkpoint(self.stage_path(stage - 1)).weights
            model.load_state_dict(before, strict=False)
            kept = "" if self.settings.freeze == "stage" else "patches."
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(not (name in before and name.startswith(kept)))
        return model

    def _step(
        self, model: SSRL, optimiser: torch.optim.Optimizer, index: list[int], stage: int, step: int
    ) -> dict[str, float]:
        """One step of the optimiser; returns the loss and its terms, as :class:`Evaluation` names them."""
        rate = self.settings.optimiser
        for group in optimiser.param_groups:
            group["lr"] = rate.lr * min(1.0, step / max(1, rate.warmup))
        torch.manual_seed(_seed(self.settings.seed, stage, step))
        _training_mode(model)
        views, abnormal = self.bags.batch(index, self.device)
        output = model(views)
        losses: Losses | None = None
        if output.scores.isfinite().all():  # cross-entropy of what is no number ends the process on a GPU
            losses = self.loss.train()(output, abnormal)
        if losses is None or not losses.total.isfinite():
            names = ", ".join(sorted({self.bags.videos[i] for i in index}))
            raise PipelineError(
                f"the loss of stage {stage}, step {step} is not finite; its batch: {names}. "
                f"What was saved in {self.run} is kept; look for damaged features or lower train.optimiser.lr"
            )
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        terms = {name: term.item() for name, term in losses._asdict().items()}
        return {"loss": terms.pop("total"), **terms}

    @torch.no_grad()
    def _validate(self, model: SSRL) -> float | None:
        """Cross-entropy of the validation bags, the mean of both classes' means."""
        if self.val_bags is None:
            return None
        views, abnormal = self.val_bags.batch(range(len(self.val_bags.videos)), self.device)
        scores, _ = self.loss.eval().pick(model(views))
        losses = F.binary_cross_entropy(scores, abnormal.float(), reduction="none")
        return float((losses[abnormal].mean() + losses[~abnormal].mean()) / 2)

    def _checkpoint(self, model: SSRL, stage: int, step: int, val_loss: float | None) -> Checkpoint:
        return Checkpoint(
            weights={name: value.detach().cpu().clone() for name, value in model.state_dict().items()},
            model={
                "feature_size": model.feature_size,
                "scales": list(model.scales),
                "crops": model.crops,
                "dropout": self.model_settings.dropout,
            },
            recipe=self.recipe,
            settings={"model": to_tree(self.model_settings), "train": to_tree(self.settings)},
            provenance={
                "stage": stage,
                "step": step,
                "val_loss": val_loss,
                "train_videos": list(self.split.train),
                "val_videos": list(self.split.val),
                **checkpoints.versions(),
            },
        )

    def _log(self, evaluation: Evaluation) -> None:
        self.evaluations.append(evaluation)
        lines = [json.dumps(e._asdict()) for e in self.evaluations]
        write_text(self.run / "metrics.jsonl", "\n".join(lines) + "\n")
        self.report(evaluation)

    def _save(
        self,
        stage: int,
        step: int,
        best_loss: float,
        model: SSRL,
        average: AveragedModel,
        optimiser: torch.optim.Optimizer,
    ) -> None:
        content = {
            "stage": stage,
            "step": step,
            "best_loss": best_loss,
            "evaluations": [list(e) for e in self.evaluations],
            "identity": self._identity(),
            "model": model.state_dict(),
            "average": average.state_dict(),
            "optimiser": optimiser.state_dict(),
        }
        checkpoints.save(self.run / "last.pt", content)

    def _begin_or_resume(self) -> None:
        if not (self.run / "last.pt").exists():
            text = to_yaml({"model": to_tree(self.model_settings), "train": to_tree(self.settings)})
            write_text(self.run / "config.yaml", text)
            return
        content = checkpoints.load(self.run / "last.pt")
        if content.get("identity") != self._identity():
            raise CheckpointError(
                f"{self.run}: holds a run with other settings, videos or features; choose another --name"
            )
        self.saved, self.stage, self.step = content, content["stage"], content["step"]
        self.evaluations = [Evaluation(*values) for values in content["evaluations"]]

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a run to go on."""
        return {
            "model": to_tree(self.model_settings),
            "train": to_tree(self.settings),
            "recipe": self.recipe,
            "split": [self.split.train, self.split.val],
        }


def _training_mode(model: nn.Module) -> None:
    """Training mode, except for the batch norms of what is frozen."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not module.weight.requires_grad:
            module.eval()


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
