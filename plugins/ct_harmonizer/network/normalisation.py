"""What networks see: HU as (HU - 1024) / 2048, and the MTF in two dimensions, both as in the paper."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MTF_SIZE = 64
_HALF_RANGE_HU = 2048.0
_CENTRE_HU = 1024.0

Values = TypeVar("Values", Tensor, NDArray[np.float32])


def from_hu(hu: Values) -> Values:
    return (hu - _CENTRE_HU) / _HALF_RANGE_HU


def to_hu(values: Values) -> Values:
    return values * _HALF_RANGE_HU + _CENTRE_HU


def mtf_2d(frequency_per_mm: Tensor, mtf: Tensor, pixel_mm: tuple[float, float]) -> Tensor:
    """The curve laid on the image's own frequencies.

    Args:
        frequency_per_mm: (frequency,), evenly rising from 0, cycles/mm.
        mtf: (batch, frequency).
        pixel_mm: rows, columns: the image's Nyquist frequencies are 1 / (2 pixel).

    Returns:
        (batch, 1, 64, 64), frequency 0 in the middle, at [32, 32]; 0 beyond the curve's last frequency.
    """
    rows, columns = (torch.fft.fftshift(torch.fft.fftfreq(MTF_SIZE, mm)).to(mtf) for mm in pixel_mm)
    place = torch.hypot(rows[:, None], columns[None, :]) / float(frequency_per_mm[1] - frequency_per_mm[0])
    low = place.long().clamp(max=mtf.shape[1] - 2)
    share = place - low
    within = place <= mtf.shape[1] - 1
    laid = mtf[:, low] * (1 - share) + mtf[:, low + 1] * share
    return (laid * within)[:, None]
