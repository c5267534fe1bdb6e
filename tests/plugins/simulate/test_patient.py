import math

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from plugins.ct_harmonizer.simulate.phantom.chest import build
from plugins.ct_harmonizer.simulate.phantom.draw import Canvas
from plugins.ct_harmonizer.simulate.phantom.patient import Contrast, Emphysema, Patient, random_patient
from plugins.ct_harmonizer.simulate.polar import Grid
from plugins.ct_harmonizer.simulate.series import Integrate

PIXEL_MM = 1.35
WHOLE_LUNG = tuple(np.linspace(60, -90, 6))


def middle(patient, z_mm=(0.0, -60.0)):
    canvas = Canvas(np.array(z_mm), 344, PIXEL_MM, 2.0)
    return list(build(canvas, patient, 0.02, lambda _share: None).slices())


def area_cm2(mask):
    return float(mask.sum()) * PIXEL_MM**2 / 100


def test_the_seed_decides_and_patients_differ():
    drawn = [random_patient(seed) for seed in range(300)]
    assert drawn[3] == random_patient(3)
    assert {patient.sex for patient in drawn} == {"F", "M"}
    assert {patient.arms for patient in drawn} == {"up", "down"}
    assert {patient.emphysema.kind for patient in drawn} == {"centrilobular", "panlobular", "paraseptal"}
    severity = [patient.emphysema.laa_percent for patient in drawn]
    assert 0.2 < np.mean([percent == 0 for percent in severity]) < 0.5
    assert max(severity) > 50
    lesions = [lesion for patient in drawn for lesion in patient.nodules]
    assert 2 <= min(lesion.diameter_mm for lesion in lesions) < 2.2
    assert 22 < max(lesion.diameter_mm for lesion in lesions) <= 25
    assert {(one.density, one.margin, one.place) for one in lesions if one.diameter_mm > 6} >= {
        ("solid", "spiculated", "juxtapleural"),
        ("part-solid", "lobulated", "juxtavascular"),
        ("ground-glass", "smooth", "free"),
    }
    assert 0.2 < np.mean([patient.contrast is not None for patient in drawn]) < 0.45
    women, men = ([p.size for p in drawn if p.sex == sex] for sex in ("F", "M"))
    assert np.mean(women) < np.mean(men) - 0.04


def test_size_scales_the_lungs_and_fat_does_not():
    small, large, fat = (middle(Patient(size=size, fat_mm=mm))[0] for size, mm in ((0.9, 0.0), (1.1, 0.0), (1.1, 15.0)))
    assert area_cm2(large.lung) / area_cm2(small.lung) == pytest.approx((1.1 / 0.9) ** 2, rel=0.04)
    assert area_cm2(fat.lung) == pytest.approx(area_cm2(large.lung), rel=0.02)
    assert area_cm2(fat.hu > -200) > area_cm2(large.hu > -200) + 80


def test_a_deep_chest_is_as_large_as_a_flat_one_and_narrower():
    flat, deep = (middle(Patient(depth=depth))[0].lung > 0.5 for depth in (0.9, 1.1))
    wide = [int(mask.any(dim=0).sum()) for mask in (flat, deep)]
    assert wide[1] / wide[0] == pytest.approx(math.sqrt(0.9 / 1.1), rel=0.02)
    assert area_cm2(deep) == pytest.approx(area_cm2(flat), rel=0.02)


def test_arms_that_are_down_lie_beside_the_trunk_with_bone_in_them():
    up, down = (middle(Patient(size=0.9, arms=arms))[1].hu for arms in ("up", "down"))
    beside = torch.zeros_like(up, dtype=torch.bool)
    beside[:, :40], beside[:, -40:] = True, True  # more than 178 mm from the middle
    assert area_cm2((up > -200) & beside) < 1
    assert 35 < area_cm2((down > -200) & beside) < 65
    assert area_cm2((down > 800) & beside) > 3


