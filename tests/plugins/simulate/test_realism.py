import numpy as np
import pytest

from plugins.ct_harmonizer.simulate.phantom.patient import Patient
from plugins.ct_harmonizer.simulate.realism import distance, measure, table
from plugins.ct_harmonizer.simulate.renditions import by_name

LUNG = np.zeros((2, 64, 64), bool)
LUNG[:, 20:40, 20:40] = True


def test_an_offset_gives_the_figures_of_its_formulas():
    truth = np.full((2, 64, 64), -1000, np.float32)
    truth[:, 10:50, 10:50] = 50
    truth[:, 20:40, 20:40] = np.random.default_rng(1).uniform(-1000, -800, (2, 20, 20))
    found = distance(truth + 20.48, truth, LUNG)
    scaled = (truth.astype(float) + 1024) / 2048
    assert found.psnr_db == pytest.approx(40)
    assert found.nrmse_percent == pytest.approx(
        100 * np.mean([0.01 / np.sqrt(np.mean(one**2)) for one in scaled]), rel=1e-5
    )
    assert found.perc15_hu == pytest.approx(20.48, abs=1e-3)
    assert found.laa950_points == pytest.approx(10.24, abs=3)  # of 200 HU, evenly spread
    assert found.ssim_percent < 100
    same = distance(truth + np.float32(1e-3), truth, LUNG)
    assert same.ssim_percent == pytest.approx(100, abs=0.01)


def test_a_patient_is_measured_in_each_rendition_and_a_sharp_kernel_at_low_dose_is_worse():
    chosen = [by_name("Force Br40 100 mAs"), by_name("Force Br59 20 mAs")]
    rows = list(measure(Patient(3), chosen, matrix=256))
    (soft_name, soft), (_, sharp) = rows
    assert soft_name == "Force Br40 100 mAs"
    assert soft.psnr_db > 30
    assert sharp.psnr_db < soft.psnr_db - 5
    assert sharp.laa950_points > soft.laa950_points
    lines = table(rows).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["paper", "all", "100 mAs", "Br40", "20 mAs", "Br59"]
