"""Intervals by phantom, against scipy's bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from plugins.ct_harmonizer.evaluate.statistics import estimate, paired_gain


def test_the_interval_is_scipys_within_its_own_chance() -> None:
    values = np.random.default_rng(3).gamma(2, 3, 14)
    found = estimate(dict(enumerate(values)))
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=9999, rng=1).confidence_interval
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(theirs.low, rel=0.04)
    assert found.high == pytest.approx(theirs.high, rel=0.04)
    assert found.deviation == pytest.approx(values.std(ddof=1))


def test_a_gain_is_of_pairs_and_far_narrower_than_what_phantoms_differ_by() -> None:
    before = {number: 10.0 * number for number in range(8)}
    after = {number: 10.0 * number + 1 + 0.1 * (number % 3) for number in range(8)} | {99: 1.0}
    found = paired_gain(after, before)
    assert found.phantoms == 8
    assert 1 < found.low <= found.mean <= found.high < 1.2


def test_no_phantom_is_no_estimate() -> None:
    with pytest.raises(ValueError, match="one phantom"):
        estimate({})
