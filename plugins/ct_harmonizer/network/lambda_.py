"""Lambda: the convolution over the real and imaginary parts of the spectrum.

It sees the spectrum as it is and as the MTF's maps multiply it, since the paper's Eq. 2 is a product. Its last layer starts at zero: an untrained network
leaves the spectrum as it was.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Lambda(nn.Module):
    """Spectrum (B, maps, H, W/2 + 1), complex, and the MTF's maps (B, omega, H, W/2 + 1) to a spectrum, complex. In fp32."""

    def __init__(self, maps: int, omega: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(omega, maps, 1)
        self.convolution = nn.Conv3d(2 * maps, maps, (3, 1, 1), padding=(1, 0, 0))
        nn.init.zeros_(self.convolution.weight)
        nn.init.zeros_(self.convolution.bias)  # type: ignore[arg-type]

    def forward(self, spectrum: Tensor, mtf: Tensor) -> Tensor:
        product = spectrum * self.mix(mtf)
        both = torch.cat([spectrum, product], dim=1)
        parts = torch.stack([both.real, both.imag], dim=2)  # (B, 2 maps, 2, H, W/2 + 1)
        change = self.convolution(parts)
        return spectrum + torch.complex(change[:, :, 0].contiguous(), change[:, :, 1].contiguous())
