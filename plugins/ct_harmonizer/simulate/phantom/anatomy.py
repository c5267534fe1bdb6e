"""The organs of a virtual chest as signed distances in mm, in the standard man's measures."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from plugins.ct_harmonizer.simulate.phantom.patient import Patient
from plugins.ct_harmonizer.simulate.phantom.solids import (
    Node,
    Points,
    bump,
    common,
    ellipsoid,
    ramp,
    tube,
    turned,
    union,
    within,
    without,
)

RIB_STEP_MM = 22.0
VERTEBRA_STEP_MM = 23.0
SPINE_Y_MM = 72.0  # centre of the vertebral bodies

AORTA: list[Node] = [
    (4, -16, -66, 14), (-12, -26, -40, 16), (-16, -27, -10, 16.5), (-12, -22, 14, 15.5), (0, -6, 27, 14.5),
    (12, 14, 29, 14), (21, 36, 18, 13.5), (24, 46, -6, 13), (24, 48, -60, 12.5), (18, 48, -140, 12),
]  # fmt: skip
ARCH_VESSELS: list[list[Node]] = [
    [(-6, -14, 24, 7), (-12, -8, 60, 7)],
    [(4, 0, 28, 4.5), (8, 6, 62, 4.5)],
    [(13, 15, 28, 5), (20, 18, 62, 5)],
]
VEINS_GREAT: list[list[Node]] = [
    [(-29, -18, 60, 8), (-31, -17, 0, 9.5), (-32, -14, -48, 10.5)],
    [(-29, -20, 40, 7), (6, -36, 48, 6)],
    [(-30, -8, 10, 4.5), (-20, 30, 12, 4.5), (-8, 52, 0, 4), (-7, 54, -140, 3.5)],
]
PULMONARY_ARTERIES: list[list[Node]] = [
    [(8, -54, -58, 15), (16, -44, -34, 14.5), (22, -26, -18, 14)],
    [(20, -22, -20, 12), (0, -9, -24, 11.5), (-22, -4, -26, 11), (-40, 0, -30, 8)],
    [(22, -22, -16, 12.5), (38, 0, -8, 11.5), (47, 16, -14, 9)],
]
AIRWAYS: list[list[Node]] = [
    [(0, 4, 90, 8.8), (-2, 18, 2, 8.6)],
    [(-4, 18, 3, 7.5), (-22, 19, -15, 7), (-40, 16, -32, 5.6)],
    [(0, 18, 3, 7), (22, 20, -16, 6.5), (45, 12, -30, 5.2)],
]
PULMONARY_VEINS: list[list[Node]] = [
    [(-12, 16, -52, 9), (-38, 6, -48, 6)],
    [(-12, 20, -62, 9), (-36, 22, -64, 6)],
    [(16, 16, -50, 9), (44, -6, -42, 6)],
    [(16, 20, -62, 9), (42, 24, -62, 6)],
]
OESOPHAGUS: list[Node] = [(6, 34, 90, 7), (5, 40, 0, 7), (8, 40, -60, 7.5), (12, 36, -140, 8)]

_HALF_WIDTH_MM, _ARM_RADIUS_MM = 175.0, 36.0  # of the trunk, and of an upper arm with skin and fat
_HEART_MM = (8.0, -20.0, -75.0)  # its middle
_CENTRAL_X_MM, _CENTRAL_Y_MM = (-90.0, 105.0), (-100.0, 85.0)  # heart, vessels and airways lie well within


def cage_semi_axes(z: Tensor) -> tuple[Tensor, Tensor]:
    """Half width and half depth of the inside of the rib cage at a height."""
    narrowing = torch.sqrt(1 - ((z + 95) / 240).clamp(-0.98, 0.98) ** 2)
    return 142 * narrowing, 101 * narrowing**0.8


def _superellipse(at: Points, half_width: Tensor, half_depth: Tensor, exponent: float) -> Tensor:
    u, v = (at.x / half_width).abs() + 1e-6, (at.y / half_depth).abs() + 1e-6
    level = (u**exponent + v**exponent) ** (1 / exponent)
    slope = level ** (1 - exponent) * torch.sqrt(
        (u ** (exponent - 1) / half_width) ** 2 + (v ** (exponent - 1) / half_depth) ** 2
    )
    return (level - 1) / slope.clamp(min=1 / 400)


def cage(at: Points) -> Tensor:
    """The inside of the rib cage."""
    half_width, half_depth = cage_semi_axes(at.z)
    # A chest is flatter in front and its back corners are full: the depth axis is longer behind the middle.
    depth = torch.where(at.y > 0, half_depth * 0.95, half_depth)
    tilt = at.y * 0.0006 * half_width  # widest behind the middle
    return _superellipse(at, half_width - 4 + tilt.clamp(-8, 5), depth, 2.25)


def body(at: Points) -> Tensor:
    """The skin's outside."""
    half_width, half_depth = cage_semi_axes(at.z.clamp(max=40))
    front, back = half_depth + 24, half_depth + 33
    depth = torch.where(at.y > 0, back, front)
    distance = _superellipse(at, half_width + 33 + 6 * ramp(at.z, -20, 40), depth, 2.2)
    on_front, on_back = ramp(-at.y, 0, 60), ramp(at.y, 0, 60)
    breast = (bump(at.x, 72, 40) + bump(at.x, -72, 40)) * bump(at.z, -5, 60)
    shoulder = (bump(at.x, 95, 40) + bump(at.x, -95, 40)) * ramp(at.z, -90, 20)
    furrow = bump(at.x, 0, 14)
    return distance - 7 * breast * on_front - 9 * shoulder * on_back + 5 * furrow * on_back + 3 * furrow * on_front


