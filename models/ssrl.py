"""SSRL: scale-aware spatio-temporal relation learning (Li et al., ECCV 2022).

Dimensions: B videos, T snippets, P patches, C crops, F feature size.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from ssrl_pipeline.models.relation import RelationBlock
from ssrl_pipeline.models.scaling import FeatureScaling
from ssrl_pipeline.scales import parse_scale, scale_of, view_of


class SSRLOutput(NamedTuple):
    scores: Tensor  # [B, T], 0 to 1
    magnitudes: Tensor  # [B, T], L2 norm of the features, mean over crops
    features: Tensor  # [B, C, T, F], what the scores are computed from


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

    def forward(self, features: Tensor) -> Tensor:
        """[..., F] -> scores [..., 1]."""
        return self.log_odds(features).sigmoid()

    def log_odds(self, features: Tensor) -> Tensor:
        """[..., F] -> [..., 1], of the scores."""
        last = cast(nn.Linear, self[-2])
        for layer in list(self)[:-2]:
            features = layer(features)
        with torch.autocast(features.device.type, enabled=False):
            return cast(Tensor, last(features.to(last.weight.dtype)))


class SSRL(nn.Module):
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
    """

    def __init__(
        self,
        feature_size: int = 1024,
        scales: Sequence[str] = ("2x3", "3x5", "4x7"),
        crops: int = 10,
        dropout: float = 0.7,
        share_relation: bool = False,
        patches: str = "relation",
    ):
        super().__init__()
        if feature_size < 8 or feature_size % 8:
            raise ValueError(f"feature_size is a multiple of 8, not {feature_size}")
        self.feature_size, self.scales, self.crops = feature_size, tuple(scales), crops
        if patches not in ("relation", "max"):
            raise ValueError(f"patches is relation or max, not {patches!r}")
        self.patches = nn.ModuleDict()  # empty where the greatest value stands for a scale
        shared = RelationBlock(feature_size) if share_relation and self.scales else None
        sizes = [(scale, *parse_scale(scale)) for scale in self.scales]
        for scale, rows, columns in sizes if patches == "relation" else ():
            patch_dropout = dropout if rows * columns > 15 else 0.0
            relation = shared or RelationBlock(feature_size)
            self.patches[scale] = PatchBranch(relation, feature_size, rows, columns, patch_dropout)
        self.relation = RelationBlock(feature_size)
        self.dropout = nn.Dropout(dropout)
        self.head = Head(feature_size, dropout)
        self.scaling = FeatureScaling(self.views, feature_size)

    @property
    def views(self) -> dict[str, int]:
        """view name -> number of crops or patches that :meth:`forward` takes."""
        sizes = {scale: parse_scale(scale) for scale in self.scales}
        return {"clip": self.crops} | {view_of(s): rows * columns for s, (rows, columns) in sizes.items()}

    def forward(self, views: Mapping[str, Tensor]) -> SSRLOutput:
        """Scores snippets.

        Args:
            views: "clip" [B, T, C, F] and, for each scale, "patchRxC" [B, T, R*C, F]
                or, under the name "RxC", what :meth:`branch` made of it [B, T, F].

        Raises:
            ValueError: a view is missing or has another shape.
        """
        self._check(views)
        clip = self.scaling("clip", views["clip"]).transpose(1, 2)  # [B, C, T, F]
        for scale in self.scales:
            added = views[scale] if scale in views else self.branch(scale, views[view_of(scale)])
            clip = clip + added[:, None]
        b, c, t, f = clip.shape
        features = self.dropout(self.relation(clip.reshape(b * c, t, f)))
        scores = self.head(features).view(b, c, t).mean(dim=1)
        magnitudes = features.norm(dim=2).view(b, c, t).mean(dim=1)
        return SSRLOutput(scores, magnitudes, features.view(b, c, t, f))

    def branch(self, scale: str, patches: Tensor) -> Tensor:
        """What one scale adds to the crops: [B, T, P, F] -> [B, T, F]."""
        scaled: Tensor = self.scaling(view_of(scale), patches)
        return self.patches[scale](scaled) if scale in self.patches else scaled.amax(dim=2)

    def _check(self, views: Mapping[str, Tensor]) -> None:
        for name, count in self.views.items():
            if scale_of(name) in views:
                continue
            if name not in views:
                raise ValueError(f"view {name!r} is missing; there are {', '.join(views) or 'none'}")
            shape = tuple(views[name].shape)
            # Any number of crops may be scored: they only meet in a mean.
            if len(shape) != 4 or shape[3] != self.feature_size or (name != "clip" and shape[2] != count):
                raise ValueError(f"view {name!r} is [B, T, {count}, {self.feature_size}], not {list(shape)}")

    @classmethod
    def from_reference_state_dict(cls, state_dict: Mapping[str, Tensor]) -> "SSRL":
        """The published code's model of any stage; see :mod:`ssrl_pipeline.models.reference`."""
        from ssrl_pipeline.models.reference import from_reference

        return from_reference(state_dict)
