"""Spread and agreement, on numbers whose figures can be counted."""

from __future__ import annotations

import statistics

import pytest

from plugins.ct_harmonizer.evaluate.variability import agreement, spread


def test_spread_is_each_phantoms_own() -> None:
    assert spread({1: [1, 2, 3], 2: [5, 5.5], 3: [9]}) == {
        1: pytest.approx(1),
        2: pytest.approx(statistics.stdev([5, 5.5])),
    }


def test_limits_of_agreement_lie_1_96_deviations_about_the_bias() -> None:
    found = agreement([2, 4, 9, 7], [1, 2, 3, 4])
    differences = [1, 2, 6, 3]
    assert found.bias == pytest.approx(statistics.mean(differences))
    assert found.high - found.bias == pytest.approx(1.96 * statistics.stdev(differences))
    assert found.bias - found.low == pytest.approx(found.high - found.bias)
    assert found.count == 4