def muscle(at: Points, cage_mm: Tensor, body_mm: Tensor) -> Tensor:
    """Muscles of the chest wall: between the ribs, beside the spine, pectoral, lateral, round the shoulder blade."""
    half_width, half_depth = cage_semi_axes(at.z)
    mirrored = Points(at.x.abs(), at.y, at.z)
    wall = cage_mm - 11.5
    erector = ellipsoid(Points(mirrored.x - 27, at.y - half_depth - 13, at.z * 0), (0, 0, 0), (25, 16, 1e3))
    lateral = turned(Points(mirrored.x - half_width * 0.93, at.y - half_depth * 0.42, at.z), (0, 0, 0), 62)
    latissimus = ellipsoid(Points(lateral.x, lateral.y + 17, at.z * 0), (0, 0, 0), (52, 9, 1e3))
    front = turned(Points(mirrored.x - 66, at.y + half_depth * 0.9, at.z), (0, 0, 0), 24)
    pectoral = ellipsoid(Points(front.x, front.y + 17, at.z - 30), (0, 0, 0), (55, 8.5, 75))
    behind = turned(Points(mirrored.x - half_width * 0.62, at.y - half_depth * 0.86, at.z), (0, 0, 0), 140)
    infraspinatus = ellipsoid(Points(behind.x, behind.y + 15, at.z - 45), (0, 0, 0), (46, 13, 80))
    solid = union(union(wall, erector, 4), union(latissimus, union(pectoral, infraspinatus, 2), 2), 3)
    return common(solid, body_mm + 7, 4)


def shoulder_blade(at: Points, cage_mm: Tensor) -> Tensor:
    """The lower scapula, moved outwards as with arms up: a thin plate over the back ribs, with a thicker outer edge."""
    angle = torch.atan2(at.x.abs(), at.y)  # 0 behind, towards pi in front
    thickness = 2.2 + 4.0 * bump(angle, 1.28, 0.09)
    plate = (cage_mm - 20 - 4 * bump(angle, 0.95, 0.25)).abs() - thickness
    tip = -18.0
    reach = 0.42 * ramp(at.z, tip, 70) ** 0.6
    outside = ((angle - 1.1).abs() - reach - 0.02) * 110
    return common(common(plate, outside, 3), (tip - at.z) * 0.8, 3)


