"""What fills the lungs: points spread through them, vessels and airways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from plugins.ct_harmonizer.simulate.phantom import anatomy
from plugins.ct_harmonizer.simulate.phantom.draw import Canvas, Volume, draw_tree
from plugins.ct_harmonizer.simulate.phantom.patient import Patient
from plugins.ct_harmonizer.simulate.phantom.solids import Points
from plugins.ct_harmonizer.simulate.phantom.trees import Tree, beside, grow

Array = NDArray[np.float64]
Box = tuple[tuple[float, float, float], tuple[float, float, float]]  # two corners, x y z in the standard man's mm

SUPPLIED_POINTS = 8000  # in each lung, for each of its trees, at full detail
_ARTERY_RADIUS_MM, _VEIN_RADIUS_MM = 7.0, 6.0
_AIRWAY_OF_ARTERY_MM = 1.3  # an artery of this radius or more has an airway that is drawn


@dataclass(frozen=True, slots=True)
class Side:
    """One lung of the standard man: the box it lies in, where its vessels come from, on which side of its arteries the airways run."""

    box: Box
    artery: tuple[float, float, float]
    veins: tuple[tuple[float, float, float], ...]
    airways_towards: tuple[float, float, float]


RIGHT = Side(
    ((-145.0, -100.0, -135.0), (-4.0, 100.0, 140.0)),
    (-40.0, 0.0, -30.0),
    ((-38.0, 6.0, -48.0), (-36.0, 22.0, -64.0)),
    (0.0, 0.97, 0.0),
)
LEFT = Side(
    ((4.0, -100.0, -145.0), (145.0, 100.0, 140.0)),
    (47.0, 16.0, -14.0),
    ((44.0, -6.0, -42.0), (42.0, 24.0, -62.0)),
    (-0.1, -0.25, -0.95),
)


class Trees(NamedTuple):
    """Shares of each voxel, (slice, row, column), and the vessels themselves in the patient's measures."""

    vessels: Volume
    walls: Volume  # of airways, with what is inside them
    lumens: Volume
    branches: Tree  # all vessels


def depth_mm(points: Array, patient: Patient) -> Array:
    """Signed distance (n,) of points (n, xyz) of a patient to the lungs' surface, negative inside; near it within the patient's `depth`."""
    at = Points(*torch.from_numpy(points / patient.scale).float().T)
    return np.asarray(anatomy.chest_wall_and_lungs(at, patient)["lung"].double()) * patient.size


def spread(random: np.random.Generator, patient: Patient, box: Box, number: int, deeper_than_mm: float) -> Array:
    """Points (number, xyz) of the patient spread evenly through the lungs within a box, at least so deep under their surface.

    Raises:
        ValueError: there is no such place in a million.
    """
    found = np.empty((0, 3))
    for _ in range(200):
        points = random.uniform(*box, (max(4 * number, 5000), 3)) * patient.scale
        found = np.concatenate([found, points[depth_mm(points, patient) < -deeper_than_mm]])
        if len(found) >= number:
            return found[:number]
    raise ValueError(f"no lung {deeper_than_mm:.0f} mm under its surface between {box[0]} and {box[1]} mm")


def draw_trees(canvas: Canvas, patient: Patient, detail: float, random: np.random.Generator) -> Trees:
    """Grow and draw pulmonary arteries, airways and veins; `detail` is the share of the finest that grow."""
    vessels, walls, lumens = canvas.empty(), canvas.empty(), canvas.empty()
    number, scale, grown = round(SUPPLIED_POINTS * detail), np.array(patient.scale), []
    for side in (RIGHT, LEFT):
        supplied = spread(random, patient, side.box, number, 1.0)
        arteries = grow(np.array(side.artery) * scale, supplied, _ARTERY_RADIUS_MM * patient.size, random)
        lumen = beside(arteries, np.array(side.airways_towards), _AIRWAY_OF_ARTERY_MM)
        draw_tree(canvas, walls, Tree(lumen.ends_mm, lumen.radii_mm * 1.12 + 0.4))
        draw_tree(canvas, lumens, lumen)
        drained = spread(random, patient, side.box, number, 1.0)
        roots = np.array(side.veins) * scale
        nearest = np.argmin([np.linalg.norm(drained - root, axis=1) for root in roots], axis=0)
        radius = _VEIN_RADIUS_MM * patient.size
        grown += [
            arteries,
            *(grow(root, drained[nearest == order], radius, random) for order, root in enumerate(roots)),
        ]
    for tree in grown:
        draw_tree(canvas, vessels, tree)
    branches = Tree(*(np.concatenate([getattr(tree, name) for tree in grown]) for name in ("ends_mm", "radii_mm")))
    return Trees(vessels, walls, lumens, branches)
