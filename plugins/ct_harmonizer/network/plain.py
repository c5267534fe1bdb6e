"""The U-Net without physics: what the paper's ablation compares with. It does not see the MTF."""

from __future__ import annotations

from torch import Tensor, nn

from plugins.ct_harmonizer.network.architecture import PLAIN, Architecture
from plugins.ct_harmonizer.network.gamma import Gamma


class PlainUNet(nn.Module):
    """Image (B, 1, H, W) to image; the second argument is for the generator's sake, and not looked at."""

    def __init__(self, architecture: Architecture = PLAIN) -> None:
        super().__init__()
        self.architecture = architecture
        self.gamma = Gamma(architecture.widths, 1)
        nn.init.zeros_(self.gamma.head.weight)
        nn.init.zeros_(self.gamma.head.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor, _mtf: Tensor | None = None) -> Tensor:
        rows, columns = image.shape[-2:]
        padded = self.architecture.padded(image)
        result: Tensor = padded + self.gamma(padded)
        return result[..., :rows, :columns]
