"""Omega: two transposed convolutions that bring the MTF to the size of the image's spectrum."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn


class Omega(nn.Module):
    """(B, 1, 64, 64), frequency 0 in the middle, to (B, maps, H, W/2 + 1) on the half plane of a real FFT.

    The transposed convolutions give 256 x 256 maps over the same frequencies; those of an image of another size lie between them.
    """

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.first = nn.ConvTranspose2d(1, 2 * maps, 4, stride=2, padding=1)
        self.second = nn.ConvTranspose2d(2 * maps, maps, 4, stride=2, padding=1)

    def forward(self, mtf: Tensor, shape: tuple[int, int]) -> Tensor:
        maps = self.second(F.silu(self.first(mtf)))
        # Frequency f, in cycles a pixel, lies at element 64 f + 32 of the MTF, and there is the middle of four elements of the maps.
        down, across = (torch.fft.fftfreq(length) for length in shape)
        rows, columns = ((2 * (of + 0.5 / 64)).to(maps) for of in (down, across[: shape[1] // 2 + 1].abs()))
        grid = torch.stack([columns.expand(len(rows), -1), rows[:, None].expand(-1, len(columns))], dim=-1)
        return F.grid_sample(maps, grid.expand(len(maps), -1, -1, -1), align_corners=False, padding_mode="border")
