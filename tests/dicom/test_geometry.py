from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from node.dicom.geometry import OrientationInvalid, Stack, normal_of, plane, stack
from node.dicom.headers import read_header
from node.dicom.values import numbers

AXIAL, CORONAL, SAGITTAL = (1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1)


def along_z(*positions: float) -> Stack:
    return stack(AXIAL, [(0, 0, z) for z in positions])


def rotation(axis: tuple[float, float, float], angle: float) -> NDArray[np.float64]:
    """By Rodrigues' formula."""
    x, y, z = np.asarray(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross)


coordinates = st.floats(-1, 1, allow_nan=False)
axes = st.tuples(coordinates, coordinates, coordinates).filter(lambda axis: np.linalg.norm(axis) > 0.1)


@given(
    axis=axes,
    angle=st.floats(-math.pi, math.pi),
    count=st.integers(2, 40),
    spacing_mm=st.floats(0.1, 20),
    tilt_deg=st.floats(0, 30),
    order=st.randoms(use_true_random=False),
)
def test_any_direction_and_order_gives_the_same_stack(axis, angle, count, spacing_mm, tilt_deg, order) -> None:
    turn = rotation(axis, angle)
    orientation = [*turn[:, 0], *turn[:, 1]]
    step = spacing_mm * (turn[:, 2] + math.tan(math.radians(tilt_deg)) * turn[:, 1])
    origins = [np.array([3.0, -2.0, 5.0]) + index * step for index in range(count)]
    shuffled = list(range(count))
    order.shuffle(shuffled)
    found = stack(orientation, [origins[index] for index in shuffled])
    assert [shuffled[place] for place in found.order] == list(range(count))
    assert found.spacing_mm == pytest.approx(spacing_mm, abs=1e-6)
    assert found.spacing_uniform
    assert found.tilt_deg == pytest.approx(tilt_deg, abs=1e-3)
    assert found.extent_mm == pytest.approx(spacing_mm * (count - 1), rel=1e-6)
    assert found.normal == pytest.approx(tuple(turn[:, 2]), abs=1e-9)
    assert not found.duplicates
    assert not found.gaps


@pytest.mark.parametrize(
    ("positions", "uniform"),
    [
        ((0, 1, 2, 3), True),
        ((0, 1, 2.01, 3.01), True),  # 1 % of 1 mm
        ((0, 1, 2.02, 3.02), False),
        ((0, 0.1, 0.205, 0.305), True),  # within 0.01 mm, though 5 %
        ((0, 0.1, 0.22, 0.32), False),
        ((0, 5, 10.04, 15), True),
        ((0, 5, 10.2, 15), False),
    ],
)
def test_uniformity_is_one_per_cent_and_at_least_a_hundredth(positions: tuple[float, ...], uniform: bool) -> None:
    assert along_z(*positions).spacing_uniform is uniform


def test_a_missing_slice_is_a_gap_and_counted() -> None:
    found = along_z(0, 2.5, 5, 12.5, 15, 20, 22.5)
    assert found.gaps == ((5, 12.5, 2), (15, 20, 1))
    assert found.spacing_uniform is False


def test_uneven_spacing_is_no_gap() -> None:
    assert along_z(0, 4, 8, 12, 19, 26, 33).gaps == ()


def test_duplicates_name_the_later_one_last() -> None:
    assert along_z(0, 2, 4, 2.005).duplicates == ((1, 3),)
    assert along_z(2, 0, 2).duplicates == ((0, 2),)


def test_a_single_slice_has_no_spacing() -> None:
    found = along_z(7)
    assert (found.spacing_mm, found.spacing_uniform, found.tilt_deg, found.extent_mm) == (None, None, None, 0)


@pytest.mark.parametrize(("orientation", "name"), [(AXIAL, "axial"), (CORONAL, "coronal"), (SAGITTAL, "sagittal")])
def test_planes(orientation: tuple[float, ...], name: str) -> None:
    assert plane(normal_of(orientation)) == name
    assert plane(-normal_of(orientation)) == name


def test_a_tilted_gantry_stays_axial_and_half_way_is_oblique() -> None:
    for tilt_deg, name in ((30, "axial"), (45, "oblique"), (60, "coronal")):
        radians = math.radians(tilt_deg)
        assert plane((0, math.sin(radians), math.cos(radians))) == name


@pytest.mark.parametrize(
    "orientation", [(0, 0, 0, 0, 0, 0), (1, 0, 0, 1, 0, 0), (1, 0, 0, 0, 0.5, 0), (1, 0, 0, 0.7, 0.7, 0)]
)
def test_an_orientation_that_is_none_is_refused(orientation: tuple[float, ...]) -> None:
    with pytest.raises(OrientationInvalid):
        normal_of(orientation)


def test_rounded_cosines_are_taken() -> None:
    assert np.linalg.norm(normal_of((1, 0, 0, 0, 0.948, -0.317))) == pytest.approx(1)


def of_folder(folder: Path) -> Stack:
    headers = [read_header(path) for path in sorted(folder.glob("*.dcm"))]
    orientation = numbers(headers[0], "ImageOrientationPatient")
    return stack(orientation, [numbers(header, "ImagePositionPatient") for header in headers])


@pytest.mark.parametrize(
    ("folder", "count", "spacing_mm", "tilt_deg"),
    [
        ("chest/lidc-0001", 84, 2.5, 0),
        ("chest/lung-dx-a0002-b70f", 30, 8, 0),
        ("phantom/head-ub", 30, 1, 0),
        ("phantom/head-tilted-uneven", 14, 4.0, 18.5),
    ],
)
def test_real_scans(data: Path, folder: str, count: int, spacing_mm: float, tilt_deg: float) -> None:
    found = of_folder(data / folder)
    assert len(found.order) == count
    assert found.spacing_mm == pytest.approx(spacing_mm, rel=1e-3)
    assert found.spacing_uniform
    assert found.tilt_deg == pytest.approx(tilt_deg, abs=0.01)
    assert plane(found.normal) == "axial"
