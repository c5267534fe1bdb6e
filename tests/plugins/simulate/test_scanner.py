import torch
from torch.testing import assert_close

from plugins.ct_harmonizer.simulate.scanner import Scanner, count, expose, project

SCANNER = Scanner(views=60)


def test_line_integrals_of_ellipses_are_chords(grid):
    # x²/a² + y²/b² = 1 at (x0, y0): the chord at t from the centre's shadow is 2ab sqrt(w² - t²)/w², w² = a²cos² + b²sin².
    a, b, x0, y0 = 110.0, 65.0, 30.0, -40.0
    across = (torch.arange(grid.size) - grid.size // 2) * grid.pixel_mm
    u, v = (across[None, :] - x0) / a, (across[:, None] - y0) / b
    level = torch.hypot(u, v)
    distance = (level - 1) * level / torch.hypot(u / a, v / b).clamp(min=1e-6)
    filled = (0.5 - distance / grid.pixel_mm).clamp(0, 1)
    paths = project(-1000 + 1000 * filled[None], grid, SCANNER, 0.0)[0]
    found = paths.real

    angle = SCANNER.angles_rad().float()[:, None]
    bins = (torch.arange(SCANNER.bins) - SCANNER.bins // 2) * SCANNER.pitch_mm
    width2 = (a * torch.cos(angle)) ** 2 + (b * torch.sin(angle)) ** 2
    from_centre = bins - x0 * torch.cos(angle) - y0 * torch.sin(angle)
    chord = 2 * a * b * torch.sqrt((width2 - from_centre**2).clamp(min=0)) / width2
    well_inside = from_centre.abs() < 0.95 * torch.sqrt(width2)
    assert (found - chord).abs()[well_inside].max() < 0.5  # mm, of chords of up to 220 mm
    assert (found - chord).abs()[well_inside].mean() < 0.03
    assert torch.allclose(found.sum(dim=1) * SCANNER.pitch_mm, torch.tensor(torch.pi * a * b), rtol=1e-3)
    assert paths.imag.abs().max() < 0.02  # there is no bone


def test_lines_of_fine_bins_serve_coarser_and_finer_ones(grid, disc):
    volume = -1000 + 1000 * disc(30, -20, 90)[None] + 900 * disc(-10, 5, 6)[None]
    fine = SCANNER.resolving(1.6)
    assert (fine.pitch_mm, fine.bins) == (0.3, 1728)
    lines = project(volume, grid, fine, grid.pixel_mm)
    for other in (SCANNER, SCANNER.resolving(2.2)):
        own = expose(project(volume, grid, other, grid.pixel_mm), other).transmission
        assert_close(expose(lines, other).transmission, own, rtol=0, atol=2e-5)


def test_metal_drawn_coarser_than_the_bins_takes_light_and_gives_none(grid, disc):
    metal = torch.where(disc(30, -20, 8)[None] > 0.5, 9000.0, -1000.0)
    fine = SCANNER.resolving(1.6)
    seen = expose(project(metal, grid, fine, grid.pixel_mm), fine)
    assert seen.transmission.max() < 1.2
    assert seen.transmission.min() < 0.08  # 16 mm that stop like 160 mm of water: exp(-0.0193 x 160) is 0.046


def uniform(water_mm, scanner, slices=1):
    return torch.full((slices, scanner.views, scanner.bins), water_mm, dtype=torch.complex64)


def test_water_of_any_thickness_is_told_by_every_bin():
    for water_mm in (20.0, 150.0, 350.0):
        found = count(expose(uniform(water_mm, SCANNER), SCANNER), SCANNER, None)
        assert_close(found.mean(), torch.tensor(water_mm), rtol=4e-3, atol=0.2)  # a rest of scatter is left
        assert found.std() < 0.5


def test_noise_of_a_line_integral_is_that_of_its_quanta():
    scanner = Scanner(views=300, tube_current_time_mas=50, electronic_noise_quanta=20, modulation=0)
    exposure = expose(uniform(200.0, scanner), scanner)
    noisy = count(exposure, scanner, torch.Generator().manual_seed(4))
    clean = count(exposure, scanner, None)
    middle = slice(scanner.bins // 2 - 20, scanner.bins // 2 + 20)  # the bowtie gives the sides fewer
    quanta = exposure.quanta[0, 0, scanner.bins // 2] * 50 / 300 * scanner.area_mm2
    lost_per_mm = 0.0193  # of the logarithm by a millimetre of water, near 70 keV
    expected = torch.sqrt(quanta + 20**2) / quanta / lost_per_mm
    assert torch.isclose((noisy - clean)[..., middle].std(), expected, rtol=0.08)


def test_tube_current_follows_the_patient_and_keeps_the_dose():
    scanner = Scanner(views=32, tube_current_time_mas=50, modulation=0.5)
    paths = uniform(100.0, scanner)
    paths[:, 8:24] = 300.0
    generator = torch.Generator().manual_seed(2)
    noise = (count(expose(paths, scanner), scanner, generator) - paths.real)[0].std(dim=1)
    even = Scanner(views=32, tube_current_time_mas=50, modulation=0.0)
    noise_even = (count(expose(paths, even), even, generator) - paths.real)[0].std(dim=1)
    assert noise[16] < 0.9 * noise_even[16]  # the thick side gets more
    assert noise[0] > 1.1 * noise_even[0]


def test_a_starved_ray_stays_finite():
    exposure = expose(torch.complex(torch.full((1, 60, 1152), 700.0), torch.full((1, 60, 1152), 200.0)), SCANNER)
    assert torch.isfinite(count(exposure, SCANNER, torch.Generator().manual_seed(5))).all()
