"""Nodules: where they lie, what shape they have, and their exact measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.measure import marching_cubes, mesh_surface_area

from plugins.ct_harmonizer.simulate.phantom.draw import Ball, Canvas, Volume, draw_ball, draw_tree, lumpy, tree_distance
from plugins.ct_harmonizer.simulate.phantom.lungs import LEFT, RIGHT, Box, depth_mm, spread
from plugins.ct_harmonizer.simulate.phantom.patient import Lesion, Patient
from plugins.ct_harmonizer.simulate.phantom.trees import Tree

Array = NDArray[np.float64]

_ROUGHNESS = {"smooth": 0.05, "lobulated": 0.16, "spiculated": 0.12}
_PLEURAL_SHARE = 0.45  # of its radius lies a juxtapleural nodule's centre under the pleura
_ATTACHED_VESSEL_MM = (1.0, 3.0)  # radius of one that a nodule lies on
_MESH_STEPS = 64  # across a nodule
_MESH_FINEST_MM, _MESH_COARSEST_MM = 0.03, 0.25  # a spicule must not fall between


@dataclass(frozen=True, slots=True)
class Mesh:
    """A closed surface of triangles."""

    vertices_mm: Array  # (vertex, xyz)
    faces: NDArray[np.int64]  # (triangle, 3)

    @property
    def volume_mm3(self) -> float:
        """By the divergence theorem."""
        a, b, c = (self.vertices_mm[self.faces[:, corner]] - self.vertices_mm.mean(axis=0) for corner in range(3))
        return abs(float(np.einsum("ij,ij->", a, np.cross(b, c)))) / 6

    @property
    def area_mm2(self) -> float:
        return float(mesh_surface_area(self.vertices_mm, self.faces))  # type: ignore[no-untyped-call]

    @property
    def sphericity(self) -> float:
        """Area of the ball of the same volume over the area: 1 for a ball (Wadell 1935)."""
        return float(np.pi ** (1 / 3) * (6 * self.volume_mm3) ** (2 / 3)) / self.area_mm2


@dataclass(frozen=True, slots=True)
class Nodule:
    """A nodule as it was drawn, in the patient's own measures."""

    lesion: Lesion
    centre_mm: tuple[float, float, float]  # x, y, z of the patient
    ball: Ball
    core: Ball | None  # the solid part of a part-solid one
    spicules: Tree | None
    within: Callable[[Array], Array] | None  # signed distance of points (n, xyz) to what cuts it off: the pleura

    @property
    def diameter_mm(self) -> float:
        """Of the ball of the same mean radius, without spicules."""
        return self.lesion.diameter_mm

    def mesh(self) -> Mesh:
        """Its surface with spicules, cut off at the pleura: of a ball, volume and area are within 0.2 and 0.3 %."""
        reach = 1.6 * self.ball.radius_mm
        if self.spicules is not None:
            reach = max(reach, float(np.abs(self.spicules.ends_mm - self.ball.centre_mm).max()) + 1.0)
        step = float(np.clip(self.diameter_mm / _MESH_STEPS, _MESH_FINEST_MM, _MESH_COARSEST_MM))
        along = (np.arange(-np.ceil(reach / step), np.ceil(reach / step) + 1) * step).astype(np.float32)
        x, y, z = along[:, None, None], along[None, :, None], along[None, None, :]
        level = self.ball.distance(x, y, z)
        if self.spicules is not None:
            around = Tree(self.spicules.ends_mm - self.ball.centre_mm, self.spicules.radii_mm)
            level = np.minimum(level, tree_distance(around, along))
        if self.within is not None:
            near = level < 4 * step
            points = along[np.argwhere(near)] + self.ball.centre_mm
            level[near] = np.maximum(level[near], self.within(points))
        vertices, faces, _, _ = marching_cubes(level, 0.0, spacing=(step,) * 3)  # type: ignore[no-untyped-call]
        return Mesh(vertices.astype(np.float64) + along[0] + self.ball.centre_mm, faces.astype(np.int64))


