"""How well the lungs are found: Dice on whole virtual chests whose pleura is known. `python -m plugins.ct_harmonizer.evaluate.lungs --phantoms 8`.

`2 |A and B| / (|A| + |B|)` over the voxels of a series, with A what `metrics.lung_mask` finds and B the truth: voxels whose greater part lies within the
pleura, with vessels, small airways and nodules, without trachea and main bronchi.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plugins.ct_harmonizer.evaluate import acquire
from plugins.ct_harmonizer.evaluate.each import command
from plugins.ct_harmonizer.metrics import lung_mask
from plugins.ct_harmonizer.simulate.phantom.patient import random_patient
from plugins.ct_harmonizer.simulate.polar import Grid
from plugins.ct_harmonizer.simulate.renditions import by_name

RENDITIONS = ("Force Br32 20 mAs", "Force Br40 100 mAs", "Force Br69 20 mAs")
THICKNESS_MM = (1.0, 5.0)
STEP_MM = 6.0  # between slices: the lungs' border is what is asked for, and slices cost a second each
MUST = 0.98
_FIELD_MM = 420.0  # of a patient of the standard size; the fattest are cut off at the sides, as in a clinic


@dataclass(frozen=True, slots=True)
class Overlap:
    """One series."""

    phantom: int
    rendition: str
    thickness_mm: float
    dice: float
    added: float  # share of the truth's volume that was found outside of it
    missed: float  # share of the truth that was not found


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """1 where both are the same, 0 where they share nothing. One of them must hold a voxel."""
    return float(2 * np.sum(found & truth) / (np.sum(found) + np.sum(truth)))


def overlaps(phantom: int, thicknesses_mm: Sequence[float] = THICKNESS_MM, matrix: int = 512) -> list[Overlap]:
    """All series of one random patient."""
    patient, made = random_patient(phantom), []
    for thickness in thicknesses_mm:
        case = acquire.whole_lungs(patient, STEP_MM, thickness, Grid(matrix, _FIELD_MM * patient.size / matrix))
        taker = acquire.Taker(case)
        for name in RENDITIONS:
            hu = taker.take(by_name(name).at(thickness_mm=thickness))
            found = lung_mask(hu, np.zeros(hu.shape, bool), case.spacing_mm)
            size = case.pleura.sum()
            added, missed = ((a & ~b).sum() / size for a, b in ((found, case.pleura), (case.pleura, found)))
            made.append(Overlap(phantom, name, thickness, dice(found, case.pleura), float(added), float(missed)))
    return made


def table(found: Sequence[Overlap]) -> str:
    """A line a rendition and thickness: mean, least, and what was added and missed; Markdown."""
    lines = [
        "| rendition | slices, mm | series | Dice, mean | Dice, least | added % | missed % | least >= 0.98 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, thickness in dict.fromkeys((one.rendition, one.thickness_mm) for one in found):
        own = [one for one in found if (one.rendition, one.thickness_mm) == (name, thickness)]
        least = min(one.dice for one in own)
        added, missed = (100 * np.mean([getattr(one, of) for one in own]) for of in ("added", "missed"))
        mean, verdict = np.mean([one.dice for one in own]), "pass" if least >= MUST else "FAIL"
        lines.append(
            f"| {name} | {thickness:g} | {len(own)} | {mean:.4f} | {least:.4f} | {added:.2f} | {missed:.2f} | {verdict} |"
        )
    return "\n".join(lines)


def main() -> None:
    command(
        "python -m plugins.ct_harmonizer.evaluate.lungs",
        __doc__,
        310_001,
        overlaps,
        told=lambda own: f"{own[0].phantom}: {', '.join(f'{one.dice:.4f}' for one in own)}",
        table=table,
    )


if __name__ == "__main__":
    main()
