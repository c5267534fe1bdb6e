"""How much one patient's figure hangs on the rendition, and how it lies about the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Agreement:
    """Bland and Altman, Lancet 327:307 (1986)."""

    bias: float  # mean difference
    low: float  # limits of agreement: bias -+ 1.96 SD of the differences
    high: float
    count: int


def spread(by_phantom: Mapping[int, Sequence[float]]) -> dict[int, float]:
    """The standard deviation (n - 1) of each phantom's figure across its renditions; phantoms of one rendition are left out."""
    return {phantom: float(np.std(values, ddof=1)) for phantom, values in by_phantom.items() if len(values) > 1}


def agreement(values: Sequence[float], truths: Sequence[float]) -> Agreement:
    """Of at least two pairs."""
    difference = np.subtract(values, truths)
    bias, deviation = float(difference.mean()), float(difference.std(ddof=1))
    return Agreement(bias, bias - 1.96 * deviation, bias + 1.96 * deviation, difference.size)
