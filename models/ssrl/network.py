"""SSRL: scale-aware spatio-temporal relation learning (Li et al., ECCV 2022).

Dimensions: B videos, T snippets, P patches, C crops, F feature size.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from ssrl_pipeline.models.detector import Detector, Footage, Hidden
from ssrl_pipeline.models.lessons import Lesson, fine_tune
from ssrl_pipeline.models.linear import LinearProbe
from ssrl_pipeline.models.scaling import FeatureScaling
from ssrl_pipeline.models.ssrl.reference import reference_name, reference_shape
from ssrl_pipeline.models.ssrl.relation import RelationBlock
from ssrl_pipeline.scales import EVIDENCE, parse_scale, scale_of, view_of

ROWS = 256  # snippets to take statistics of at a time


class SSRLOutput(NamedTuple):
    scores: Tensor  # [B, T], 0 to 1
    magnitudes: Tensor  # [B, T], L2 norm of the features, mean over crops
    features: Tensor  # [B, C, T, F], what the scores are computed from
    added: Tensor | None = None  # [B, C, T], log odds that are added to evidence, where there is any


class PatchBranch(nn.Module):
    """One patch scale: relates the r x c patches of a snippet and sums them up in one feature."""

    def __init__(self, relation: RelationBlock, feature_size: int, rows: int, columns: int, dropout: float):
        super().__init__()
        self.rows, self.columns = rows, columns
        self.relation = relation
        half = feature_size // 2
        padding = 0 if min(rows, columns) >= 3 else 1  # a 3x3 kernel needs three rows
        self.grid = nn.Sequential(
            nn.Conv2d(feature_size, half, 3, padding=padding), nn.ReLU(), nn.BatchNorm2d(half)
        )
        cells = (rows - 2 + 2 * padding) * (columns - 2 + 2 * padding)
        self.linear = nn.Linear(half * cells, feature_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, patches: Tensor) -> Tensor:
        """[B, T, P, F] -> [B, T, F]."""
        b, t, p, f = patches.shape
        related = self.relation(patches.reshape(b * t, p, f))
        grid = related.transpose(1, 2).reshape(b * t, f, self.rows, self.columns)
        summed = self.linear(self.grid(grid).flatten(1)).relu()
        return self.dropout(summed).view(b, t, f)


class Head(nn.Sequential):
    """What makes a score of a snippet's feature, [..., F] -> [..., 1].

    Its end is computed in the weights' own precision also under autocast: in bfloat16 the
    sigmoid would be exactly 1 from log odds of 6.3 on, where nothing is learned any more.
    """

    def __init__(self, feature_size: int, dropout: float):
        super().__init__(
            nn.Linear(feature_size, 512),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(512, 128),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(128, 1),
            nn.Sigmoid(),
        )

    @property
    def end(self) -> nn.Linear:
        """The layer that makes log odds."""
        return cast(nn.Linear, self[-2])

    def add_nothing(self) -> None:
        """Makes all log odds zero, until it has learned."""
        nn.init.zeros_(self.end.weight)
        nn.init.zeros_(self.end.bias)

    def forward(self, features: Tensor) -> Tensor:
        """[..., F] -> scores [..., 1]."""
        return self.log_odds(features).sigmoid()

    def log_odds(self, features: Tensor) -> Tensor:
        """[..., F] -> [..., 1], of the scores."""
        for layer in list(self)[:-2]:
            features = layer(features)
        with torch.autocast(features.device.type, enabled=False):
            return cast(Tensor, self.end(features.to(self.end.weight.dtype)))


class SSRL(Detector):
    """Scores the snippets of videos from crop and patch features.

    Args:
        feature_size: F, a multiple of 8.
        scales: patch scales as "ROWSxCOLUMNS", in the order of the stages;
            empty for stage one, which knows the crops alone.
        crops: C. For the record: every crop passes the same weights.
        dropout: of the head, and of scales of more than 15 patches.
        share_relation: all patch scales relate their patches by the same block,
            which at F = 2048 and three scales saves 47 of 192 million parameters.
        patches: how a scale's patches become one feature: "relation", the
            paper's branch, or "max", the greatest value of each feature among
            them, which has nothing to learn and so nothing to overfit.
        evidence: a linear probe's log odds of each snippet are added to the head's,
            past the relation blocks, which then learn what the probe does not know.
    """

    kind: ClassVar[str] = "ssrl"
    related: ClassVar[bool] = True

    def __init__(
        self,
        feature_size: int = 1024,
        scales: Sequence[str] = ("2x3", "3x5", "4x7"),
        crops: int = 10,
        dropout: float = 0.7,
        share_relation: bool = False,
        patches: str = "relation",
        evidence: bool = False,
    ):
        super().__init__()
        if feature_size < 8 or feature_size % 8:
            raise ValueError(f"feature_size is a multiple of 8, not {feature_size}")
        self.feature_size, self.scales, self.crops = feature_size, tuple(scales), crops
        if patches not in ("relation", "max"):
            raise ValueError(f"patches is relation or max, not {patches!r}")
        self._arguments = {"dropout": dropout, "share_relation": share_relation, "patches": patches}
        if evidence:  # not named otherwise: older versions read what they can
            self._arguments["evidence"] = True
        self.patches = nn.ModuleDict()  # empty where the greatest value stands for a scale
        shared = RelationBlock(feature_size) if share_relation and self.scales else None
        sizes = [(scale, *parse_scale(scale)) for scale in self.scales]
        self.views = {"clip": crops} | {view_of(scale): rows * columns for scale, rows, columns in sizes}
        for scale, rows, columns in sizes if patches == "relation" else ():
            patch_dropout = dropout if rows * columns > 15 else 0.0
            relation = shared or RelationBlock(feature_size)
            self.patches[scale] = PatchBranch(relation, feature_size, rows, columns, patch_dropout)
        self.relation = RelationBlock(feature_size)
        self.dropout = nn.Dropout(dropout)
        self.head = Head(feature_size, dropout)
        self.scaling = FeatureScaling(self.views, feature_size)
        self.probe = LinearProbe(feature_size, self.views).requires_grad_(False) if evidence else None

    @property
    def arguments(self) -> dict[str, Any]:
        sizes = {"feature_size": self.feature_size, "scales": list(self.scales), "crops": self.crops}
        return sizes | self._arguments

    def forward(self, views: Mapping[str, Tensor]) -> SSRLOutput:
        """Scores snippets.

        Args:
            views: "clip" [B, T, C, F] and, for each scale, "patchRxC" [B, T, R*C, F]
                or, under the name "RxC", what :meth:`branch` made of it [B, T, F];
                "evidence" [B, T] counts in place of what the probe would say.

        Raises:
            ValueError: a view is missing or has another shape.
        """
        own = [name for name in self.views if scale_of(name) not in views]
        self.require(views, own, uncounted=("clip",))
        summary, evidence = self._parted(self.summarise(views))
        b, c, t, f = summary.shape
        features = self.dropout(self.relation(summary.reshape(b * c, t, f)))
        odds = self.head.log_odds(features).view(b, c, t)
        scores = (odds if evidence is None else odds + evidence).sigmoid().mean(dim=1)
        magnitudes = features.norm(dim=2).view(b, c, t).mean(dim=1)
        return SSRLOutput(
            scores, magnitudes, features.view(b, c, t, f), added=None if evidence is None else odds
        )

    def hide(self, views: Mapping[str, Tensor], hidden: Hidden) -> Mapping[str, Tensor]:
        """As of every detector; where patches are related, a hidden one has the mean normal feature.

        :meth:`heat` puts the same in the place of a patch: relations have nothing to leave out.
        """
        if not self.patches:
            return super().hide(views, hidden)
        normal = {name: self.scaling.get_buffer(f"{name}_mean") for name in hidden}
        return {
            name: torch.where(hidden[name][:, None, :, None], normal[name], rows) if name in hidden else rows
            for name, rows in views.items()
        }

    def summarise(self, views: Mapping[str, Tensor]) -> Tensor:
        """Crops with patch branches added, [B, C, T, F], from views as :meth:`forward` takes them.

        With evidence, [B, C, T, F + 1]: it comes last.
        """
        summary: Tensor = self.scaling("clip", views["clip"]).transpose(1, 2)
        for scale in self.scales:
            added = views[scale] if scale in views else self.branch(scale, views[view_of(scale)])
            summary = summary + added[:, None]
        if self.probe is None:
            return summary
        evidence = self._evidence(views)[:, None, :, None].expand(-1, summary.shape[1], -1, 1)
        return torch.cat([summary, evidence], dim=-1)

    @torch.no_grad()
    def adapted(self, footage: Footage) -> "SSRL":
        """With the scaling of what the camera shows, and its probe; one that does not scale keeps its own."""
        copy = super().adapted(footage)
        assert isinstance(copy, SSRL)
        if self.scaling.is_fitted:
            for name in self.views:
                copy.scaling.fit(name, footage.read(name).split(ROWS))
        if self.probe is not None:
            copy.probe = cast(LinearProbe, self.probe.adapted(footage))
        return copy

    @property
    def reach(self) -> int:
        return self.relation.reach

    def gather(self, summary: Tensor) -> Tensor:
        return self.relation.gather(self._parted(summary)[0].flatten(0, 1))

    def relate(self, summary: Tensor, gathered: Tensor | None = None) -> Tensor:
        features, evidence = self._parted(summary)
        b, c, t, f = features.shape
        related: Tensor = self.relation(features.reshape(b * c, t, f), gathered)
        related = related.view(b, c, t, f)
        return related if evidence is None else torch.cat([related, evidence[..., None]], dim=-1)

    def score(self, related: Tensor) -> Tensor:
        features, evidence = self._parted(related)
        odds = self.head.log_odds(features).squeeze(-1)
        return (odds if evidence is None else odds + evidence).sigmoid().mean(dim=1)

    def _parted(self, summary: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features [..., F], and the evidence [...] where there is any."""
        if self.probe is None:
            return summary, None
        return summary[..., :-1], summary[..., -1]

    def heat(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Log odds lost if a patch had the mean normal feature at its position, in all snippets."""
        whole = self._log_odds(views)  # also checks the views
        known = {scale: self.branch(scale, views[view_of(scale)]) for scale in self.scales}
        known["clip"] = views["clip"]
        lost = {}
        for scale in self.scales:
            name = view_of(scale)
            patches, normal = views[name].clone(), self.scaling.get_buffer(f"{name}_mean")
            without = []
            for position in range(patches.shape[2]):
                patches[:, :, position] = normal
                occluded = {**known, scale: self.branch(scale, patches)}
                if self.probe is not None:
                    occluded[EVIDENCE] = self._evidence({**views, name: patches})
                without.append(self._log_odds(occluded))
                patches[:, :, position] = views[name][:, :, position]
            lost[scale] = (whole[..., None] - torch.stack(without, dim=-1)).clamp(min=0)
        return lost

    def learn(self, lessons: Sequence[Lesson]) -> bool:
        """As of every detector: its probe, or else the end of its head, alone: a few clicks ruin the rest."""
        fine_tune(self, lessons, part=self.head.end if self.probe is None else self.probe)
        return True

    def _log_odds(self, views: Mapping[str, Tensor]) -> Tensor:
        """[B, T], mean over crops: they tell more than scores that are next to 1."""
        if self.probe is not None:
            views = {**views, EVIDENCE: self._evidence(views)}  # once, for the scores and for what follows
        output: SSRLOutput = self(views)
        odds = self.head.log_odds(output.features).squeeze(-1).mean(dim=1)
        return odds if self.probe is None else odds + views[EVIDENCE]

    def _evidence(self, views: Mapping[str, Tensor]) -> Tensor:
        """[B, T], log odds: what the probe says or, where it is given, what it said."""
        assert self.probe is not None
        return views[EVIDENCE] if EVIDENCE in views else self.probe(views).odds

    def branch(self, scale: str, patches: Tensor) -> Tensor:
        """What one scale adds to the crops: [B, T, P, F] -> [B, T, F]."""
        scaled: Tensor = self.scaling(view_of(scale), patches)
        return self.patches[scale](scaled) if scale in self.patches else scaled.amax(dim=2)

    @classmethod
    def from_reference_state_dict(cls, state_dict: Mapping[str, Tensor | np.ndarray]) -> "SSRL":
        """The model of the stage and feature size that a checkpoint of the published code has.

        Raises:
            ValueError: a parameter is missing, unknown, or of another shape.
        """
        state = {name.removeprefix("module."): torch.as_tensor(value) for name, value in state_dict.items()}
        model = cls(*reference_shape(state))
        names = {own: reference_name(own) for own in model.state_dict() if not own.startswith("scaling.")}
        if missing := [name for name in names.values() if name not in state]:
            raise ValueError(f"no {missing[0]} in the published SSRL checkpoint")
        if unknown := sorted(set(state) - set(names.values())):
            raise ValueError(f"unknown parameter {unknown[0]} in the published SSRL checkpoint")
        try:
            # The published code does not scale features: that part stays as it was made.
            model.load_state_dict({own: state[name] for own, name in names.items()}, strict=False)
        except RuntimeError as error:
            raise ValueError(str(error).splitlines()[-1].strip()) from error
        return model
