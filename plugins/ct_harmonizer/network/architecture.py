"""What a network is made of, and how large it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Architecture:
    """The defaults are the full generator; `SMALL` trains on a processor. The plain ones are the ablation's U-Net."""

    widths: tuple[int, ...] = (48, 96, 192, 384, 768)  # of Gamma's levels
    maps: int = 8  # that Gamma hands on, at full resolution
    omega: int = 8  # maps of the MTF
    output: int = 16  # of O's hidden layer
    physics: bool = True  # or Gamma alone, which does not see the MTF

    def padded(self, image: Tensor) -> Tensor:
        """An image (..., H, W) with its last rows and columns repeated, to sides that Gamma can halve as often as it does."""
        multiple = 2 ** len(self.widths)
        rows, columns = image.shape[-2:]
        return F.pad(image, (0, -columns % multiple, 0, -rows % multiple), mode="replicate")


FULL = Architecture()
SMALL = Architecture(widths=(24, 48, 96, 128), maps=4, omega=4, output=8)
PLAIN = Architecture(widths=(64, 128, 256, 512, 944), maps=1, physics=False)  # 29 M parameters, as the paper's
SMALL_PLAIN = Architecture(widths=SMALL.widths, maps=1, physics=False)
