"""Relation blocks: which element of a sequence stands out among the others (SSRL, section 3.3; RTFM's MTN).

Dimensions: B sequences, N elements, F feature size.
"""

import torch
from torch import Tensor, nn


class NonLocal(nn.Module):
    """Embedded dot products over a whole sequence, without softmax; starts as the identity."""

    def __init__(self, channels: int):
        super().__init__()
        inner = channels // 2
        self.theta = nn.Conv1d(channels, inner, 1)
        self.phi = nn.Conv1d(channels, inner, 1)
        self.g = nn.Conv1d(channels, inner, 1)
        self.out = nn.Conv1d(inner, channels, 1)
        self.norm = nn.BatchNorm1d(channels)
        nn.init.zeros_(self.norm.weight)
        nn.init.zeros_(self.norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, N] -> [B, channels, N]."""
        theta, phi, g = self.theta(x), self.phi(x), self.g(x)  # [B, inner, N]
        n, inner = x.shape[2], theta.shape[1]
        # g (phi^T theta) / N = (g phi^T) theta / N: the second order's cost is linear in N.
        phi = phi.transpose(1, 2) / n
        y = (g @ phi) @ theta if n > inner else g @ (phi @ theta)
        return x + self.norm(self.out(y))


class RelationBlock(nn.Module):
    """Dilated convolutions for near relations, a non-local block for far ones, and a residual."""

    def __init__(self, feature_size: int):
        super().__init__()
        width = feature_size // 4
        self.local = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(feature_size, width, 3, dilation=dilation, padding=dilation),
                nn.ReLU(),
                nn.BatchNorm1d(width),
            )
            for dilation in (1, 2, 4)
        )
        self.reduce = nn.Sequential(nn.Conv1d(feature_size, width, 1, bias=False), nn.ReLU())
        self.non_local = NonLocal(width)
        self.fuse = nn.Sequential(
            nn.Conv1d(feature_size, feature_size, 3, padding=1, bias=False),
            nn.ReLU(),
            nn.BatchNorm1d(feature_size),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, F] -> [B, N, F]."""
        x = x.transpose(1, 2)  # [B, F, N]
        branches = [branch(x) for branch in self.local]
        branches.append(self.non_local(self.reduce(x)))
        return (x + self.fuse(torch.cat(branches, dim=1))).transpose(1, 2)
