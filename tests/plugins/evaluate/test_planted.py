"""Planted nodules: what was kept of them and what was made up is told from made-up arrays, and a real scan by the filter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from plugins.ct_harmonizer.evaluate import acquire, planted
from plugins.ct_harmonizer.evaluate.planted import Finding
from plugins.ct_harmonizer.simulate.phantom.patient import Emphysema, Lesion, Patient

SPACING = (2.0, 0.8, 0.8)
TWO = (((4.0, 20.0, 20.0), 4.0), ((5.0, 20.0, 29.0), 6.0))  # 7 mm apart: what surrounds one reaches into the other


def _balls(contrasts_hu: tuple[float, ...]) -> np.ndarray:
    """Differences (slice, row, column) that the two nodules make."""
    at = np.meshgrid(*(np.arange(n, dtype=float) for n in (9, 40, 48)), indexing="ij")
    volume = np.zeros((9, 40, 48), np.float32)
    for (centre, diameter), contrast in zip(TWO, contrasts_hu, strict=True):
        away = np.sqrt(sum(((x - c) * step) ** 2 for x, c, step in zip(at, centre, SPACING, strict=True)))
        volume += (contrast * (away <= diameter / 2)).astype(np.float32)
    return volume


def test_all_half_and_nothing_of_a_nodule_is_kept_beside_another() -> None:
    truth = _balls((890.0, 240.0))
    for contrasts, expected in (((890, 240), (1, 1)), ((445, 240), (0.5, 1)), ((890, 0), (1, 0)), ((0, 120), (0, 0.5))):
        assert planted.kept(_balls(contrasts), truth, TWO, SPACING) == pytest.approx(expected)


def test_a_nodule_that_the_truth_does_not_show_is_no_nodule() -> None:
    with pytest.raises(ValueError, match="changes nothing in the truth"):
        planted.kept(_balls((890.0, 0.0)), _balls((890.0, 0.0)), TWO, SPACING)


def test_the_ball_has_its_volume_however_blurred() -> None:
    sharp = planted.ball(None, SPACING)
    soft = planted.ball(planted.judged()["Eq. 2 filter"].target, SPACING)
    volume = 4 / 3 * np.pi * 2**3 * 890
    assert np.array_equal(sharp, sharp[::-1, ::-1, ::-1])
    assert sharp.sum() * np.prod(SPACING) == pytest.approx(volume, rel=0.02)
    assert soft.sum() == pytest.approx(sharp.sum(), rel=0.02)
    assert np.sum(soft**2) < 0.9 * np.sum(sharp**2)


def test_a_false_ball_is_found_where_it_counts() -> None:
    template = planted.ball(None, SPACING)
    residual = np.random.default_rng(0).normal(0, 30, (9, 40, 48)).astype(np.float32)
    everywhere = np.ones(residual.shape, bool)
    assert planted.largest_false(residual, everywhere, template) < 0.1
    depth, rows, columns = template.shape
    residual[2 : 2 + depth, 5 : 5 + rows, 7 : 7 + columns] += 0.7 * template
    assert planted.largest_false(residual, everywhere, template) == pytest.approx(0.7, abs=0.05)
    assert planted.largest_false(-residual, everywhere, template) < 0.2  # a hole is no nodule
    elsewhere = everywhere.copy()
    elsewhere[:, :30, :30] = False
    assert planted.largest_false(residual, elsewhere, template) < 0.1
    with pytest.raises(ValueError, match="no place"):
        planted.largest_false(residual, ~everywhere, template)


def test_places_are_away_from_vessels_and_from_the_ends_of_the_stack() -> None:
    lungs = np.ones((5, 21, 21), bool)
    lungs[:, 10, 10] = False
    places = planted.away(lungs, SPACING)
    assert not places[[0, -1]].any()
    assert not places[2, 10, 7:14].any()  # 3 pixels are 2.4 mm
    assert places[2, 10, 6]  # 4 pixels are 3.2 mm


def test_a_line_of_the_table_fails_where_one_nodule_is_dimmed() -> None:
    clear = Finding(1, "soft", "filter", (1.0, 0.95, 0.9, 0.92, 1.02, 0.91), 0.1)
    dimmed = replace(clear, phantom=2, rendition="sharp", kept=(1.0, 0.95, 0.89, 0.92, 1.02, 0.91), false=0.25)
    _, _, soft, sharp = planted.table([clear, dimmed]).splitlines()
    # 4, 6, 10 mm solid, then ground glass
    assert soft == "| filter | soft | 1.00 | 1.02 | 0.90 | 0.91 | 0.95 | 0.92 | 0.90 | 6 of 6 | pass | 0.10 |"
    assert sharp.endswith("| 0.89 | 5 of 6 | FAIL | 0.25 |")


def test_a_scan_with_nodules_and_its_twin_by_the_filter(monkeypatch) -> None:
    lesions = (Lesion(10.0, "solid", "smooth"), Lesion(10.0, "ground-glass", "smooth"))
    monkeypatch.setattr(planted, "NODULES", lesions)
    monkeypatch.setattr(planted, "RENDITIONS", ("Force Br49 20 mAs",))
    made, plant = [], acquire.twins
    monkeypatch.setattr(acquire, "twins", lambda *given: made.append(plant(*given)) or made[0])
    methods = {name: planted.judged()[name] for name in ("identity", "Eq. 2 filter")}
    healthy = Patient(5, emphysema=Emphysema(0.0))
    identity, linear = planted.findings(5, healthy, methods, slices=5, matrix=256)
    (pair,) = made
    changed = np.abs(pair.planted.truth_hu - pair.plain.truth_hu) > 1e-3
    near = np.any(planted.regions(changed.shape, pair.planted.nodules, pair.plain.spacing_mm), axis=0)
    assert changed.any()
    assert not (changed & ~near).any()  # all else is the same patient
    assert all(0.85 < share < 1.1 for share in (*identity.kept, *linear.kept))
    assert all(0 < one.false < 0.5 for one in (identity, linear))  # noise, and edges of the lung
