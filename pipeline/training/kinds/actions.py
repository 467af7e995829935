"""Actions by their names: a detector that needs no training, and what cameras normally show.

    ssrl-pipeline train --model actions --actions "punching person (boxing)" wrestling

I3D's own classifier, which is in its weights, names the actions; see
:mod:`ssrl_pipeline.extractors.backbones.kinetics`. What normal training videos show sets the detector's
alarm level, and for every kind of detector it is what the words of events are told against.

Dimensions: P patches, A actions, F feature size.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ssrl_pipeline.config import to_tree, to_yaml
from ssrl_pipeline.data import Labels, check_videos
from ssrl_pipeline.disk import write_text
from ssrl_pipeline.errors import ConfigError, LabelError, StoreError, WeightsError
from ssrl_pipeline.events import VIEW
from ssrl_pipeline.extractors.backbones import ActionHead, action_head, action_names, find_actions
from ssrl_pipeline.features import Features
from ssrl_pipeline.models import ActionDetector
from ssrl_pipeline.settings import ActionSettings
from ssrl_pipeline.training.kinds.normal_memory import draw_snippets
from ssrl_pipeline.training.run_folder import refuse_other_run


def train_actions(
    store: Features, labels: Labels, run: Path, settings: ActionSettings, weights: str | None, seed: int
) -> Path:
    """Writes the checkpoint of a detector of the named actions; nothing is learnt but its levels.

    Args:
        labels: normal training videos set the levels, as do those without a split; others are ignored.
        run: the run's folder; gets config.yaml and best.pt.
        weights: the file of the backbone's weights; None: the published ones.
        seed: of the draw, where there are more than `sample` snippets.

    Returns:
        The checkpoint's path.

    Raises:
        ConfigError: no action is named, or one that there is not.
        LabelError: there is no normal training video.
        PipelineError: there is no classifier, the store lacks the view or a video, or the folder holds
            another model's run.
    """
    if not settings.names:
        raise ConfigError(
            "a detector of actions needs their names: --actions 'punching person (boxing)' wrestling; "
            "`ssrl-pipeline search WORD` finds some"
        )
    chosen = find_actions(settings.names)
    refuse_other_run(run, ActionDetector.kind)
    recipe = store.recipe
    if VIEW not in recipe["views"]:
        raise StoreError(f"{store.root}: has no view {VIEW}, in which actions are looked for")
    head = action_head(recipe["backbone"], recipe.get("weights_sha256"), weights, may_fetch=True)
    names = [action_names()[place] for place in chosen]
    views, total = {VIEW: recipe["views"][VIEW]}, len(head.bias)
    model = ActionDetector(recipe["feature_size"], views, total, chosen, names).eval()
    model.load_state_dict({"weight": head.weight, "bias": head.bias}, strict=False)
    normal = normal_videos(labels)
    if not normal:
        raise LabelError("no normal training video tells what is usual; label some, or give no labels at all")
    parts = _usual_patches(store, normal, settings.sample, seed)
    evidence = [model.evidence(patches).amax(dim=-1) for patches in parts]
    if not evidence:
        raise StoreError(f"{store.root}: no normal training video has a snippet")
    usual = torch.cat(evidence)
    model.set_usual(usual, settings.alarm)
    tree = {"model": {"kind": model.kind}, "actions": to_tree(settings), "train": {"seed": seed}}
    write_text(run / "config.yaml", to_yaml(tree))
    provenance = {"train_videos": normal, "val_videos": [], "snippets": len(usual)}
    save_checkpoint(run / "best.pt", Checkpoint.of(model, recipe, tree, provenance))
    return run / "best.pt"


def actions_summary(checkpoint: Checkpoint) -> str:
    """What a detector of actions looks for, in one line."""
    known = checkpoint.provenance
    usual = f"{known['snippets']} snippets of {len(known['train_videos'])} videos"
    return f"{', '.join(checkpoint.model['actions'])}; usual is what {usual} show"


def add_usual(
    path: Path, store: Features, labels: Labels, settings: ActionSettings, weights: str | None, seed: int
) -> str | None:
    """Keeps in a checkpoint what its normal training videos show, against which events have words.

    Returns:
        Why it cannot be told; None: it is.

    Raises:
        StoreError: features of a video are damaged.
    """
    usual, reason = usual_words(store, normal_videos(labels), settings, weights, seed)
    if usual:
        save_checkpoint(path, replace(load_checkpoint(path), words=usual))
    return reason


def usual_words(
    store: Features, normal: list[str], settings: ActionSettings, weights: str | None, seed: int
) -> tuple[dict[str, Tensor], str | None]:
    """What a checkpoint keeps of what normal videos show, as `words`, or nothing and why it cannot be told.

    Raises:
        StoreError: features of a video are damaged.
    """
    recipe = store.recipe
    if VIEW not in recipe["views"]:
        return {}, f"the features have no view {VIEW}"
    if not normal:
        return {}, "there is no normal training video"
    try:
        head = action_head(str(recipe.get("backbone")), recipe.get("weights_sha256"), weights)
    except WeightsError as error:
        return {}, str(error)
    usual = measure_usual(head, store, normal, settings.sample, seed)
    return usual, None if usual else "no normal training video has a snippet"


def normal_videos(labels: Labels) -> list[str]:
    """Those that are for training, or of no split."""
    return [v for v, label in labels.items() if label.split in (None, "train") and not label.abnormal]


def measure_usual(
    head: ActionHead, store: Features, normal: list[str], most: int = 4096, seed: int = 0
) -> dict[str, Tensor]:
    """What normal videos show: mean and deviation, float32 [P, A], of the log probabilities.

    Args:
        head: the classifier.
        most: snippets, evenly drawn from all.
        seed: of the draw.

    Returns:
        What a checkpoint keeps as `words`; nothing where there is no snippet.
    """
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for patches in _usual_patches(store, normal, most, seed):
        found = head.log_probabilities(patches).double()  # [n, P, A]
        count, total, squares = count + len(found), total + found.sum(0), squares + (found**2).sum(0)
    if not count:
        return {}
    mean = total / count
    deviation = (squares / count - mean**2).clamp(min=0).sqrt()
    return {"mean": mean.float(), "deviation": deviation.float()}


def _usual_patches(store: Features, normal: list[str], most: int, seed: int) -> Iterator[Tensor]:
    """float32 [n, P, F], video by video: at most so many snippets, evenly drawn from all."""
    check_videos(store, normal)
    lengths = {video: store.meta(video).snippets for video in normal}
    for video, index in draw_snippets(lengths, most, seed).items():
        whole = len(index) == lengths[video]  # else the check would read far more
        rows = np.array(store.read(video, [VIEW], check=whole)[VIEW][index], np.float32)
        if not np.isfinite(rows).all():
            raise StoreError(f"{store.root}: {VIEW} features of {video!r} are not finite; extract it again")
        yield torch.from_numpy(rows)
