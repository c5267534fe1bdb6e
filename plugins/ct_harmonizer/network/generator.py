"""The generator: G(I, MTF) = O( F^-1( Lambda( F(Gamma(I)), Omega(MTF) ) ) ) (Zarei et al. 2024, Eq. 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from plugins.ct_harmonizer.network.architecture import FULL, Architecture
from plugins.ct_harmonizer.network.gamma import Gamma
from plugins.ct_harmonizer.network.lambda_ import Lambda
from plugins.ct_harmonizer.network.omega import Omega
from plugins.ct_harmonizer.network.output import Output


class Generator(nn.Module):
    """Harmonizes normalised slices by the MTF they were made with. No slice knows of another in the batch."""

    def __init__(self, architecture: Architecture = FULL) -> None:
        super().__init__()
        self.architecture = architecture
        self.gamma = Gamma(architecture.widths, architecture.maps)
        self.omega = Omega(architecture.omega)
        self.lambda_ = Lambda(architecture.maps, architecture.omega)
        self.output = Output(architecture.maps, architecture.output)

    def forward(self, image: Tensor, mtf: Tensor) -> Tensor:
        """Image (B, 1, H, W), normalised; MTF (B, 1, 64, 64), frequency 0 in the middle; to the harmonized image (B, 1, H, W)."""
        rows, columns = image.shape[-2:]
        padded = self.architecture.padded(image)
        maps = self.gamma(padded)
        with torch.autocast(image.device.type, enabled=False):  # there is no FFT in bf16
            spectrum = torch.fft.rfft2(maps.float(), norm="ortho")
            omega = self.omega(mtf.float(), (padded.shape[-2], padded.shape[-1]))
            filtered = torch.fft.irfft2(self.lambda_(spectrum, omega), s=padded.shape[-2:], norm="ortho")
        result: Tensor = self.output(filtered, padded)
        return result[..., :rows, :columns]
