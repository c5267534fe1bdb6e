"""O: two convolutions, and one long attention path from the input."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn


class Output(nn.Module):
    """Maps (B, maps, H, W) and the input (B, 1, H, W) to the image (B, 1, H, W). An untrained one gives the input back."""

    def __init__(self, maps: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(maps + 1, hidden, 3, padding=1)
        self.second = nn.Conv2d(hidden, 1, 3, padding=1)
        self.attention = nn.Conv2d(maps + 1, 1, 1)
        for last in (self.second, self.attention):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, maps: Tensor, image: Tensor) -> Tensor:
        seen = torch.cat([image, maps], dim=1)
        long_path = 2 * torch.sigmoid(self.attention(seen)) * image
        image_out: Tensor = long_path + self.second(F.silu(self.first(seen)))
        return image_out
