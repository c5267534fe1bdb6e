"""The skin line of one slice, cut into arcs of 13 mm with a smooth sub-pixel course."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import find_contours

from plugins.ct_harmonizer.mtf.body import AIR_HU, FACTOR, SURFACE_HU, Body

ARC_MM = 13.0
_NEAR_MM = 6.0  # how far from the coarse outline the surface may lie
_BLUR_PIXELS = 1.0  # of the image before its crossing is followed: noise would fray the line


@dataclass(frozen=True, slots=True)
class Arcs:
    """Arcs of one slice, n of them. Lengths in mm; (row, column) from the centre of pixel (0, 0)."""

    centre_mm: NDArray[np.float64]  # (n, 2)
    inward: NDArray[np.float64]  # (n, 2), unit, from air to tissue
    tangent: NDArray[np.float64]  # (n, 2), unit
    course: NDArray[np.float64]  # (n, 3): depth of the line at u along the tangent is c0 + c1 u + c2 u^2
    roughness_mm: NDArray[np.float64]  # (n,), RMS distance of the line from that parabola
    obliquity: NDArray[np.float64]  # (n,), |n_z| of the 3-D surface normal

    def __len__(self) -> int:
        return len(self.centre_mm)


def find_arcs(image: NDArray[np.float32], body: Body, index: int, pixel_mm: tuple[float, float]) -> Arcs:
    """Arcs along the -500 HU line of a cleaned slice (row, column) in HU, where it is the body's outline."""
    line, ids = _points(image, body.mask[index], pixel_mm)
    count = int(ids.max()) + 1 if ids.size else 0
    if count == 0:
        none = np.zeros((0, 2))
        return Arcs(none, none, none, np.zeros((0, 3)), np.zeros(0), np.zeros(0))
    number = np.bincount(ids, minlength=count)
    centre = np.stack([np.bincount(ids, line[:, axis], count) / number for axis in (0, 1)], axis=1)
    gradient = _gradient_at(body, index, centre, pixel_mm)
    flat = np.hypot(gradient[:, 1], gradient[:, 2])
    obliquity = np.abs(gradient[:, 0]) / np.maximum(np.hypot(flat, gradient[:, 0]), 1e-9)
    tangent = _tangents(line, ids, count, centre)
    inward = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    flip = np.sign(np.sum(inward * gradient[:, 1:], axis=1))
    inward *= np.where(flip == 0, 1.0, flip)[:, None]
    away = line - centre[ids]
    u = np.sum(away * tangent[ids], axis=1)
    v = np.sum(away * inward[ids], axis=1)
    course = _parabolas(ids, u, v, count)
    left = v - (course[ids, 0] + course[ids, 1] * u + course[ids, 2] * u**2)
    roughness = np.sqrt(np.bincount(ids, left**2, count) / number)
    return Arcs(centre, inward, tangent, course, roughness, obliquity)


def _points(
    image: NDArray[np.float32], mask: NDArray[np.bool_], pixel_mm: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Points of the outline in mm (n, 2), and the arc each belongs to."""
    if not mask.any():
        return np.zeros((0, 2)), np.zeros(0, np.int64)
    reach = max(1, round(_NEAR_MM / (FACTOR * min(pixel_mm))))
    outer = ndimage.maximum_filter(mask, 2 * reach + 1, mode="constant", cval=0)
    inner = ndimage.minimum_filter(mask, 2 * reach + 1, mode="constant", cval=1)
    rows, columns = (np.flatnonzero(outer.any(axis=axis)) for axis in (1, 0))
    top, left = max(rows[0] - 1, 0) * FACTOR, max(columns[0] - 1, 0) * FACTOR
    crop = image[top : (rows[-1] + 2) * FACTOR, left : (columns[-1] + 2) * FACTOR]
    field = ndimage.gaussian_filter(crop, _BLUR_PIXELS, truncate=3.0)
    field[_fine(~outer, field.shape, top, left)] = AIR_HU
    field[_fine(inner, field.shape, top, left)] = 0.0
    points, ids, used = [], [], 0
    for contour in find_contours(field, SURFACE_HU):  # type: ignore[no-untyped-call]
        line = np.add(contour, (top, left)) * pixel_mm
        run = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
        arcs = int(run[-1] // ARC_MM)
        if arcs < 5:  # a short line is no body: a lead, a fold, noise
            continue
        own = np.minimum((run / run[-1] * arcs).astype(np.int64), arcs - 1)
        points.append(line)
        ids.append(own + used)
        used += arcs
    if not points:
        return np.zeros((0, 2)), np.zeros(0, np.int64)
    return np.concatenate(points), np.concatenate(ids)


def _fine(coarse: NDArray[np.bool_], shape: tuple[int, ...], top: int, left: int) -> NDArray[np.bool_]:
    """A coarse mask on the cropped image's pixels; what lies past the coarse grid takes the nearest."""
    rows = np.minimum((np.arange(shape[0]) + top) // FACTOR, coarse.shape[0] - 1)
    columns = np.minimum((np.arange(shape[1]) + left) // FACTOR, coarse.shape[1] - 1)
    return np.asarray(coarse[rows][:, columns])


def _gradient_at(
    body: Body, index: int, centre_mm: NDArray[np.float64], pixel_mm: tuple[float, float]
) -> NDArray[np.float64]:
    """Inward gradient (n, 3) of the blurred body at points of one slice."""
    middle = (FACTOR - 1) / 2  # a coarse pixel's centre, in pixels of the image
    at = ((centre_mm / pixel_mm) - middle) / FACTOR
    planes = [ndimage.map_coordinates(body.gradient[axis, index], at.T, order=1, mode="nearest") for axis in range(3)]
    return np.stack(planes, axis=1).astype(np.float64)


def _tangents(
    line: NDArray[np.float64], ids: NDArray[np.int64], count: int, centre: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Direction (n, 2) of greatest spread of each arc's points."""
    away = line - centre[ids]
    rr, cc, rc = (np.bincount(ids, away[:, i] * away[:, j], count) for i, j in ((0, 0), (1, 1), (0, 1)))
    angle = 0.5 * np.arctan2(2 * rc, rr - cc)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _parabolas(
    ids: NDArray[np.int64], u: NDArray[np.float64], v: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    """Least-squares parabola (n, 3) of v over u for each arc."""
    powers = [np.bincount(ids, u**k, count) for k in range(5)]
    normal = np.stack([np.stack([powers[i + j] for j in range(3)], axis=-1) for i in range(3)], axis=-2)
    right = np.stack([np.bincount(ids, v * u**k, count) for k in range(3)], axis=-1)
    return np.asarray(np.linalg.solve(normal + 1e-6 * np.eye(3), right[..., None])[..., 0])
