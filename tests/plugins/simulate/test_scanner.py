import torch

from plugins.ct_harmonizer.simulate.scanner import WATER_PER_MM, Scanner, expose, pack, project, unpack

SCANNER = Scanner(views=60)


def test_line_integrals_of_ellipses_are_chords(grid):
    # x²/a² + y²/b² = 1 at (x0, y0): the chord at t from the centre's shadow is 2ab sqrt(w² - t²)/w², w² = a²cos² + b²sin².
    a, b, x0, y0 = 110.0, 65.0, 30.0, -40.0
    across = (torch.arange(grid.size) - grid.size // 2) * grid.pixel_mm
    u, v = (across[None, :] - x0) / a, (across[:, None] - y0) / b
    level = torch.hypot(u, v)
    distance = (level - 1) * level / torch.hypot(u / a, v / b).clamp(min=1e-6)
    filled = (0.5 - distance / grid.pixel_mm).clamp(0, 1)
    found = project(-1000 + 1000 * filled[None], grid, SCANNER)[0] / WATER_PER_MM

    angle = SCANNER.angles_rad().float()[:, None]
    bins = (torch.arange(SCANNER.bins) - SCANNER.bins // 2) * SCANNER.pitch_mm
    width2 = (a * torch.cos(angle)) ** 2 + (b * torch.sin(angle)) ** 2
    from_centre = bins - x0 * torch.cos(angle) - y0 * torch.sin(angle)
    chord = 2 * a * b * torch.sqrt((width2 - from_centre**2).clamp(min=0)) / width2
    well_inside = from_centre.abs() < 0.95 * torch.sqrt(width2)
    assert (found - chord).abs()[well_inside].max() < 0.5  # mm, of chords of up to 220 mm
    assert (found - chord).abs()[well_inside].mean() < 0.03
    assert torch.allclose(found.sum(dim=1) * SCANNER.pitch_mm, torch.tensor(torch.pi * a * b), rtol=1e-3)


def test_two_slices_in_one_complex_image_do_not_mix(grid, disc):
    one, other = -1000 + 1000 * disc(-50, 20, 40), -1000 + 850 * disc(30, 0, 80)
    together = project(torch.stack([one, other]), grid, SCANNER)
    alone = project(other[None], grid, SCANNER)
    assert (together[1] - alone[0]).abs().max() < 1e-3


def test_pairs_unpack_to_what_was_packed():
    odd = torch.randn(5, 3, 4)
    assert torch.equal(unpack(pack(odd), 5), odd)


def test_noise_of_a_line_integral_is_that_of_its_photons():
    scanner = Scanner(tube_current_time_mas=50, electronic_noise_photons=20)
    clean = torch.full((1, 400, 1000), 3.0)
    noisy = expose(clean, scanner, torch.Generator().manual_seed(4))
    photons = scanner.photons * torch.exp(torch.tensor(-3.0))
    expected = torch.sqrt(photons + 20**2) / photons
    assert torch.isclose(noisy.std(), expected, rtol=0.01)
    assert abs(noisy.mean() - 3.0) < 3 * expected**2 / 2  # the logarithm's own bias, half the variance


def test_a_starved_ray_stays_finite():
    noisy = expose(torch.full((1, 10, 10), 60.0), Scanner(), torch.Generator().manual_seed(5))
    assert torch.isfinite(noisy).all()
