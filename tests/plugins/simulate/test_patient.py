import numpy as np
import pytest
import torch

from plugins.ct_harmonizer.simulate.phantom.chest import build
from plugins.ct_harmonizer.simulate.phantom.draw import Canvas
from plugins.ct_harmonizer.simulate.phantom.patient import Emphysema, Patient, random_patient

PIXEL_MM = 1.35


def middle(patient, z_mm=(0.0, -60.0)):
    canvas = Canvas(np.array(z_mm), 344, PIXEL_MM, 2.0)
    return list(build(canvas, patient, 0.02, lambda _share: None).slices())


def area_cm2(mask):
    return float(mask.sum()) * PIXEL_MM**2 / 100


def test_the_seed_decides_and_patients_differ():
    drawn = [random_patient(seed) for seed in range(200)]
    assert drawn[3] == random_patient(3)
    assert {patient.sex for patient in drawn} == {"F", "M"}
    assert {patient.emphysema.kind for patient in drawn} == {"centrilobular", "panlobular", "paraseptal"}
    assert 0.2 < np.mean([patient.emphysema.share == 0 for patient in drawn]) < 0.5
    assert all(4 <= diameter <= 25 for patient in drawn for diameter in patient.nodules_mm)
    women, men = ([p.size for p in drawn if p.sex == sex] for sex in ("F", "M"))
    assert np.mean(women) < np.mean(men) - 0.04


def test_size_scales_the_lungs_and_fat_does_not():
    small, large, fat = (middle(Patient(size=size, fat_mm=mm))[0] for size, mm in ((0.9, 0.0), (1.1, 0.0), (1.1, 15.0)))
    assert area_cm2(large.lung) / area_cm2(small.lung) == pytest.approx((1.1 / 0.9) ** 2, rel=0.04)
    assert area_cm2(fat.lung) == pytest.approx(area_cm2(large.lung), rel=0.02)
    assert area_cm2(fat.hu > -200) > area_cm2(large.hu > -200) + 80


def test_breasts_stand_out_in_front_and_nowhere_else():
    flat, full = (middle(Patient(sex="F", size=0.93, breast_mm=mm), (-25.0, -35.0))[1].hu > -300 for mm in (0.0, 25.0))
    more = full & ~flat
    rows = torch.nonzero(more)[:, 0].float()
    assert area_cm2(more) > 20
    assert rows.max() < 344 / 2


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("kind", ["centrilobular", "panlobular"])
def test_emphysema_fills_the_share_asked_for(share, kind):
    slices = middle(Patient(emphysema=Emphysema(share, kind)), tuple(np.linspace(60, -90, 6)))
    lung, lost = (sum(float(getattr(one, name).sum()) for one in slices) for name in ("lung", "emphysema"))
    assert lost / lung == pytest.approx(share, abs=0.1)


def test_paraseptal_emphysema_lies_along_the_pleura():
    from scipy.ndimage import distance_transform_edt

    depths = []
    for kind in ("centrilobular", "paraseptal"):
        inside = middle(Patient(emphysema=Emphysema(0.15, kind)))[0]
        depth = distance_transform_edt(inside.lung.numpy() > 0.2) * PIXEL_MM
        depths.append(np.average(depth, weights=inside.emphysema.numpy()))
    assert depths[1] < 0.8 * depths[0]


def test_nodules_have_the_diameters_asked_for():
    canvas = Canvas(np.linspace(60, -90, 76), 344, PIXEL_MM, 2.0)
    chest = build(canvas, Patient(size=0.95, nodules_mm=(20.0,), emphysema=Emphysema(0.0)), 0.01, lambda _share: None)
    (nodule,) = chest.nodules
    assert nodule.diameter_mm == pytest.approx(20)
    volume_mm3 = float(chest.drawn.nodules.sum()) * PIXEL_MM**2 * 2.0
    assert (6 * volume_mm3 / np.pi) ** (1 / 3) == pytest.approx(20, rel=0.08)