def place_nodules(canvas: Canvas, patient: Patient, vessels: Tree, random: np.random.Generator) -> tuple[Nodule, ...]:
    """The patient's nodules, each in its own share of the heights, alternately in the right and the left lung.

    Args:
        canvas: whose heights are seen.
        patient: whose nodules.
        vessels: those within the lungs, in the patient's measures.
        random: the source of chance.
    """
    low, high = float(canvas.z_mm.min()), float(canvas.z_mm.max())
    share = (high - low) / max(len(patient.nodules), 1)
    made = []
    for order, lesion in enumerate(patient.nodules):
        middle = high - share * (order + 0.5)
        box = _box(patient, order, middle, share / 4)
        centre = _centre(patient, lesion, box, vessels, random)
        ball = lumpy(centre, lesion.diameter_mm / 2, _ROUGHNESS[lesion.margin], random)
        core = None
        if lesion.density == "part-solid":
            off = random.normal(0, 0.08 * lesion.diameter_mm, 3)
            core = lumpy(centre + off, lesion.diameter_mm * random.uniform(0.15, 0.3), 0.1, random)
        spicules = _spicules(ball, random) if lesion.margin == "spiculated" else None
        within = (lambda points: depth_mm(points, patient)) if lesion.place == "juxtapleural" else None
        x, y, z = (float(of) for of in centre)
        made.append(Nodule(lesion, (x, y, z), ball, core, spicules, within))
    return tuple(made)


def draw_nodules(canvas: Canvas, nodules: Sequence[Nodule]) -> tuple[Volume, Volume]:
    """Shares of each voxel (slice, row, column) that are solid nodule, and ground-glass nodule with what is solid in it."""
    solid, glass = canvas.empty(), canvas.empty()
    for nodule in nodules:
        into = solid if nodule.lesion.density == "solid" else glass
        draw_ball(canvas, into, nodule.ball)
        if nodule.spicules is not None:
            draw_tree(canvas, into, nodule.spicules)
        if nodule.core is not None:
            draw_ball(canvas, solid, nodule.core)
    return solid, np.maximum(glass, solid)


def _box(patient: Patient, order: int, middle_mm: float, reach_mm: float) -> Box:
    """Heights round a middle, in one lung, in the standard man's measures."""
    (x0, y0, _), (x1, y1, _) = (LEFT if order % 2 else RIGHT).box
    return (x0, y0, (middle_mm - reach_mm) / patient.size), (x1, y1, (middle_mm + reach_mm) / patient.size)


def _centre(patient: Patient, lesion: Lesion, box: Box, vessels: Tree, random: np.random.Generator) -> Array:
    """Where a nodule lies: free in the lung, on the pleura, or on a vessel; free where there is no such vessel."""
    radius = lesion.diameter_mm / 2
    if lesion.place == "juxtapleural":
        near = spread(random, patient, box, 600, _PLEURAL_SHARE * radius)
        return np.asarray(near[np.argmax(depth_mm(near, patient))])
    if lesion.place == "juxtavascular":
        ends, radii = vessels.ends_mm[:, 1], vessels.radii_mm[:, 1]
        low, high = (np.array(corner) * patient.scale for corner in box)
        seen = ((ends > low) & (ends < high)).all(axis=1)
        seen &= (radii > _ATTACHED_VESSEL_MM[0]) & (radii < _ATTACHED_VESSEL_MM[1])
        seen[seen] = depth_mm(ends[seen], patient) < -(2 * radius + 3)
        if seen.any():
            chosen = int(random.choice(np.flatnonzero(seen)))
            away = random.normal(size=3)
            return np.asarray(ends[chosen] + away / np.linalg.norm(away) * (0.7 * (radius + radii[chosen])))
    return np.asarray(spread(random, patient, box, 1, radius + 3)[0])


def _spicules(ball: Ball, random: np.random.Generator) -> Tree:
    """Thin cones out of the ball's surface, most of which fork once."""
    ends, radii = [], []
    for _ in range(int(random.integers(12, 25))):
        outward = random.normal(size=3)
        outward /= np.linalg.norm(outward)
        length = ball.radius_mm * random.uniform(0.5, 1.1)
        thick = float(np.clip(0.13 * ball.radius_mm, 0.5, 1.1))
        start = ball.centre_mm + outward * 0.8 * ball.radius_mm
        fork = start + (outward + random.normal(0, 0.15, 3)) * (0.55 * length)
        ends.append(np.stack([start, fork]))
        radii.append((thick, 0.65 * thick))
        for _ in range(int(random.integers(1, 3))):
            ends.append(np.stack([fork, fork + (outward + random.normal(0, 0.4, 3)) * (0.45 * length)]))
            radii.append((0.65 * thick, 0.25 * thick))
    return Tree(np.array(ends), np.array(radii))