def ribs(at: Points, cage_mm: Tensor) -> tuple[Tensor, Tensor]:
    """Bony ribs, and the cartilages that lead from their front ends to the sternum."""
    angle = torch.atan2(at.x.abs(), at.y)
    descent = 30 * angle + 6 * torch.sin(2 * angle)
    ascent = 60 * ramp(angle, 2.3, 3.1)
    along = at.z + descent - ascent
    off = torch.remainder(along + RIB_STEP_MM / 2, RIB_STEP_MM) - RIB_STEP_MM / 2
    level = torch.sqrt(((cage_mm - 5.6) / 3.6) ** 2 + (off / 6.3) ** 2 + 1e-6)
    rod = (level - 1) * 3.9
    front = (angle - 2.38) * 110
    bone = common(common(rod, front, 1), 25 - at.x.abs(), 2)
    cartilage = common(common(rod + 0.4, -front, 1), 13 - at.x.abs(), 2)
    return bone, cartilage


def spine(at: Points) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Vertebral bodies with discs (one column), where along it the discs are, the arches and processes, the canal."""
    half = VERTEBRA_STEP_MM / 2
    level = torch.remainder(at.z + 4 + half, VERTEBRA_STEP_MM) - half  # 0 in the middle of a vertebral body
    waist = 1.6 * bump(level, 0, 7)
    column = ellipsoid(Points(at.x, at.y - SPINE_Y_MM, at.z * 0), (0, 0, 0), (17.0, 14.5, 1e3)) + waist
    column = common(column, at.y - (SPINE_Y_MM + 11.5), 4)
    disc = half - 2.6 - level.abs()  # negative in a disc
    canal_y = SPINE_Y_MM + 20
    canal = ellipsoid(Points(at.x, at.y - canal_y, at.z * 0), (0, 0, 0), (9.8, 8.2, 1e3))
    ring = common(canal - 5.5, -(canal - 0.5), 0.5)
    ring = common(ring, (level - 2).abs() - 8.5, 2)
    pedicle_gap = common(at.y - (canal_y - 3), level.abs() - 5.5, 1)
    slant = torch.remainder(at.z + 0.7 * (at.y - canal_y) + 6 + half, VERTEBRA_STEP_MM) - half
    spinous = common((at.x.abs() - 2.6 - 1.2 * bump(at.y, canal_y + 24, 5)), slant.abs() - 7.5, 3)
    spinous = common(spinous, torch.maximum(canal_y + 9 - at.y, at.y - (canal_y + 27)), 3)
    mirrored = Points(at.x.abs(), at.y, level)
    transverse = tube(mirrored, [(12, canal_y + 7, 0, 5.5), (36, canal_y + 10, 1, 4.6)])
    pedicle = tube(mirrored, [(11.5, canal_y - 10, 3, 4.2), (12, canal_y + 4, 3, 4.6)])
    arch = union(
        union(torch.where(pedicle_gap < 0, ring.clamp(min=0.2), ring), spinous, 3), union(transverse, pedicle, 2), 3
    )
    return column, disc, without(arch, canal, 0.5), canal


def sternum(at: Points) -> Tensor:
    """Manubrium and body."""
    _, half_depth = cage_semi_axes(at.z)
    width = 17 + 9 * ramp(at.z, 15, 45)
    return ellipsoid(Points(at.x / width * 17, at.y + half_depth + 4.5, at.z * 0), (0, 0, 0), (17, 5.6, 1e3))


def clavicles(at: Points) -> Tensor:
    """From the manubrium outwards and back, in two bends."""
    half = Points(at.x.abs(), at.y, at.z)
    return tube(half, [(18, -76, 50, 8), (52, -84, 58, 5.5), (95, -62, 66, 5.5), (135, -30, 72, 7)])


def arms(at: Points, fat_mm: float) -> tuple[Tensor, Tensor, Tensor]:
    """Upper arms along the body, joining the shoulders: skin, muscle, and the humerus."""
    half = Points(at.x.abs(), at.y, at.z)
    middle = _HALF_WIDTH_MM + fat_mm + _ARM_RADIUS_MM + 1
    bone = [
        (middle - 42, 8.0, 100.0, 22.0),
        (middle - 20, 12.0, 45.0, 12.0),
        (middle - 3, 18.0, -30.0, 11.0),
        (middle, 22.0, -180.0, 10.5),
    ]
    flesh = _ARM_RADIUS_MM - 11
    humerus = tube(half, bone)
    around = tube(half, [(x, y, z, 11 + flesh) for x, y, z, _ in bone])
    return around, around + 7, humerus


def heart(at: Points, size: float) -> tuple[Tensor, Tensor]:
    """Ventricles, atria and the outflow, without their fat, so much larger than the standard man's; and the left ventricle's and atrium's blood."""
    x, y, z = _HEART_MM
    at = Points((at.x - x) / size + x, (at.y - y) / size + y, (at.z - z) / size + z)
    about = turned(at, (24, -30, -84), -38)
    ventricles = ellipsoid(about, (0, 0, 0), (62, 44, 46))
    right_atrium = ellipsoid(at, (-26, -20, -74), (27, 29, 36))
    left_atrium = ellipsoid(at, (2, 15, -58), (33, 20, 25))
    whole = union(union(ventricles, right_atrium, 10), left_atrium, 8)
    left_ventricle = ellipsoid(Points(about.x - 14, about.y - 9, about.z), (0, 0, 0), (36, 19, 24))
    return whole * size, torch.minimum(left_ventricle, left_atrium + 3) * size


