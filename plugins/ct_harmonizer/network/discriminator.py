"""The adversary in training: five layers, fully convolutional, without norm, so that the gradient penalty is of each image's own."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn


class Discriminator(nn.Module):
    """Source and candidate (B, 1, H, W) each, to a map of how true the candidate looks (B, 1, H/8 - 2, W/8 - 2)."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        widths = (2, width, 2 * width, 4 * width, 8 * width)
        strides = (2, 2, 2, 1)
        self.layers = nn.ModuleList(
            nn.Conv2d(inner, outer, 4, stride=stride, padding=1)
            for inner, outer, stride in zip(widths[:-1], widths[1:], strides, strict=True)
        )
        self.last = nn.Conv2d(widths[-1], 1, 4, padding=1)

    def forward(self, source: Tensor, candidate: Tensor) -> Tensor:
        x = torch.cat([source, candidate], dim=1)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
        score: Tensor = self.last(x)
        return score
