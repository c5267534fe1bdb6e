"""Two cylinders side by side with gecatsim, whose figures lie recorded; tests/bench/test_gecatsim.py makes them anew."""

import json

import pytest
import torch
from gecatsim_cylinders import CENTRE_MM, COLUMNS, MAS, PITCH_MM, RADIUS_MM, RECORD, VIEWS, read

from plugins.ct_harmonizer.simulate.scanner import Scanner, count, expose, project

GECATSIM = json.loads(RECORD.read_text())


@pytest.fixture(scope="module")
def ours(grid, disc):
    scanner = Scanner(views=VIEWS // 2, bins=COLUMNS, pitch_mm=PITCH_MM, tube_current_time_mas=MAS)
    with_inserts = -1000 + 1000 * disc(0, 0, 150)
    for name, centre in CENTRE_MM.items():
        with_inserts += GECATSIM["hu_at_68_kev"][name] * disc(*centre, RADIUS_MM[name])
    water = -1000 + 1000 * disc(0, 0, 100)
    exposure = expose(project(torch.stack([with_inserts, water]), grid, scanner, grid.pixel_mm), scanner)
    clean, noisy = count(exposure, scanner, None)[0], count(exposure, scanner, torch.Generator().manual_seed(1))[1]
    return read(clean.numpy(), noisy.numpy())


@pytest.mark.parametrize("material", ["water", "lung", "adipose", "muscle"])
def test_soft_tissue_has_the_same_hu(ours, material):
    assert ours["hu"][material] == pytest.approx(GECATSIM["hu"][material], abs=1)


def test_bone_reads_as_low_of_its_68_kev(ours):
    """Both correct hardening for water alone; their spectra are not the same."""
    true_hu, theirs = GECATSIM["hu_at_68_kev"]["bone"], GECATSIM["hu"]["bone"]
    assert theirs < true_hu - 50
    assert ours["hu"]["bone"] == pytest.approx(theirs, rel=0.06)


@pytest.mark.parametrize("kernel", ["Soft", "Sharp"])
def test_noise_of_a_dose_is_within_15_percent(ours, kernel):
    assert ours["noise_hu"][kernel] == pytest.approx(GECATSIM["noise_hu"][kernel], rel=0.15)


def test_a_sharper_kernel_raises_noise_as_much(ours):
    def raised(of):
        return of["noise_hu"]["Sharp"] / of["noise_hu"]["Soft"]

    assert raised(ours) == pytest.approx(raised(GECATSIM), rel=0.03)
