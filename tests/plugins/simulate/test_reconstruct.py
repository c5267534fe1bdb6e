"""Images of objects that are known: HU, MTF and noise of the whole chain from line integrals on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from plugins.ct_harmonizer.simulate.kernels import SHARP, SOFT, kernel
from plugins.ct_harmonizer.simulate.polar import Grid
from plugins.ct_harmonizer.simulate.reconstruct import clip, pack, reconstruct, unpack
from plugins.ct_harmonizer.simulate.renditions import by_name
from plugins.ct_harmonizer.simulate.scanner import Scanner, count, expose, project

SCANNER = Scanner()
IMAGE = Grid(512, 0.75)
WIRE_MM = 0.25  # standard deviation of its section


def radius_mm(image, x_mm=0.0, y_mm=0.0):
    across = (torch.arange(image.size) - image.size // 2) * image.pixel_mm
    return torch.hypot(across[None, :] - x_mm, across[:, None] - y_mm)


@pytest.fixture(scope="module")
def cylinders(grid, disc):
    """A 20 cm water cylinder, and a 30 cm one with a lung insert of -850 HU, as they reach the detector."""
    water = -1000 + 1000 * disc(0, 0, 100)
    with_insert = -1000 + 1000 * disc(0, 0, 150) - 850 * disc(-60, 10, 40)
    return expose(project(torch.stack([water, with_insert]), grid, SCANNER, grid.pixel_mm), SCANNER)


@pytest.mark.parametrize("made", [SOFT, SHARP], ids=lambda made: made.name)
def test_water_lung_and_air_have_their_hu(cylinders, made):
    water, insert = reconstruct(count(cylinders, SCANNER, None), SCANNER, made, IMAGE)
    radius = radius_mm(IMAGE)
    rings = [water[(radius >= inner) & (radius < inner + 10)].mean() for inner in range(0, 90, 10)]
    assert max(map(abs, rings)) < 1
    assert max(rings) - min(rings) < 3  # cupping, which beam hardening would leave
    assert water[radius > 110].mean() == pytest.approx(-1000, abs=1)
    assert water[radius > 110].std() < 1
    assert insert[radius_mm(IMAGE, -60, 10) < 34].mean() == pytest.approx(-850, abs=1)


def test_bone_casts_the_dark_band_that_water_correction_leaves(grid, disc):
    bones = -1000 + 1000 * disc(0, 0, 140) + 1400 * (disc(-70, 0, 20) + disc(70, 0, 20))
    paths = project(bones[None], grid, SCANNER, grid.pixel_mm)
    image = reconstruct(count(expose(paths, SCANNER), SCANNER, None), SCANNER, SOFT, IMAGE)[0]
    between = image[radius_mm(IMAGE) < 30].mean()
    beside = image[radius_mm(IMAGE, 0, 100) < 20].mean()
    assert -25 < between < beside - 3
    assert (
        1100 < image[radius_mm(IMAGE, -70, 0) < 10].mean() < 1400
    )  # behind so much of both the beam is harder than 68 keV


def test_a_field_of_view_off_the_centre_shows_the_same(cylinders):
    off = Grid(256, 0.75, centre_mm=(-60.0, 12.0))
    water = count(cylinders, SCANNER, None)[1:]
    whole = reconstruct(water, SCANNER, SOFT, IMAGE)[0]
    part = reconstruct(water, SCANNER, SOFT, off)[0]
    assert (part - whole[256 + 16 - 128 : 256 + 16 + 128, 256 - 80 - 128 : 256 - 80 + 128]).abs().max() < 1


@pytest.fixture(scope="module")
def wire_section():
    """A thin wire, 1 in its middle, on pixels of 0.2 mm."""
    return torch.exp(-(radius_mm(Grid(128, 0.2)) ** 2) / (2 * WIRE_MM**2))


@pytest.fixture(scope="module")
def wire(wire_section):
    """It at the isocentre as it is measured."""
    fine = Grid(128, 0.2)
    return count(expose(project(-1000 + 300 * wire_section[None], fine, SCANNER, 0.0), SCANNER), SCANNER, None)


@pytest.mark.parametrize("name", ["Br32", "Br40", "Br49", "Br59", "Br69", "Qr49"])
def test_mtf_of_a_wire_at_the_isocentre_is_the_kernels_within_2_percent(wire, name):
    made = by_name(f"Force {name} 100 mAs").kernel
    zoomed = Grid(512, 0.25)
    image = reconstruct(wire, SCANNER, made, zoomed)[0] + 1000
    spectrum = torch.fft.fft2(image.double()).abs()
    axis = torch.fft.fftfreq(zoomed.size, zoomed.pixel_mm, dtype=torch.float64)
    frequency = torch.hypot(axis[None, :], axis[:, None])
    wire_itself = torch.exp(-2 * (np.pi * WIRE_MM * frequency) ** 2)
    expected = torch.from_numpy(made.mtf(frequency.numpy()))
    seen = (frequency < 1.05) & (expected > 0.1)  # the detector's bins end at 1.11
    found = spectrum / wire_itself / spectrum[0, 0]
    assert (found / expected - 1).abs()[seen].max() < 0.02
    assert (found - expected).abs()[frequency < 1.05].max() < 0.01


def test_a_wire_off_the_centre_is_blurred_along_the_circle_by_the_turn_of_the_gantry(wire_section):
    off_mm, made = 150.0, by_name("Force Br59 100 mAs").kernel
    fine = Grid(128, 0.2, centre_mm=(off_mm, 0.0))
    shot = count(expose(project(-1000 + 300 * wire_section[None], fine, SCANNER, 0.0), SCANNER), SCANNER, None)
    image = reconstruct(shot, SCANNER, made, Grid(256, 0.25, centre_mm=(off_mm, 0.0)))[0] + 1000
    frequency = torch.fft.rfftfreq(256, 0.25, dtype=torch.float64)
    along = torch.fft.rfft(image.double().sum(dim=1)).abs()  # rows run along the circle there
    expected = torch.from_numpy(made.mtf(frequency.numpy())) * torch.sinc(frequency * off_mm * np.pi / SCANNER.views)
    found = along / along[0] / torch.exp(-2 * (np.pi * WIRE_MM * frequency) ** 2)
    resolved = (
        frequency < SCANNER.views / (2 * np.pi * off_mm) - 0.05
    )  # beyond it there are too few views for that radius
    assert (found - expected).abs()[resolved].max() < 0.02


@pytest.mark.parametrize("off_mm", [0.0, 100.0])
def test_an_edge_is_as_soft_as_the_rendition_says(grid, disc, off_mm):
    """A disc's edge at 60 and at 160 mm from the isocentre, in the direction away from it."""
    rendition = by_name("Force Br49 100 mAs")
    paths = project(-1000 + 1000 * disc(off_mm, 0, 60)[None], grid, SCANNER, grid.pixel_mm)
    zoomed = Grid(128, 0.3, centre_mm=(off_mm + 60.0, 0.0))
    water = count(expose(paths, SCANNER), SCANNER, None)
    image = reconstruct(water, SCANNER, rendition.kernel, zoomed)[0]
    distance = radius_mm(zoomed, -60.0, 0.0) - 60
    near = (distance.abs() < 14) & (radius_mm(zoomed) < 16)
    step_mm = 0.1
    bins = torch.round(distance[near] / step_mm).long() + 140
    edge = torch.bincount(bins, image[near].double(), 281) / torch.bincount(bins, minlength=281).clamp(min=1)
    line = -np.gradient(edge.numpy()[5:-5]) * np.hanning(271)
    frequency = np.arange(0.02, 0.86, 0.02)
    position = (np.arange(271) - 135) * step_mm
    found = np.abs(np.exp(-2j * np.pi * frequency[:, None] * position) @ line) / line.sum()
    found /= np.sinc(frequency * step_mm)  # the bins' own width
    expected = rendition.mtf(frequency, off_mm + 60.0)
    f50, told = (np.interp(-0.5, -curve[frequency > 0.2], frequency[frequency > 0.2]) for curve in (found, expected))
    assert f50 == pytest.approx(told, rel=0.02)
    assert np.abs(found - expected).max() < 0.03


