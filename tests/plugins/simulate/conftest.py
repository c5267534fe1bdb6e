"""Objects whose line integrals and images are known in closed form."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from plugins.ct_harmonizer.simulate.polar import Grid

VOXEL_MM = 0.45


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """As `scan_chest` does: many short steps are faster on one thread while other tests run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def grid() -> Grid:
    return Grid(960, VOXEL_MM)


@pytest.fixture(scope="session")
def disc(grid: Grid) -> Callable[[float, float, float], Tensor]:
    """Filled share of each voxel by a disc at (x, y) of a radius, in mm; its edge a ramp one voxel wide."""
    across = (torch.arange(grid.size) - grid.size // 2) * grid.pixel_mm

    def draw(x_mm: float, y_mm: float, radius_mm: float) -> Tensor:
        distance = torch.hypot(across[None, :] - x_mm, across[:, None] - y_mm) - radius_mm
        return (0.5 - distance / grid.pixel_mm).clamp(0, 1)

    return draw
