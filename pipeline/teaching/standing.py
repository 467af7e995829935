"""How well a checkpoint does: on the verdicts, and at telling the validation videos apart."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from sklearn.metrics import roc_auc_score

from ssrl_pipeline.checkpoint import Checkpoint
from ssrl_pipeline.evaluation import highest_tenth
from ssrl_pipeline.features import Features
from ssrl_pipeline.scoring import Cameras, score_snippets
from ssrl_pipeline.settings import Settings
from ssrl_pipeline.teaching.lessons import Placed

WORSE = 0.01  # of the AUC of validation videos, from which on a checkpoint is worse


class Standing(NamedTuple):
    """How a checkpoint does."""

    right: int  # verdicts: on the right side of the threshold
    auc: float  # of validation videos by their highest tenth; nan where they are of one class

    def worse_than(self, other: "Standing", verdicts: int) -> str:
        """In what; "" where in nothing.

        Args:
            verdicts: by which both were judged.
        """
        said = []
        if self.right < other.right:
            said.append(f"{self.right} of {verdicts} verdicts right, not {other.right}")
        if self.auc < other.auc - WORSE:
            said.append(f"AUC of the validation videos {self.auc:.4f}, not {other.auc:.4f}")
        return "; ".join(said)


def judge(
    checkpoint: Checkpoint,
    store: Features,
    verdicts: Sequence[Placed],
    val: Mapping[str, bool],
    groups: Mapping[str, str | None],
    settings: Settings,
    device: torch.device,
) -> Standing:
    """Scores what the verdicts are on, and the validation videos that are stored.

    Args:
        val: validation video -> whether abnormal.
        groups: video -> its camera.
    """
    cameras = Cameras(checkpoint, device, settings.events)
    known = set(store.videos())
    needed = {one.video for one in verdicts} | (val.keys() & known)
    fitted = {video: cameras.of(groups.get(video)) for video in sorted(needed)}
    scores = {
        v: score_snippets(v, one.model, store.read(v, one.model.views), device) for v, one in fitted.items()
    }
    right = 0
    for one in verdicts:
        alarms = scores[one.video][one.snippet] >= fitted[one.video].chosen.rule.threshold
        right += bool(alarms) == one.verdict.abnormal
    judged = [(abnormal, highest_tenth(scores[v])) for v, abnormal in val.items() if v in known]
    both = len({abnormal for abnormal, _ in judged}) == 2
    return Standing(right, float(roc_auc_score(*zip(*judged, strict=True))) if both else float("nan"))