def noise_hu(exposure, made, mas, image=None):
    scanner = replace(SCANNER, tube_current_time_mas=mas)
    image = image or Grid(384, 0.977)
    noisy = reconstruct(count(exposure, scanner, torch.Generator().manual_seed(6)), scanner, made, image)[0]
    return float(noisy[radius_mm(image) < 50].std())


@pytest.mark.parametrize(
    ("name", "expected", "within"),
    [
        ("Br32", 24, 0.12),
        ("Br40", 35, 0.12),
        ("Br49", 59, 0.12),
        ("Br59", 122, 0.12),
        ("Br64", 161, 0.3),
        ("Br69", 202, 0.3),
    ],
)
def test_noise_at_20_mas_is_near_that_of_a_120_kvp_scanner(cylinders, name, expected, within):
    """The published ratios are of kernels that do not divide the scanner's blur out: the sharpest lie lower than here."""
    made = by_name(f"Force {name} 20 mAs").kernel
    assert noise_hu(cylinders, made, 20) == pytest.approx(expected, rel=within)


def test_noise_falls_with_the_root_of_the_dose(cylinders):
    assert noise_hu(cylinders, SHARP, 25) / noise_hu(cylinders, SHARP, 100) == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("made", [SOFT, SHARP], ids=lambda made: made.name)
