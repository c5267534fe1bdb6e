"""Tables against the packages they were made with, and what the beam is used for."""

import numpy as np
import pytest
import torch

from plugins.ct_harmonizer.simulate.beam import KILOVOLTS, Beam, response
from plugins.ct_harmonizer.simulate.materials import attenuation_per_mm, decompose, table

ENERGY_KEV = table("attenuation")["energy_kev"]


@pytest.mark.parametrize(
    ("material", "formula", "density"),
    [("water", "H2O", 1.0), ("ptfe", "C2F4", 2.2), ("gd2o2s", "Gd2O2S", 7.34), ("cdte", "CdTe", 5.85)],
)
def test_attenuation_is_that_of_the_elam_tables(material, formula, density):
    xraydb = pytest.importorskip("xraydb")
    below, expected, above = (
        xraydb.material_mu(formula, 1000 * (ENERGY_KEV + by), density) / 10 for by in (-2.5, 0, 2.5)
    )
    smooth = (below > expected) & (expected > above)  # no edge lies within the bin
    assert smooth.sum() >= len(smooth) - 3
    assert attenuation_per_mm(material)[smooth] == pytest.approx(expected[smooth], rel=0.05)


@pytest.mark.parametrize("kilovolts", KILOVOLTS)
def test_spectra_are_those_of_spekpy(kilovolts):
    spekpy = pytest.importorskip("spekpy")
    spectrum = spekpy.Spek(kvp=kilovolts, th=8, dk=0.5, z=100).filter("Al", 3).filter("Ti", 0.9)
    energy, fluence = spectrum.get_spectrum(edges=False)
    ours = table("spectra")[f"kv{kilovolts}_per_mm2_mas"]
    assert ours.sum() == pytest.approx(fluence.sum() * 0.5 / 100, rel=0.01)
    assert np.average(ENERGY_KEV, weights=ours) == pytest.approx(np.average(energy, weights=fluence), abs=0.5)


def test_tissue_is_water_of_its_density_and_bone_is_bone():
    water, bone = decompose(torch.tensor([-1000.0, -850.0, 0.0, 60.0, 1200.0]))
    assert water[:4].tolist() == pytest.approx([0.0, 0.15, 1.0, 1.06], abs=1e-6)
    assert bone[:4].tolist() == [0, 0, 0, 0]
    at_68 = [
        float(np.exp(np.interp(np.log(68.0), np.log(ENERGY_KEV), np.log(attenuation_per_mm(of)))))
        for of in ("water", "bone")
    ]
    back = 1000 * ((water[4] * at_68[0] + bone[4] * at_68[1]) / at_68[0] - 1)
    assert float(back) == pytest.approx(1200, abs=1)


def test_the_bowtie_takes_from_the_sides_and_hardens_them():
    photons = Beam().photons(np.array([0.0, 120.0]))
    assert photons[1].sum() < 0.6 * photons[0].sum()
    means = (photons * ENERGY_KEV).sum(axis=1) / photons.sum(axis=1)
    assert means[1] > means[0] + 1


def test_a_counting_detector_weighs_photons_alike():
    assert set(Beam(120, "counting").worth) == {1.0}
    assert (Beam(120, "counting").photons(np.zeros(1))[0][ENERGY_KEV < 20] == 0).all()


def test_hardening_is_corrected_for_water_of_any_length():
    row = response(Beam(), 64, 4.0, torch.device("cpu"))
    for length in (3.0, 40.0, 250.0, 500.0):
        signal, quanta = row.signal(torch.full((1, 64), length), torch.zeros(1, 64))
        assert row.linearise(-torch.log(signal)).flatten().tolist() == pytest.approx([length] * 64, rel=2e-3)
        assert (quanta > 0).all()


def test_a_voltage_without_a_spectrum_is_refused():
    with pytest.raises(ValueError, match="90 kVp"):
        Beam(90)