def test_contrast_medium_brightens_blood_and_nothing_else():
    plain, bolus = (
        middle(Patient(contrast=medium), (15.0, 10.0))[1] for medium in (None, Contrast(600.0, 300.0, 100.0))
    )
    more = bolus.hu - plain.hu
    assert more.max() == pytest.approx(600, abs=5)  # vena cava
    brighter = more > 20
    assert area_cm2(brighter) > 8
    assert float((bolus.vessel[brighter] > 0.05).float().mean()) > 0.97
    assert float(more[plain.vessel == 0].abs().max()) < 1


def test_blood_vessels_and_airways_are_told_apart():
    (slice_, _) = middle(Patient(), (-20.0, -24.0))
    assert float(slice_.hu[slice_.airway > 0.95].mean()) == pytest.approx(-1000, abs=3)
    assert float(slice_.hu[slice_.vessel > 0.95].mean()) == pytest.approx(55, abs=6)
    assert float((slice_.airway * slice_.vessel).max()) < 0.3  # voxels that both touch
    assert 3 < area_cm2(slice_.airway) < 12


def test_breasts_stand_out_in_front_and_nowhere_else():
    flat, full = (middle(Patient(sex="F", size=0.93, breast_mm=mm), (-25.0, -35.0))[1].hu > -300 for mm in (0.0, 25.0))
    more = full & ~flat
    rows = torch.nonzero(more)[:, 0].float()
    assert area_cm2(more) > 20
    assert rows.max() < 344 / 2


@pytest.mark.parametrize(
    ("percent", "kind"),
    [
        (0.0, "centrilobular"),
        (20.0, "centrilobular"),
        (60.0, "centrilobular"),
        (60.0, "panlobular"),
        (40.0, "paraseptal"),
    ],
)
def test_emphysema_is_as_severe_as_asked_for(percent, kind):
    slices = middle(Patient(emphysema=Emphysema(percent, kind)), WHOLE_LUNG)
    lung = torch.cat([one.hu[one.lung > 0.5] for one in slices])
    assert 100 * float((lung < -950).float().mean()) == pytest.approx(percent, abs=3)


def test_paraseptal_emphysema_lies_along_the_pleura():
    depths = []
    for kind in ("centrilobular", "paraseptal"):
        inside = middle(Patient(emphysema=Emphysema(12.0, kind)))[0]
        depth = distance_transform_edt(inside.lung.numpy() > 0.2) * PIXEL_MM
        depths.append(np.average(depth, weights=inside.emphysema.numpy()))
    assert depths[1] < 0.8 * depths[0]


def test_ground_glass_makes_as_much_of_the_lung_denser_as_asked_for():
    clear, hazy = (
        torch.cat([one.hu[one.lung > 0.9] for one in middle(Patient(ground_glass_percent=percent), WHOLE_LUNG)])
        for percent in (0.0, 12.0)
    )
    assert 100 * float((hazy - clear > 60).float().mean()) == pytest.approx(12, abs=5)


def test_a_patient_is_the_same_however_finely_drawn():
    """HU of voxels of 2.7 mm of lung from a drawing on 0.45 mm and from one on 0.3 mm: vessels fill them a little otherwise, nothing else."""
    drawings = []
    for size, pixel_mm in ((1120, 0.45), (1680, 0.3)):
        canvas = Canvas(np.array([0.0, -60.0]), size, pixel_mm, 2.0)
        slices = list(build(canvas, Patient(), 0.02, lambda _share: None).slices())
        integrate = Integrate(Grid(size, pixel_mm), Grid(160, 2.7))
        drawings.append([torch.stack([integrate(getattr(one, name)) for one in slices]) for name in ("hu", "lung")])
    (coarse, lung), (fine, also) = drawings
    inside = (lung > 0.9) & (also > 0.9)
    assert int(inside.sum()) > 3000
    assert float((coarse - fine)[inside].abs().median()) < 1.5  # other texture would be 10 and more
    assert float((lung - also).abs().mean()) < 2e-3
