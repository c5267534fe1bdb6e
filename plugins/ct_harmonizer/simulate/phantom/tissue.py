"""HU of each tissue at 120 kVp, and the fields that make tissue uneven."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

AIR = -1000.0
SKIN = 76.0
SKIN_MM = 1.8
FAT = -102.0
MUSCLE = 43.0
BLOOD = 57.0
OESOPHAGUS = 30.0
LIVER = 58.0
CARTILAGE = 106.0
CORTEX = {
    "ribs": 1400.0, "scapula": 1000.0, "sternum": 550.0, "clavicle": 1300.0, "humerus": 1600.0, "arch": 900.0, "column": 750.0
}  # fmt: skip
CORTEX_MM = {
    "ribs": 1.0,
    "scapula": 1.2,
    "sternum": 1.0,
    "clavicle": 1.6,
    "humerus": 3.5,
    "arch": 1.4,
    "column": 0.9,
}  # thickness of the dense rim
MARROW = 150.0
DISC = 85.0
CORD = 28.0
VESSEL = 52.0
NODULE = 42.0
GLASS = -620.0  # a ground-glass nodule
HAZE = 190.0  # what ground glass adds to lung
AIRWAY_WALL = 10.0
FISSURE = -680.0
EMPHYSEMA = -966.0
MATTRESS = -940.0
COUCH_SHELL = -250.0
COUCH_CORE = -925.0

LUNG_MIDDLE = -868.0
LUNG_GRADIENT_PER_MM = 0.32  # lying on the back, the lower lung is denser


def noise(generator: torch.Generator, gaps_mm: Sequence[float], size: int, cells: float, length_mm: float) -> Tensor:
    """Smooth random fields (slice, row, column), mean 0, SD 1.

    Args:
        generator: the source of chance.
        gaps_mm: from each slice to the next, one fewer than slices.
        size: pixels along a side.
        cells: standard deviation of the smoothing, in pixels.
        length_mm: over which the correlation of slices falls to 1/e.
    """
    reach = max(1, math.ceil(3 * cells))
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / cells) ** 2)
    taps = taps / taps.norm()
    fields = torch.empty(len(gaps_mm) + 1, size, size)
    for number, gap_mm in enumerate((math.inf, *gaps_mm)):
        white = torch.randn(1, 1, size + 2 * reach, size + 2 * reach, generator=generator)
        fields[number] = F.conv2d(F.conv2d(white, taps.view(1, 1, 1, -1)), taps.view(1, 1, -1, 1))[0, 0]
        memory = math.exp(-gap_mm / length_mm)
        if memory > 0:
            fields[number].mul_(math.sqrt(1 - memory**2)).add_(fields[number - 1], alpha=memory)
    return fields
