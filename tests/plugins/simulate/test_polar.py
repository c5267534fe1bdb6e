import math

import pytest
import torch

from plugins.ct_harmonizer.simulate.polar import Grid, _counted, _sorted, analyse, synthesise

ANGLES = torch.arange(40, dtype=torch.float64) * math.pi / 40
FREQUENCY = torch.linspace(-0.4, 0.4, 201, dtype=torch.float64)


def test_transform_of_gaussians_is_the_closed_form():
    grid, width = Grid(256, 0.9), 2.5
    across = (torch.arange(256) - 128) * 0.9

    def gaussian(x, y):
        return torch.exp(-((across[None, :] - x) ** 2 + (across[:, None] - y) ** 2) / (2 * width**2))

    def transform(x, y):
        u, v = torch.cos(ANGLES)[:, None] * FREQUENCY, torch.sin(ANGLES)[:, None] * FREQUENCY
        height = 2 * math.pi * width**2 * torch.exp(-2 * (math.pi * width) ** 2 * (u**2 + v**2))
        return height * torch.exp(-2j * math.pi * (u * x + v * y))

    pair = torch.complex(gaussian(40, -55), gaussian(-90, 12))[None]
    expected = transform(40, -55) + 1j * transform(-90, 12)
    found = analyse(pair, grid, ANGLES, FREQUENCY)[:, :, 0]
    assert (found - expected).abs().max() < 2e-4 * expected.abs().max()


@pytest.mark.parametrize("centre_mm", [(0.0, 0.0), (31.0, -12.5)])
def test_synthesis_is_the_adjoint_of_analysis(centre_mm):
    torch.manual_seed(3)
    grid = Grid(128, 0.8, centre_mm)
    images = torch.randn(2, 128, 128, dtype=torch.complex64)
    lines = torch.randn(40, 201, 2, dtype=torch.complex64)
    one_way = (analyse(images, grid, ANGLES, FREQUENCY).conj() * lines).sum()
    other_way = (images.conj() * synthesise(lines, grid, ANGLES, FREQUENCY)).sum() * grid.pixel_mm**2
    assert abs(one_way - other_way) < 1e-4 * abs(one_way)


def test_an_accelerator_adds_up_in_the_same_order_as_a_cpu():
    torch.manual_seed(4)
    index, kernel = torch.randint(0, 500, (300, 36)), torch.rand(300, 36)
    for there, here in zip(_sorted(index, kernel, 500), _counted(index, kernel, 500), strict=True):
        assert torch.equal(there, here.to(there.dtype))
