"""Emphysema: holes drawn into the lungs until as much of them as asked for is below -950 HU."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plugins.ct_harmonizer.simulate.phantom.draw import FULL, Canvas, Volume, draw_ball, lumpy
from plugins.ct_harmonizer.simulate.phantom.lungs import depth_mm, spread
from plugins.ct_harmonizer.simulate.phantom.parenchyma import Parenchyma
from plugins.ct_harmonizer.simulate.phantom.patient import Patient

_POWER = 2.3  # of the number of holes of a radius
_CLUSTER_MM = 7.0  # how far holes lie from the middle of their cluster
_CLUSTERS = 400
_ROUND = 0.02  # of the lung, in holes, between looks at how much is lost
_LOOK_AT = 200_000  # voxels of the lung: enough to tell its share within 0.2 points
_ROUNDS = 400  # holes overlap the more the more there are
_LIMIT_HU = -950.0
_PURE = 0.98  # lung tissue in a voxel; with less, what else is in it keeps it above -950 HU however much is lost


def draw_emphysema(parenchyma: Parenchyma, alveolar: NDArray[np.float32], random: np.random.Generator) -> Volume:
    """Share of lost tissue in one voxel of each `half` (slice, row, column) of the parenchyma's canvas.

    Args:
        parenchyma: what is lost; its patient's `emphysema.laa_percent` is reached over its heights, within what the last holes add.
        alveolar: share of those voxels that is lung tissue, and not vessel, airway or nodule.
        random: the source of chance.
    """
    whole, patient = parenchyma.canvas, parenchyma.patient
    canvas = Canvas(whole.z_mm, whole.size // whole.half + 1, whole.pixel_mm * whole.half, whole.thickness_mm)
    lost, wanted = canvas.empty(), patient.emphysema.laa_percent / 100
    looked_at = np.flatnonzero(alveolar > 0.5)
    if wanted == 0 or not looked_at.size:
        return lost
    if looked_at.size > _LOOK_AT:
        looked_at = np.random.default_rng(patient.seed).choice(looked_at, _LOOK_AT, replace=False)
        looked_at.sort()
    enough = np.where(alveolar.flat[looked_at] > _PURE, _enough(parenchyma, looked_at), 2.0)
    low, high = float(canvas.z_mm.min()) - 5, float(canvas.z_mm.max()) + 5
    box = ((-150.0, -110.0, low / patient.size), (150.0, 110.0, high / patient.size))
    probes = random.uniform(*box, (20000, 3)) * patient.scale
    lung_mm3 = (depth_mm(probes, patient) < 0).mean() * np.prod(np.subtract(box[1], box[0])) * np.prod(patient.scale)
    clusters = _clusters(patient, box, random)
    height = (clusters[:, 2] - low) / (high - low)
    weight = np.exp(patient.emphysema.apical * height + random.normal(0, 0.9, len(height)))
    for _ in range(_ROUNDS):
        radii = _radii(patient, _ROUND * float(lung_mm3), random)
        centres = clusters[random.choice(len(clusters), len(radii), p=weight / weight.sum())]
        centres += random.normal(0, _CLUSTER_MM, centres.shape)
        gap = np.abs(canvas.z_mm[:, None] - centres[:, 2]).min(axis=0)
        for number in np.flatnonzero(gap < 1.5 * radii + canvas.thickness_mm):
            draw_ball(canvas, lost, lumpy(centres[number], float(radii[number]), 0.3, random))
        if (lost.flat[looked_at] > FULL * enough).mean() >= wanted:
            break
        weight **= 0.97  # as the illness goes on, it spreads
    return lost


def _enough(parenchyma: Parenchyma, voxels: NDArray[np.intp]) -> NDArray[np.float32]:
    """(voxel,) of those of `alveolar`, by rising flat index: how much must be lost for less than -950 HU; over 1 where the hole itself has more."""
    step = parenchyma.canvas.half
    side = parenchyma.canvas.size // step + 1
    slices, within = np.divmod(voxels, side * side)
    shares = []
    for number in np.unique(slices):
        inside = within[slices == number]
        healthy, hole = (
            np.pad(np.asarray(of(int(number)))[::step, ::step], ((0, 1), (0, 1)), mode="edge").flat[inside]
            for of in (parenchyma.hu, parenchyma.emphysema_hu)
        )
        drop = np.maximum(healthy - hole, 1e-3)
        shares.append(np.where(hole < _LIMIT_HU, (healthy - _LIMIT_HU) / drop, 2.0))
    return np.concatenate(shares).astype(np.float32)


def _clusters(
    patient: Patient, box: tuple[tuple[float, float, float], tuple[float, float, float]], random: np.random.Generator
) -> NDArray[np.float64]:
    """Middles of clusters (cluster, xyz): anywhere, or along the pleura."""
    if patient.emphysema.kind != "paraseptal":
        return spread(random, patient, box, _CLUSTERS, 2.0)
    near = spread(random, patient, box, 10 * _CLUSTERS, 1.0)
    return np.asarray(near[np.argsort(-depth_mm(near, patient))[:_CLUSTERS]])


def _radii(patient: Patient, volume_mm3: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Radii of holes that together have this volume, by the power law."""
    smallest, largest = patient.emphysema.radii_mm
    power = 1 - _POWER
    chance = random.uniform(size=max(8, round(volume_mm3 / (4 / 3 * np.pi * smallest**3))))
    radii = (smallest**power + chance * (largest**power - smallest**power)) ** (1 / power)
    return np.asarray(radii[: int(np.searchsorted(np.cumsum(4 / 3 * np.pi * radii**3), volume_mm3)) + 1])
