import numpy as np
import pytest

from plugins.ct_harmonizer.simulate.phantom.chest import build
from plugins.ct_harmonizer.simulate.phantom.draw import FULL, Canvas, lumpy
from plugins.ct_harmonizer.simulate.phantom.lungs import depth_mm
from plugins.ct_harmonizer.simulate.phantom.nodules import Nodule
from plugins.ct_harmonizer.simulate.phantom.patient import Emphysema, Lesion, Patient

PIXEL_MM = 0.9
LESIONS = (
    Lesion(20.0, "solid", "smooth", "juxtapleural"),
    Lesion(18.0, "solid", "spiculated", "free"),
    Lesion(20.0, "part-solid", "lobulated", "free"),
    Lesion(12.0, "ground-glass", "smooth", "juxtavascular"),
    Lesion(3.0, "solid", "smooth", "free"),
)


@pytest.fixture(scope="module")
def chest():
    patient = Patient(size=0.95, depth=1.1, nodules=LESIONS, emphysema=Emphysema(0.0))
    return build(Canvas(np.linspace(60, -90, 151), 512, PIXEL_MM, 1.0), patient, 0.05, lambda _share: None)


def ball(diameter_mm):
    made = lumpy(np.array([30.0, -20.0, 7.0]), diameter_mm / 2, 0.0, np.random.default_rng(1))
    return Nodule(Lesion(diameter_mm), (30.0, -20.0, 7.0), made, None, None, None)


@pytest.mark.parametrize("diameter_mm", [2.0, 9.0, 25.0])
def test_a_ball_has_the_measures_of_a_ball(diameter_mm):
    mesh = ball(diameter_mm).mesh()
    assert mesh.volume_mm3 == pytest.approx(np.pi / 6 * diameter_mm**3, rel=0.004)
    assert mesh.area_mm2 == pytest.approx(np.pi * diameter_mm**2, rel=0.004)
    assert mesh.sphericity == pytest.approx(1, abs=0.003)
    assert mesh.vertices_mm.mean(axis=0) == pytest.approx([30, -20, 7], abs=0.05)


def test_each_nodule_is_drawn_with_the_volume_of_its_mesh(chest):
    for nodule in chest.nodules:
        z = chest.canvas.z_mm
        near = np.flatnonzero(np.abs(z - nodule.centre_mm[2]) < nodule.diameter_mm)
        drawn = 0.0
        for number in near:
            x, y = (round(of / PIXEL_MM) + 256 for of in nodule.centre_mm[:2])
            reach = round(0.9 * nodule.diameter_mm / PIXEL_MM) + 2
            here = chest.at(int(number)).nodule[y - reach : y + reach, x - reach : x + reach]
            drawn += float(here.sum()) * PIXEL_MM**2
        assert drawn == pytest.approx(nodule.mesh().volume_mm3, rel=0.05 if nodule.diameter_mm > 10 else 0.3)


def test_margins_and_places_show_in_the_meshes(chest):
    pleural, spiculated, lobulated, smooth, _ = (nodule.mesh() for nodule in chest.nodules)
    assert spiculated.sphericity < 0.85 < lobulated.sphericity < smooth.sphericity
    whole = np.pi / 6 * 20**3
    assert 0.6 * whole < pleural.volume_mm3 < 0.95 * whole  # the pleura cuts it off
    assert depth_mm(pleural.vertices_mm, chest.patient).max() < 0.3
    touched = np.array(chest.nodules[3].centre_mm)
    x, y = (round(of / PIXEL_MM) + 256 for of in touched[:2])
    number = int(np.argmin(np.abs(chest.canvas.z_mm - touched[2])))
    assert float(chest.drawn.vessels[number - 5 : number + 6, y - 9 : y + 10, x - 9 : x + 10].max()) > 0.9 * FULL


def test_density_is_solid_or_hazy_or_a_solid_core_in_haze(chest):
    means = []
    for nodule in chest.nodules:
        number = int(np.argmin(np.abs(chest.canvas.z_mm - nodule.centre_mm[2])))
        x, y = (round(of / PIXEL_MM) + 256 for of in nodule.centre_mm[:2])
        seen, reach = chest.at(number), max(1, round(nodule.diameter_mm / 2 / PIXEL_MM))
        box = (slice(y - reach, y + reach + 1), slice(x - reach, x + reach + 1))
        inside = seen.nodule[box] > 0.95
        means.append((float(seen.hu[box][inside].min()), float(seen.hu[box][inside].max())))
    assert means[1][0] > -30
    low, high = means[2]
    assert low < -500 < -30 < high
    assert -750 < means[3][0] < means[3][1] < -480