def test_noise_power_peaks_where_the_kernel_puts_it(cylinders, made):
    """The power of filtered back-projection is |f| MTF(f)^2, but for the blur that came before the noise."""
    fine = Grid(256, 0.4)
    scanner = replace(SCANNER, tube_current_time_mas=50)
    generator = torch.Generator().manual_seed(8)
    images = [reconstruct(count(cylinders, scanner, generator), scanner, made, fine)[0] for _ in range(3)]
    noise = torch.stack(images) - torch.stack(images).mean(dim=0)
    power = (torch.fft.fft2(noise).abs() ** 2).mean(dim=0).double()
    axis = torch.fft.fftfreq(fine.size, fine.pixel_mm, dtype=torch.float64)
    radial = torch.hypot(axis[None, :], axis[:, None])
    ring = torch.round(radial / 0.02).long()
    mean = (torch.bincount(ring.flatten(), power.flatten()) / torch.bincount(ring.flatten()))[:50].numpy()
    frequency = np.arange(50) * 0.02
    expected = frequency * (made.mtf(frequency) / SCANNER.mtf(frequency)) ** 2
    assert abs(np.average(frequency, weights=mean) / np.average(frequency, weights=expected) - 1) < 0.05
    assert abs(frequency[mean.argmax()] - frequency[expected.argmax()]) <= 0.06


def test_stored_values_are_whole_and_end_at_minus_1024():
    assert clip(torch.tensor([-1300.0, -1023.6, 12.4, 5000.0])).tolist() == [-1024, -1024, 12, 3071]


def test_pairs_unpack_to_what_was_packed():
    odd = torch.randn(5, 3, 4)
    assert torch.equal(unpack(pack(odd), 5), odd)


def test_two_slices_in_one_complex_image_do_not_mix(cylinders):
    water = count(cylinders, SCANNER, None)
    together, alone = reconstruct(water, SCANNER, SOFT, IMAGE)[1], reconstruct(water[1:], SCANNER, SOFT, IMAGE)[0]
    assert (together - alone).abs().max() < 0.5


def test_a_kernel_keeps_its_curve_whatever_the_scanner_blurs():
    assert np.allclose(by_name("GE-like BONE").mtf(np.array([0.0, 0.81])), [1.0, 0.5], atol=1e-3)
    assert kernel("plain", 0.4, 0.7).mtf(np.array([0.4])) == pytest.approx(0.5)
