"""Iterative reconstruction as its images look: noise is lowered where no edge is, the more the higher the strength.

Vendors do not publish what they do. Here a self-guided filter (He, Sun, Tang, IEEE TPAMI 35:1397, 2013) smooths what is not an edge, and a share of
what it took away is taken from the image: noise falls by 35, 47 and 62 % at strength 3, 4 and 5 while its texture changes little, as is
reported for ADMIRE (Solomon et al., Med Phys 42:4417, 2015), and small low-contrast detail loses resolution.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

NOISE_LEFT = {0: 1.0, 1: 0.88, 2: 0.76, 3: 0.65, 4: 0.53, 5: 0.38}  # of filtered back-projection, by strength

_WINDOW_MM = 4.0  # radius
_EDGE = 2.5  # structure under this many standard deviations of the noise is smoothed
_PASSES = 2


def regularise(images_hu: Tensor, pixel_mm: float, strength: int) -> Tensor:
    """Images (slice, row, column) in HU at a strength of 0, as they are, to 5.

    Raises:
        ValueError: another strength.
    """
    if strength not in NOISE_LEFT:
        raise ValueError(f"no strength {strength}; there are 0 to 5")
    if strength == 0:
        return images_hu
    smooth = images_hu
    noise = noise_hu(images_hu)
    radius = max(1, round(_WINDOW_MM / pixel_mm))
    for _ in range(_PASSES):
        smooth = _guided(smooth, radius, (_EDGE * noise) ** 2)
    return images_hu + (1 - NOISE_LEFT[strength]) * (smooth - images_hu)


def noise_hu(images_hu: Tensor) -> Tensor:
    """(slice, 1, 1): deviation of the noise in the body, from the median deviation in small squares of soft tissue and lung alike."""
    squares = F.avg_pool2d(images_hu[:, None], 7, 7), F.avg_pool2d(images_hu[:, None] ** 2, 7, 7)
    spread = (squares[1] - squares[0] ** 2).clamp(min=0).sqrt().flatten(1)
    mean = squares[0].flatten(1)
    inside = torch.where((mean > -960) & (mean < 300), spread, torch.nan)
    return torch.nanquantile(inside, 0.3, dim=1).nan_to_num(0.0)[:, None, None]


def _guided(image: Tensor, radius: int, edge: Tensor) -> Tensor:
    """The guided filter with the image as its own guide."""
    mean, square = _box(image, radius), _box(image * image, radius)
    variance = (square - mean * mean).clamp(min=0)
    gain = variance / (variance + edge).clamp(min=1e-6)
    return _box(gain, radius) * image + _box((1 - gain) * mean, radius)


def _box(image: Tensor, radius: int) -> Tensor:
    """Mean over a square, mirrored at the border."""
    size = 2 * radius + 1
    padded = F.pad(image[:, None], (radius,) * 4, mode="reflect")
    return F.avg_pool2d(F.avg_pool2d(padded, (size, 1), 1), (1, size), 1)[:, 0]
