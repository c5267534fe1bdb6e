"""Intervals by phantom: slices and renditions of one phantom are not independent, phantoms are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over phantoms with its 95 % interval, and the standard deviation between them."""

    mean: float
    low: float
    high: float
    deviation: float  # n - 1; 0 for one phantom
    phantoms: int


def estimate(by_phantom: Mapping[int, float], seed: int = 0) -> Estimate:
    """The mean of phantoms' own means. The interval is the bootstrap's: phantoms drawn anew, 2.5th and 97.5th percentile of the means.

    Raises:
        ValueError: there is no phantom.
    """
    values = np.array([by_phantom[phantom] for phantom in sorted(by_phantom)], np.float64)
    if not values.size:
        raise ValueError("an estimate needs one phantom at least")
    drawn = np.random.default_rng(seed).integers(values.size, size=(RESAMPLES, values.size))
    low, high = np.percentile(values[drawn].mean(axis=1), (2.5, 97.5)).tolist()
    deviation = float(values.std(ddof=1)) if values.size > 1 else 0.0
    return Estimate(float(values.mean()), low, high, deviation, values.size)


def paired_gain(better: Mapping[int, float], worse: Mapping[int, float], seed: int = 0) -> Estimate:
    """The mean difference `better - worse` over the phantoms that both have."""
    both = better.keys() & worse.keys()
    return estimate({phantom: better[phantom] - worse[phantom] for phantom in both}, seed)
