import numpy as np
import pytest
import torch

from plugins.ct_harmonizer.simulate.kernels import SHARP, SHARPEST, SOFT, kernel
from plugins.ct_harmonizer.simulate.polar import Grid
from plugins.ct_harmonizer.simulate.reconstruct import clip, reconstruct
from plugins.ct_harmonizer.simulate.scanner import Scanner, expose, project

SCANNER = Scanner()
IMAGE = Grid(512, 0.75)
WIRE_MM = 0.6  # standard deviation of its section


def radius_mm(image, x_mm=0.0, y_mm=0.0):
    across = (torch.arange(image.size) - image.size // 2) * image.pixel_mm
    return torch.hypot(across[None, :] - x_mm, across[:, None] - y_mm)


@pytest.fixture(scope="module")
def cylinders(grid, disc):
    """Line integrals of a 20 cm water cylinder, and of a 30 cm one with a lung insert of -850 HU."""
    water = -1000 + 1000 * disc(0, 0, 100)
    with_insert = -1000 + 1000 * disc(0, 0, 150) - 850 * disc(-60, 10, 40)
    return project(torch.stack([water, with_insert]), grid, SCANNER)


@pytest.mark.parametrize("made", [SOFT, SHARP], ids=lambda made: made.name)
def test_water_lung_and_air_have_their_hu(cylinders, grid, made):
    water, insert = reconstruct(cylinders, SCANNER, made, IMAGE, grid.pixel_mm)
    radius = radius_mm(IMAGE)
    rings = [water[(radius >= inner) & (radius < inner + 10)].mean() for inner in range(0, 90, 10)]
    assert max(map(abs, rings)) < 1
    assert max(rings) - min(rings) < 3
    assert water[radius > 110].mean() == pytest.approx(-1000, abs=1)
    assert water[radius > 110].std() < 1
    assert insert[radius_mm(IMAGE, -60, 10) < 34].mean() == pytest.approx(-850, abs=1)


@pytest.fixture(scope="module")
def wire(grid):
    """Line integrals of a wire off the centre, whose section is a Gaussian."""
    section = torch.exp(-(radius_mm(grid, 40.0, -25.0) ** 2) / (2 * WIRE_MM**2))
    return project(-1000 + 1000 * section[None], grid, SCANNER)


@pytest.mark.parametrize("made", [SOFT, SHARP, SHARPEST], ids=lambda made: made.name)
def test_mtf_of_a_wire_is_the_kernels(wire, made):
    zoomed = Grid(512, 0.25)
    image = reconstruct(wire, SCANNER, made, zoomed, voxel_mm=0.0)[0] + 1000
    spectrum = torch.fft.fft2(image.double()).abs() * zoomed.pixel_mm**2 / (2 * np.pi * WIRE_MM**2 * 1000)
    axis = torch.fft.fftfreq(zoomed.size, zoomed.pixel_mm, dtype=torch.float64)
    frequency = torch.hypot(axis[None, :], axis[:, None])
    wire_itself = torch.exp(-2 * (np.pi * WIRE_MM * frequency) ** 2)
    expected = torch.from_numpy(made.mtf(frequency.numpy()))
    seen = frequency < 0.7  # beyond it the wire itself has too little left to divide by
    assert (spectrum / wire_itself - expected).abs()[seen].max() < 0.02


def test_mtf_of_an_edge_in_an_aliased_image_is_the_kernels(cylinders, grid):
    water = reconstruct(cylinders, SCANNER, SHARP, IMAGE, grid.pixel_mm)[0]
    radius = radius_mm(IMAGE)
    step_mm = 0.1
    near = (radius - 100).abs() < 12
    bins = torch.round((radius[near] - 100) / step_mm).long() + 120
    edge = torch.bincount(bins, water[near].double()) / torch.bincount(bins)
    line = -np.gradient(edge.numpy()) * np.hanning(len(edge))
    frequency = np.arange(0.02, 0.86, 0.02)
    position = (np.arange(len(line)) - 120) * step_mm
    found = np.abs(np.exp(-2j * np.pi * frequency[:, None] * position) @ line) / line.sum()
    found /= np.sinc(frequency * step_mm)  # the bins' own width
    f50 = np.interp(-0.5, -found[frequency > 0.4], frequency[frequency > 0.4])
    assert f50 == pytest.approx(SHARP.f50_per_mm, rel=0.02)
    assert np.abs(found - SHARP.mtf(frequency)).max() < 0.03


def noise_hu(lines, grid, made, mas):
    scanner = Scanner(tube_current_time_mas=mas)
    noisy = expose(lines[:1], scanner, torch.Generator().manual_seed(6))
    image = Grid(384, 0.977)
    return float(reconstruct(noisy, scanner, made, image, grid.pixel_mm)[0][radius_mm(image) < 50].std())


@pytest.mark.parametrize(
    ("made", "expected"),
    [(kernel("Br32", 0.300, 0.475), 24), (kernel("Br40", 0.385, 0.626), 35), (kernel("Br49", 0.559, 0.759, 0.1), 59)],
    ids=lambda value: getattr(value, "name", None),
)
def test_noise_at_20_mas_is_that_of_a_120_kvp_scanner(cylinders, grid, made, expected):
    assert noise_hu(cylinders, grid, made, 20) == pytest.approx(expected, rel=0.15)


def test_noise_falls_with_the_root_of_the_dose(cylinders, grid):
    ratio = noise_hu(cylinders, grid, SHARP, 25) / noise_hu(cylinders, grid, SHARP, 100)
    assert ratio == pytest.approx(2.0, rel=0.04)


def test_stored_values_are_whole_and_end_at_minus_1024():
    assert clip(torch.tensor([-1300.0, -1023.6, 12.4, 5000.0])).tolist() == [-1024, -1024, 12, 3071]
