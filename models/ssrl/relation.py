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

    def forward(self, x: Tensor, gathered: Tensor | None = None) -> Tensor:
        """[B, channels, N] -> the same; `gathered` as :meth:`RelationBlock.forward` takes it."""
        if gathered is not None:
            return x + self.norm(self.out(gathered @ self.theta(x)))
        theta, phi, g = self.theta(x), self.phi(x), self.g(x)  # [B, inner, N]
        n, inner = x.shape[2], theta.shape[1]
        # g (phi^T theta) / N = (g phi^T) theta / N: the second order's cost is linear in N.
        phi = phi.transpose(1, 2) / n
        y = (g @ phi) @ theta if n > inner else g @ (phi @ theta)
        return x + self.norm(self.out(y))

    def gather(self, x: Tensor) -> Tensor:
        """The sum of g phi^T over elements [B, channels, n]: [B, inner, inner]."""
        g: Tensor = self.g(x)
        return g @ self.phi(x).transpose(1, 2)


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

    def forward(self, x: Tensor, gathered: Tensor | None = None) -> Tensor:
        """Elements among their neighbours.

        Args:
            x: [B, N, F]; of a stretch, results less than :attr:`reach` from a cut end are wrong.
            gathered: where x is a stretch of a sequence, what the non-local block needs of it all:
                :meth:`gather` of the whole sequence, divided by its length.

        Returns:
            [B, N, F].
        """
        x = x.transpose(1, 2)  # [B, F, N]
        branches = [branch(x) for branch in self.local]
        branches.append(self.non_local(self.reduce(x), gathered))
        return (x + self.fuse(torch.cat(branches, dim=1))).transpose(1, 2)

    def gather(self, x: Tensor) -> Tensor:
        """What the non-local block takes from elements [B, n, F], as a sum over them: [B, inner, inner]."""
        return self.non_local.gather(self.reduce(x.transpose(1, 2)))

    @property
    def reach(self) -> int:
        """How many neighbours to either side the convolutions look at."""

        def farthest(part: nn.Module) -> int:
            return max(int(conv.padding[0]) for conv in part.modules() if isinstance(conv, nn.Conv1d))

        return farthest(self.local) + farthest(self.fuse)
