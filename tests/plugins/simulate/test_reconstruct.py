"""Images of objects that are known: HU, MTF and noise of the whole chain from line integrals on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from plugins.ct_harmonizer.simulate.kernels import SHARP, SOFT, kernel
from plugins.ct_harmonizer.simulate.polar import Grid
from plugins.ct_harmonizer.simulate.reconstruct import _ramp, clip, pack, reconstruct, unpack
from plugins.ct_harmonizer.simulate.renditions import by_name, others, paper, unseen
from plugins.ct_harmonizer.simulate.scanner import Scanner, count, expose, project

SCANNER = Scanner()
IMAGE = Grid(512, 0.75)
WIRE_MM, THIN_MM = 0.25, 0.15  # standard deviation of a section


def radius_mm(image, x_mm=0.0, y_mm=0.0):
    across = (torch.arange(image.size) - image.size // 2) * image.pixel_mm
    return torch.hypot(across[None, :] - x_mm, across[:, None] - y_mm)


@pytest.fixture(scope="module")
def lines(grid, disc):
    """A 20 cm water cylinder, and a 30 cm one with a lung insert of -850 HU."""
    water = -1000 + 1000 * disc(0, 0, 100)
    with_insert = -1000 + 1000 * disc(0, 0, 150) - 850 * disc(-60, 10, 40)
    return project(torch.stack([water, with_insert]), grid, SCANNER, grid.pixel_mm)


@pytest.fixture(scope="module")
def cylinders(lines):
    """Both as they reach the detector."""
    return expose(lines, SCANNER)


@pytest.fixture(scope="module")
def water_at(lines):
    """The smaller as it reaches bins of a pitch."""
    kept = {}

    def at(scanner):
        if scanner.pitch_mm not in kept:
            kept[scanner.pitch_mm] = expose(lines[:1], scanner)
        return kept[scanner.pitch_mm]

    return at


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
def thin_wire():
    """Lines through a thinner one at the isocentre, of a detector as fine as there is."""
    fine, finest = Grid(128, 0.15), SCANNER.resolving(3.0)
    return project(-1000 + 500 * torch.exp(-(radius_mm(fine)[None] ** 2) / (2 * THIN_MM**2)), fine, finest, 0.0)


NAMED = {rendition.kernel: rendition for rendition in (*unseen(), *others(), *paper())}.values()  # one for each kernel


@pytest.mark.parametrize("rendition", NAMED, ids=lambda rendition: rendition.name)
def test_mtf_of_a_wire_at_the_isocentre_is_the_kernels_within_2_percent(thin_wire, rendition):
    scanner, zoomed = rendition.scanner, Grid(400, 0.2)
    image = reconstruct(count(expose(thin_wire, scanner), scanner, None), scanner, rendition.kernel, zoomed)[0] + 1000
    spectrum = torch.fft.fft2(image.double()).abs()
    axis = torch.fft.fftfreq(zoomed.size, zoomed.pixel_mm, dtype=torch.float64)
    frequency = torch.hypot(axis[None, :], axis[:, None])
    wire_itself = torch.exp(-2 * (np.pi * THIN_MM * frequency) ** 2)
    expected = torch.from_numpy(rendition.kernel.mtf(frequency.numpy()))
    found = spectrum / wire_itself / spectrum[0, 0]
    assert (found / expected - 1).abs()[expected >= 0.1].max() < 0.02
    assert (found - expected).abs()[
        frequency < 1 / (2 * scanner.pitch_mm)
    ].max() < 0.015  # the bins end where 0.01 is left


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


def noise_hu(exposure, scanner, made):
    image = Grid(128, 0.977)
    noisy = reconstruct(count(exposure, scanner, torch.Generator().manual_seed(6)), scanner, made, image)[0]
    return float(noisy[radius_mm(image) < 50].std())


REFERENCE_HU = {"Br32": 24, "Br40": 35, "Br49": 59, "Br59": 122, "Br64": 161, "Br69": 202}  # 20 mAs, 1 mm


@pytest.mark.parametrize("name", REFERENCE_HU)
def test_noise_at_20_mas_is_that_of_a_120_kvp_scanner(water_at, name):
    """With bins that end near 0.9 /mm, as the figures suggest: what Br64 and Br69 have beyond is not in them."""
    scanner = replace(SCANNER, pitch_mm=0.55, bins=944, tube_current_time_mas=20)
    made = by_name(f"Force {name} 20 mAs").kernel
    assert noise_hu(water_at(scanner), scanner, made) == pytest.approx(REFERENCE_HU[name], rel=0.12)


def spread(rendition):
    """What a kernel leaves of white noise in line integrals: the root of the integral of |f MTF / blur|^2, as far as the bins see."""
    frequency = np.arange(0, 1 / (2 * rendition.scanner.pitch_mm), 0.001)
    return np.sqrt(
        np.sum((frequency * rendition.kernel.mtf(frequency) / rendition.scanner.mtf(frequency)) ** 2) * 0.001
    )


@pytest.fixture(scope="module")
def soft_hu(water_at):
    soft = by_name("Force Br40 20 mAs")
    return noise_hu(water_at(soft.scanner), soft.scanner, soft.kernel) / spread(soft)


@pytest.mark.parametrize("name", ["Br59", "Br64", "Br69", "Qr61"])
def test_a_sharp_kernel_lets_through_as_much_noise_as_its_whole_curve_says(water_at, soft_hu, name):
    sharp = by_name(f"Force {name} 20 mAs")
    found = noise_hu(water_at(sharp.scanner), sharp.scanner, sharp.kernel)
    assert found / soft_hu == pytest.approx(spread(sharp), rel=0.04)


@pytest.mark.parametrize("name", ["Br32", "Br69"])
def test_noise_falls_with_the_root_of_the_dose(water_at, name):
    rendition = by_name(f"Force {name} 100 mAs")
    low, high = (
        noise_hu(water_at(rendition.scanner), rendition.at(mas=mas).scanner, rendition.kernel) for mas in (50, 200)
    )
    assert low / high == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("name", ["Br40", "Br59", "Br69"])
def test_noise_power_peaks_where_the_kernel_puts_it(water_at, name):
    """The power of filtered back-projection is |f| MTF(f)^2, but for the blur that came before the noise."""
    rendition, fine = by_name(f"Force {name} 100 mAs"), Grid(256, 0.2)
    made, scanner = rendition.kernel, rendition.scanner
    generator = torch.Generator().manual_seed(8)
    images = [reconstruct(count(water_at(scanner), scanner, generator), scanner, made, fine)[0] for _ in range(3)]
    noise = torch.stack(images) - torch.stack(images).mean(dim=0)
    power = (torch.fft.fft2(noise).abs() ** 2).mean(dim=0).double()
    axis = torch.fft.fftfreq(fine.size, fine.pixel_mm, dtype=torch.float64)
    radial = torch.hypot(axis[None, :], axis[:, None])
    ring = torch.round(radial / 0.02).long()
    mean = (torch.bincount(ring.flatten(), power.flatten()) / torch.bincount(ring.flatten()))[:110].numpy()
    frequency = np.arange(110) * 0.02
    expected = frequency * (made.mtf(frequency) / scanner.mtf(frequency)) ** 2
    assert abs(np.average(frequency, weights=mean) / np.average(frequency, weights=expected) - 1) < 0.05
    assert abs(frequency[mean.argmax()] - frequency[expected.argmax()]) <= 0.06


@pytest.mark.parametrize("length", [2420, 3630, 5500])
def test_the_ramp_rises_with_frequency_whatever_its_length(length):
    """Of 3630 and 5500 times fftfreq is not whole: reconstructions with such lengths were all bone."""
    frequency = np.fft.fftfreq(length, 0.45)
    assert np.abs(_ramp(length, 0.45) - np.abs(frequency)).max() < 1e-3


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