def vessels(at: Points) -> tuple[Tensor, Tensor, Tensor]:
    """Great vessels: the aorta with its branches and the pulmonary veins, the pulmonary arteries, the great veins."""
    return tuple(  # type: ignore[return-value]
        torch.stack([tube(at, nodes) for nodes in group]).amin(dim=0)
        for group in ((AORTA, *ARCH_VESSELS, *PULMONARY_VEINS), PULMONARY_ARTERIES, VEINS_GREAT)
    )


def airways(at: Points) -> Tensor:
    """The air in the trachea and the main bronchi."""
    trachea, right, left = (tube(at, nodes) for nodes in AIRWAYS)
    return union(union(trachea, right, 3), left, 3)


def diaphragm(at: Points, higher_mm: float) -> Tensor:
    """Negative below the domes, which stand so much higher than the standard man's."""
    right = -70 - 0.0060 * ((at.x + 68) ** 2 + 1.1 * (at.y + 5) ** 2)
    left = -92 - 0.0065 * ((at.x - 72) ** 2 + 1.1 * (at.y + 5) ** 2)
    dome = torch.maximum(right, left)
    return (at.z - dome - higher_mm) * 0.75


def mediastinum(at: Points, soft_mm: Tensor) -> Tensor:
    """All between the lungs: the heart, vessels and airways in their fat, and a septum from spine to sternum."""
    septum_width = 3 + 16 * ramp(at.y, -70, -10) + 8 * ramp(-at.y, 62, 90) + 10 * ramp(at.z, 0, 45) * ramp(-at.y, 0, 60)
    septum = (at.x - 4).abs() - septum_width
    fat = soft_mm - 3.0 - 5.0 * bump(at.y, -45, 45)
    spine_mm = ellipsoid(Points(at.x, at.y - SPINE_Y_MM - 4, at.z * 0), (0, 0, 0), (20, 20, 1e3))
    spine_mm = union(spine_mm, tube(Points(at.x.abs(), at.y, at.z * 0), [(0, 92, 0, 16), (30, 104, 0, 12)]), 10)
    return union(union(septum, fat, 9), spine_mm, 14)


def lungs(cage_mm: Tensor, mediastinum_mm: Tensor, diaphragm_mm: Tensor) -> Tensor:
    """Both lungs, within the pleura."""
    return common(without(cage_mm + 1.2, mediastinum_mm, 5), -diaphragm_mm, 7)


def fissures(at: Points) -> Tensor:
    """Unsigned distance to the oblique fissures and the horizontal one of the right lung."""
    right = (at.z + 30 - 1.0 * (at.y + 8) - 10 * torch.sin(at.x / 40)) / math.sqrt(2)
    left = (at.z + 22 - 1.05 * (at.y + 6) + 9 * torch.sin(at.x / 37)) / math.sqrt(2.1)
    horizontal = at.z + 26 + 0.12 * (at.x + 70) + 0.08 * at.y + 3 * torch.sin(at.y / 25)
    horizontal = torch.where(right < 0, torch.full_like(horizontal, 99.0), horizontal.abs())
    oblique = torch.where(at.x < 0, right, left).abs()
    return torch.where(at.x < 0, torch.minimum(oblique, horizontal), oblique)


