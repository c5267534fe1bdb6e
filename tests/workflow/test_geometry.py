"""A slice that was moved is found, whatever was done to its values."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from node.errors import PermanentError
from node.workflow.geometry import require_same_geometry

SIDE, SLICES = 96, 7


def chest(seed: int = 0) -> np.ndarray:
    """(slice, row, column), HU: ellipses of soft tissue, lungs and a spine, with noise; nearly symmetric, as people are."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    slices = []
    for index in range(SLICES):
        lung = 0.10 + 0.01 * index
        hu = np.where((x / 0.45) ** 2 + (y / 0.33) ** 2 < 1, 40.0, -1000.0)
        for side in (-1, 1):
            hu[((x - side * 0.2) / lung) ** 2 + ((y + 0.02) / 0.2) ** 2 < 1] = -850.0
        hu[(x + 0.03) ** 2 + (y + 0.1 - 0.01 * index) ** 2 < 0.06**2] = 45.0
        hu[x**2 + (y - 0.22) ** 2 < 0.05**2] = 400.0
        slices.append(hu + rng.normal(0, 30, hu.shape))
    return np.float32(slices)


def judge(source: np.ndarray, made: np.ndarray) -> None:
    require_same_geometry("p", SimpleNamespace(hu=source, series_instance_uid="1.2"), made)


@given(st.integers(0, 2**16), st.floats(0, 2), st.floats(0.5, 3))
@settings(max_examples=25, deadline=None)
def test_values_may_change(seed: int, blur: float, gain: float):
    source = chest(seed)
    smooth = ndimage.gaussian_filter(source, (0, blur, blur))
    judge(source, np.float32(smooth + gain * (source - smooth)))


MOVES = {
    "mirrored left to right": lambda made: made[:, :, ::-1],
    "mirrored top to bottom": lambda made: made[:, ::-1],
    "transposed": lambda made: made.transpose(0, 2, 1),
    "turned by 90": lambda made: np.rot90(made, 3, (1, 2)),
    "moved by -4 rows and 3 columns": lambda made: np.roll(made, (4, -3), (1, 2)),
    "fits slice 7 of the source better": lambda made: made[::-1],
    "does not show what its source shows": lambda made: np.random.default_rng(1).normal(0, 100, made.shape),
}


@pytest.mark.parametrize("told", MOVES)
def test_places_may_not(told: str):
    source = chest()
    smooth = np.float32(ndimage.gaussian_filter(source, (0, 0.7, 0.7)))
    with pytest.raises(PermanentError, match=f"changed the geometry of series 1.2: its slice 1 .*{told}"):
        judge(source, np.float32(MOVES[told](smooth)))


def test_where_nothing_is_to_be_seen_nothing_is_said():
    judge(np.zeros((3, 8, 8), np.float32), np.ones((3, 8, 8), np.float32))


def test_real_series(data):
    from node.dicom.volume import load_volume
    from node.plugin import Volume

    paths = sorted((data / "chest" / "lung-dx-a0002-b40f").glob("*.dcm"))[::4]
    volume = Volume.of(load_volume(paths))
    judge(volume.hu, ndimage.gaussian_filter(volume.hu, (0, 1, 1)))
    with pytest.raises(PermanentError, match="mirrored left to right"):
        judge(volume.hu, volume.hu[:, :, ::-1])
