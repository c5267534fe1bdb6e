"""A contact sheet of virtual patients, as they truly are: `python -m plugins.ct_harmonizer.simulate.sheet --out patients.png`.

Each random patient in a row: four heights in a lung window, one in a soft-tissue window, and the front view of the lungs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from plugins.ct_harmonizer.simulate.phantom.chest import build
from plugins.ct_harmonizer.simulate.phantom.draw import Canvas
from plugins.ct_harmonizer.simulate.phantom.patient import Patient, random_patient

_SIZE, _PIXEL_MM, _STEP_MM = 672, 0.75, 3.0
_HEIGHTS_MM = (45.0, 5.0, -40.0, -85.0)
_TOP_MM, _BOTTOM_MM = 75.0, -120.0
_FRONT_ROW_MM = 15.0  # behind the isocentre
_ROWS_MM, _COLUMNS_MM = (-165.0, 170.0), (-245.0, 245.0)  # of axial views
_LUNG, _SOFT = (-1350.0, 150.0), (-160.0, 240.0)


def main() -> None:
    mpl.use("Agg")
    parser = argparse.ArgumentParser(prog="python -m plugins.ct_harmonizer.simulate.sheet", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the PNG to write")
    parser.add_argument("--seed", type=int, default=1, help="of the first patient")
    parser.add_argument("--patients", type=int, default=8)
    parser.add_argument("--detail", type=float, default=0.6, help="share of the finest vessels, 0 to 1")
    chosen = parser.parse_args()
    patients = [random_patient(chosen.seed + number) for number in range(chosen.patients)]
    figure = Figure(figsize=(16, 2.05 * len(patients)), facecolor="black", layout="constrained")
    for number, (patient, axes) in enumerate(
        zip(patients, figure.subplots(len(patients), 6, squeeze=False), strict=True)
    ):
        for axis, (image, window, aspect) in zip(axes, views(patient, chosen.detail), strict=True):
            axis.imshow(image, cmap="gray", vmin=window[0], vmax=window[1], aspect=aspect)
            axis.axis("off")
        said = axes[0].text(0, -12, caption(patient), color="white", fontsize=8)
        said.set_in_layout(False)
        print(f"\rpatient {number + 1} of {len(patients)}", end="", file=sys.stderr)  # noqa: T201
    figure.savefig(chosen.out, dpi=65)
    print(f"\n{chosen.out}", file=sys.stderr)  # noqa: T201


def views(patient: Patient, detail: float) -> list[tuple[NDArray[np.float32], tuple[float, float], float]]:
    """Image in HU, window from and to, height of its pixels over their width."""
    heights = np.arange(_TOP_MM, _BOTTOM_MM, -_STEP_MM) * patient.size
    chest = build(Canvas(heights, _SIZE, _PIXEL_MM, _STEP_MM), patient, detail, lambda _share: None)
    hu = np.stack([fine.hu.numpy() for fine in chest.slices()])
    at = [int(np.argmin(np.abs(heights - height * patient.size))) for height in _HEIGHTS_MM]
    front = hu[:, _SIZE // 2 + round(_FRONT_ROW_MM / _PIXEL_MM)]
    rows, columns = (slice(*(round(of / _PIXEL_MM) + _SIZE // 2 for of in span)) for span in (_ROWS_MM, _COLUMNS_MM))
    axial = [(hu[number][rows, columns], _LUNG, 1.0) for number in at]
    soft = hu[at[1]][rows, columns]
    return [*axial, (soft, _SOFT, 1.0), (front[:, columns], _LUNG, _STEP_MM * patient.size / _PIXEL_MM)]


def caption(patient: Patient) -> str:
    """Who it is, in a line."""
    said = [patient.sex, f"size {patient.size:.2f}", f"fat {patient.fat_mm:+.0f} mm", f"arms {patient.arms}"]
    if patient.emphysema.laa_percent:
        said.append(f"{patient.emphysema.kind} emphysema, LAA-950 {patient.emphysema.laa_percent:.0f} %")
    if patient.ground_glass_percent:
        said.append(f"ground glass {patient.ground_glass_percent:.0f} %")
    if patient.contrast:
        said.append("contrast medium")
    said.append(f"{len(patient.nodules)} nodules")
    return f"seed {patient.seed}: " + ", ".join(said)


if __name__ == "__main__":
    main()