def couch(at: Points) -> tuple[Tensor, Tensor]:
    """The mattress, and the couch top under it."""
    top = 139.0 - 22 * (at.x / 190) ** 2
    across = at.x.abs() - 178
    mattress = common(torch.maximum(top - at.y, at.y - top - 9), across + 6, 4)
    board = common(torch.maximum(top + 10 - at.y, at.y - top - 34 + 14 * (at.x / 178) ** 4), across, 8)
    return mattress, board


def chest_wall_and_lungs(at: Points, patient: Patient) -> dict[str, Tensor]:
    """The rib cage's inside, the lungs, and what lies between and under them."""
    cage_mm = cage(at)

    def central(near: Points) -> tuple[Tensor, ...]:
        return *heart(near, patient.heart), *vessels(near), airways(near), tube(near, OESOPHAGUS)

    heart_mm, left_mm, systemic_mm, pulmonary_mm, veins_mm, airway_mm, oesophagus_mm = within(
        at, _CENTRAL_X_MM, _CENTRAL_Y_MM, central
    )
    vessels_mm = torch.minimum(torch.minimum(systemic_mm, pulmonary_mm), veins_mm)
    between_mm = torch.minimum(torch.minimum(heart_mm, vessels_mm), torch.minimum(airway_mm - 2, oesophagus_mm))
    diaphragm_mm = diaphragm(at, patient.diaphragm_mm)
    return {
        "cage": cage_mm,
        "lung": lungs(cage_mm, mediastinum(at, between_mm), diaphragm_mm),
        "liver": torch.maximum(diaphragm_mm, cage_mm) + 2.5,
        "pericardium": heart_mm - 6,
        "heart": heart_mm,
        "left_heart": left_mm,
        "systemic": systemic_mm,
        "pulmonary": pulmonary_mm,
        "veins": veins_mm,
        "oesophagus": oesophagus_mm,
        "airway": airway_mm,
        "airway_wall": airway_mm - 1.4,
    }


def breasts(at: Points, stand_out_mm: float) -> Tensor:
    """Lying on the back: flat, and to the sides; they stand out so far from the standard man's skin."""
    half_width, half_depth = cage_semi_axes(torch.full_like(at.z, -35.0))
    front_mm = float(half_depth.flatten()[0]) + 24
    beside = Points(at.x.abs() - 0.55 * half_width, at.y + front_mm - 14, at.z + 35)
    return ellipsoid(beside, (0, 0, 0), (62.0, stand_out_mm + 14, 58.0))


def organs(at: Points, patient: Patient) -> dict[str, Tensor]:
    """The signed distance of every organ in mm, by name, in the standard man's measures."""
    inner = chest_wall_and_lungs(at, patient)
    cage_mm, lean_mm = inner["cage"], body(at)
    body_mm = lean_mm - patient.fat_mm / patient.size
    if patient.breast_mm > 0:
        body_mm = union(body_mm, breasts(at, (patient.breast_mm + patient.fat_mm) / patient.size), 12)
    muscle_mm = muscle(at, cage_mm, lean_mm)
    humerus_mm = torch.full_like(lean_mm, 1e3)
    if patient.arms == "down":
        arm_mm, arm_muscle_mm, humerus_mm = arms(at, patient.fat_mm / patient.size)
        body_mm, muscle_mm = union(body_mm, arm_mm, 4), torch.minimum(muscle_mm, arm_muscle_mm)
    bone, cartilage = ribs(at, cage_mm)
    column, disc, arch, canal = spine(at)
    mattress, board = couch(Points(at.x, at.y - patient.fat_mm / patient.size, at.z))  # the body lies on it
    return inner | {
        "mattress": mattress,
        "board": board,
        "body": body_mm,
        "muscle": muscle_mm,
        "cartilage": cartilage,
        "ribs": bone,
        "scapula": shoulder_blade(at, cage_mm),
        "sternum": sternum(at),
        "clavicle": clavicles(at),
        "humerus": humerus_mm,
        "arch": arch,
        "column": column,
        "disc": torch.maximum(column + 0.8, disc),
        "canal": canal,
        "fissure": fissures(at) - 0.35,
    }
