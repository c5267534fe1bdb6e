"""ComBat: batch effects taken out of features by location and scale, shrunk by empirical Bayes.

Johnson, Li and Rabinovic, Biostatistics 8:118 (2007); with a reference batch that stays as it is: Stein et al., BMC Bioinformatics 16:63 (2015).
A batch here is a rendition, a sample a patient, a feature a figure such as LAA-950.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_CONVERGED = 1e-4
_ITERATIONS = 1000


@dataclass(frozen=True, slots=True)
class _Standard:
    """Features without what covariates and the grand mean explain, in units of their pooled deviation."""

    values: Array  # (sample, feature)
    expected: Array  # (sample, feature), what was taken off
    deviation: Array  # (feature,)


def combat(
    features: Array,
    batches: Sequence[str],
    *,
    covariates: Array | None = None,
    reference: str | None = None,
    empirical_bayes: bool = True,
) -> Array:
    """Features (sample, feature) without batch effects.

    Args:
        features: (sample, feature), finite.
        batches: the batch of each sample; each batch has two samples at least.
        covariates: (sample, covariate), numbers whose effect is kept.
        reference: the batch that the others are brought to, returned unchanged; None brings all to the mean of all.
        empirical_bayes: shrink each batch's location and scale towards those of its other features; needs two features at least.

    Raises:
        ValueError: a batch of one sample, or no batch of the name of the reference.
    """
    labels = np.asarray(batches)
    names = sorted(set(batches))
    members = [labels == name for name in names]
    if min(int(each.sum()) for each in members) < 2:
        raise ValueError("each batch needs two samples at least")
    if reference is not None and reference not in names:
        raise ValueError(f"the reference batch {reference!r} is none of {', '.join(names)}")
    standard = _standardised(features, members, covariates, names.index(reference) if reference is not None else None)
    adjusted = standard.values.copy()
    for name, member in zip(names, members, strict=True):
        if name == reference:
            continue
        own = standard.values[member]
        location, scale = own.mean(axis=0), own.var(axis=0, ddof=1)
        scale[scale == 0] = 1  # a figure at the scanner's floor in all of the batch
        if empirical_bayes:
            location, scale = _shrunk(own, location, scale)
        adjusted[member] = (own - location) / np.sqrt(scale)
    out = adjusted * standard.deviation + standard.expected
    if reference is not None:
        out[labels == reference] = features[labels == reference]
    return np.asarray(out)


def _standardised(
    features: Array, members: list[NDArray[np.bool_]], covariates: Array | None, reference: int | None
) -> _Standard:
    """Least squares of batch means and covariates; the grand mean is the reference's, or the mean of all samples."""
    design = np.column_stack([*members, *([] if covariates is None else [covariates])]).astype(np.float64)
    batches = len(members)
    if reference is not None:
        design[:, reference] = 1  # the others' coefficients are then their distance from the reference
    effects, *_ = np.linalg.lstsq(design, features, rcond=None)
    fitted = design @ effects
    shares = np.array([each.mean() for each in members])
    grand = effects[reference] if reference is not None else shares @ effects[:batches]
    counted = members[reference] if reference is not None else np.ones(len(features), bool)
    deviation = np.sqrt(np.mean((features - fitted)[counted] ** 2, axis=0))
    expected = np.broadcast_to(grand, features.shape) + design[:, batches:] @ effects[batches:]
    return _Standard((features - expected) / deviation, expected, deviation)


def _shrunk(own: Array, location: Array, scale: Array) -> tuple[Array, Array]:
    """Posterior location and scale of one batch under a normal and an inverse gamma prior, whose moments are those over the features."""
    count = len(own)
    prior_mean, prior_variance = location.mean(), location.var(ddof=1)
    mean, variance = scale.mean(), scale.var(ddof=1)
    alpha, beta = (2 * variance + mean**2) / variance, (mean * variance + mean**3) / variance
    gamma, delta = location, scale
    for _ in range(_ITERATIONS):
        gamma_next = (count * prior_variance * location + delta * prior_mean) / (count * prior_variance + delta)
        squares = np.sum((own - gamma_next) ** 2, axis=0)
        delta_next = (squares / 2 + beta) / (count / 2 + alpha - 1)
        change = max(np.max(np.abs(gamma_next - gamma) / np.abs(gamma)), np.max(np.abs(delta_next - delta) / delta))
        gamma, delta = gamma_next, delta_next
        if change < _CONVERGED:
            break
    return gamma, delta
