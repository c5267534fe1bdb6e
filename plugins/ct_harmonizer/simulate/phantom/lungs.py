"""What fills the lungs: points spread through them, vessels and airways, emphysema, nodules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from plugins.ct_harmonizer.simulate.phantom import anatomy
from plugins.ct_harmonizer.simulate.phantom.draw import Ball, Canvas, draw_ball, draw_tree, lumpy
from plugins.ct_harmonizer.simulate.phantom.patient import Emphysema
from plugins.ct_harmonizer.simulate.phantom.solids import Points
from plugins.ct_harmonizer.simulate.phantom.trees import Tree, beside, grow

Array = NDArray[np.float64]
Volume = NDArray[np.float32]
Box = tuple[tuple[float, float, float], tuple[float, float, float]]  # two corners, x y z in mm

SUPPLIED_POINTS = 8000  # in each lung, for each of its trees, at full detail
_ARTERY_RADIUS_MM, _VEIN_RADIUS_MM = 7.0, 6.0
_AIRWAY_OF_ARTERY_MM = 1.3  # an artery of this radius or more has an airway that is drawn
_EMPHYSEMA_POWER = 2.3


@dataclass(frozen=True, slots=True)
class Side:
    """One lung: the box it lies in, where its vessels come from, and on which side of its arteries the airways run."""

    box: Box
    artery: tuple[float, float, float]
    veins: tuple[tuple[float, float, float], ...]
    airways_towards: tuple[float, float, float]


RIGHT = Side(
    ((-145.0, -100.0, -125.0), (-4.0, 100.0, 140.0)),
    (-40.0, 0.0, -30.0),
    ((-38.0, 6.0, -48.0), (-36.0, 22.0, -64.0)),
    (0.0, 0.97, 0.0),
)
LEFT = Side(
    ((4.0, -100.0, -135.0), (145.0, 100.0, 140.0)),
    (47.0, 16.0, -14.0),
    ((44.0, -6.0, -42.0), (42.0, 24.0, -62.0)),
    (-0.1, -0.25, -0.95),
)


@dataclass(frozen=True, slots=True)
class Nodule:
    """A solid nodule."""

    centre_mm: tuple[float, float, float]  # x, y, z of the patient
    diameter_mm: float  # of the ball of the same mean radius

    def scaled(self, factor: float) -> Nodule:
        """All lengths `factor` times as long."""
        x, y, z = (of * factor for of in self.centre_mm)
        return Nodule((x, y, z), self.diameter_mm * factor)


def depth_mm(points: Array) -> Array:
    """Signed distance (n,) of points (n, xyz) to the lungs' surface, negative inside."""
    at = Points(*torch.from_numpy(points).float().T)
    return np.asarray(anatomy.chest_wall_and_lungs(at)["lung"].double())


def spread(random: np.random.Generator, box: Box, number: int, deeper_than_mm: float) -> Array:
    """Points (number, xyz) spread evenly through the lungs within a box, at least so deep under their surface."""
    found = np.empty((0, 3))
    while len(found) < number:
        points = random.uniform(*box, (max(4 * number, 2000), 3))
        found = np.concatenate([found, points[depth_mm(points) < -deeper_than_mm]])
    return found[:number]


def draw_trees(canvas: Canvas, detail: float, random: np.random.Generator) -> tuple[Volume, Volume, Volume]:
    """Shares of vessel, of airway with its wall, and of airway lumen: (slice, row, column) each."""
    vessels, walls, lumens = canvas.empty(), canvas.empty(), canvas.empty()
    number = round(SUPPLIED_POINTS * detail)
    for side in (RIGHT, LEFT):
        supplied = spread(random, side.box, number, 1.0)
        arteries = grow(np.array(side.artery), supplied, _ARTERY_RADIUS_MM, random)
        draw_tree(canvas, vessels, arteries)
        lumen = beside(arteries, np.array(side.airways_towards), _AIRWAY_OF_ARTERY_MM)
        draw_tree(canvas, walls, Tree(lumen.ends_mm, lumen.radii_mm * 1.12 + 0.4))
        draw_tree(canvas, lumens, lumen)
        drained = spread(random, side.box, number, 1.0)
        nearest = np.argmin([np.linalg.norm(drained - root, axis=1) for root in np.array(side.veins)], axis=0)
        for order, root in enumerate(side.veins):
            draw_tree(canvas, vessels, grow(np.array(root), drained[nearest == order], _VEIN_RADIUS_MM, random))
    return vessels, walls, lumens


def draw_nodules(
    canvas: Canvas, diameters_mm: Sequence[float], random: np.random.Generator
) -> tuple[Volume, tuple[Nodule, ...]]:
    """Solid nodules, each in its own share of the slices, alternately in the right and the left lung."""
    volume, nodules = canvas.empty(), []
    low, high = float(canvas.z_mm.min()), float(canvas.z_mm.max())
    share = (high - low) / max(len(diameters_mm), 1)
    for order, diameter in enumerate(diameters_mm):
        middle = high - share * (order + 0.5)
        (x0, y0, _), (x1, y1, _) = (LEFT if order % 2 else RIGHT).box
        box = ((x0, y0, middle - share / 4), (x1, y1, middle + share / 4))
        centre = spread(random, box, 1, diameter / 2 + 3)[0]
        draw_ball(canvas, volume, lumpy(centre, diameter / 2, 0.16, random))
        nodules.append(Nodule((float(centre[0]), float(centre[1]), float(centre[2])), diameter))
    return volume, tuple(nodules)


def draw_emphysema(canvas: Canvas, emphysema: Emphysema, random: np.random.Generator) -> Volume:
    """Share of lost tissue in each voxel, about `emphysema.share` of the lung in all."""
    volume = canvas.empty()
    for ball in _holes(canvas, emphysema, random):
        draw_ball(canvas, volume, ball)
    return volume


def _holes(canvas: Canvas, emphysema: Emphysema, random: np.random.Generator) -> Iterator[Ball]:
    """Lost tissue, hole by hole."""
    low, high = float(canvas.z_mm.min()) - 5, float(canvas.z_mm.max()) + 5
    box: Box = ((-145.0, -100.0, low), (145.0, 100.0, high))
    probes = random.uniform(*box, (20000, 3))
    lung_mm3 = (depth_mm(probes) < 0).mean() * float(np.prod(np.subtract(box[1], box[0])))
    # Holes overlap, and more in clusters than by chance.
    wanted_mm3 = -np.log1p(-emphysema.share) * (1 + 2.4 * emphysema.share**2) * lung_mm3
    smallest, largest = emphysema.radii_mm
    power = 1 - _EMPHYSEMA_POWER
    chance = random.uniform(size=40000)
    radii = (smallest**power + chance * (largest**power - smallest**power)) ** (1 / power)
    radii = radii[: int(np.searchsorted(np.cumsum(4 / 3 * np.pi * radii**3), wanted_mm3)) + 1]
    clusters = spread(random, box, 400, 2.0)
    if emphysema.kind == "paraseptal":  # along the pleura
        near = spread(random, box, 4000, 1.0)
        clusters = near[np.argsort(-depth_mm(near))[:400]]
    height = (clusters[:, 2] - low) / (high - low)
    weight = np.exp(emphysema.apical * height + random.normal(0, 0.9, len(height)))
    home = clusters[random.choice(len(clusters), len(radii), p=weight / weight.sum())]
    for centre, radius in zip(home + random.normal(0, 7.0, home.shape), radii, strict=True):
        yield lumpy(centre, float(radius), 0.3, random)
