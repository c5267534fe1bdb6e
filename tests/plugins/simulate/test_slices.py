"""What a slice averages along the table."""

import numpy as np
import pytest
import torch

from plugins.ct_harmonizer.simulate.phantom.chest import build
from plugins.ct_harmonizer.simulate.phantom.patient import Emphysema, Lesion, Patient
from plugins.ct_harmonizer.simulate.polar import Grid
from plugins.ct_harmonizer.simulate.slices import cut

GRID = Grid(344, 1.35)


def heights(first, count, step):
    return first - step * np.arange(count)


def test_a_helical_slice_weighs_its_neighbours_to_a_triangle_of_its_half_width():
    slices = cut(heights(10.0, 5, 1.0), 1.0, GRID, "helical")
    assert len(slices.canvas.z_mm) == 12  # neighbours share what they average
    assert slices.canvas.thickness_mm == 0.5
    assert sum(slices.weights) == pytest.approx(1)
    z = slices.canvas.z_mm[slices.index]
    assert np.einsum("ij,j->i", z, slices.weights) == pytest.approx(heights(10.0, 5, 1.0))
    spread = np.sqrt(np.einsum("ij,j->i", (z - z.mean(axis=1, keepdims=True)) ** 2, slices.weights) + 0.5**2 / 12)
    assert spread == pytest.approx(np.sqrt(1 / 6))  # of a triangle of half width 1


def seen(profile):
    """Area in mm2 of a ball of 8 mm in each slice of 3 mm, 0.75 mm apart."""
    patient = Patient(nodules=(Lesion(8.0, margin="smooth"),), emphysema=Emphysema(0.0))
    slices = cut(heights(-20.0, 40, 0.75), 3.0, GRID, profile)
    chest = build(slices.canvas, patient, 0.02, lambda _share: None)
    area = np.array([float(one.nodule.sum()) for one in slices.of(chest)]) * GRID.pixel_mm**2
    return area, chest.nodules[0].mesh().volume_mm3


def test_a_nodule_is_spread_over_more_slices_of_a_helix_and_keeps_its_volume():
    spread = []
    for profile in ("axial", "helical"):
        area, volume_mm3 = seen(profile)
        assert area.sum() * 0.75 == pytest.approx(volume_mm3, rel=0.06)
        middle = np.average(np.arange(40), weights=area)
        spread.append(0.75 * np.sqrt(np.average((np.arange(40) - middle) ** 2, weights=area)))
    # Variances add: a ball's a fifth of its radius squared, a box's a twelfth, a triangle's a sixth of the thickness squared.
    assert spread[0] == pytest.approx(np.sqrt(4**2 / 5 + 3**2 / 12), rel=0.06)
    assert spread[1] == pytest.approx(np.sqrt(4**2 / 5 + 3**2 / 6), rel=0.06)


def test_an_oblique_surface_far_from_the_next_slice_is_as_soft_as_beside_it():
    """The dome of the diaphragm, with slices 1 mm and 40 mm apart."""
    near, far = (
        build(cut(z_mm, 4.0, GRID, "axial").canvas, Patient(emphysema=Emphysema(0.0)), 0.02, lambda _share: None)
        for z_mm in (heights(-78.0, 5, 1.0), heights(-40.0, 2, 40.0))
    )
    below = [chest.anatomy["liver"][number] for chest, number in ((near, 2), (far, 1))]
    assert torch.equal(near.anatomy["liver"][2] < 0, far.anatomy["liver"][1] < 0)
    close = below[0].abs() < 3
    assert float((below[0] - below[1])[close].abs().mean()) < 0.1
