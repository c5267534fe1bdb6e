"""The course of a training in one picture."""

from __future__ import annotations

import csv
from pathlib import Path

_SHOWN = {
    "huber": "Huber, weighted",
    "lung_rmse_hu": "RMSE in the lungs, HU",
    "perc15_hu": "|error of Perc15|, HU",
    "laa": "|error of LAA-950|, points",
}


def draw(curves: Path, picture: Path) -> None:
    """Four panels over the steps; dashed where the slices were as they came."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    with curves.open(newline="") as file:
        rows = list(csv.DictReader(file))
    step = [int(row["step"]) for row in rows]
    figure, axes = plt.subplots(1, len(_SHOWN), figsize=(14, 3.2), layout="constrained")
    for axis, (name, title) in zip(axes, _SHOWN.items(), strict=True):
        axis.plot(step, [float(row[name]) for row in rows])
        before = [row.get(f"before_{name}") for row in rows]
        if before[0]:
            axis.plot(step, [float(value or 0) for value in before], "--", color="0.6")
        axis.set(title=title, xlabel="step", ylim=(0, None))
    figure.savefig(picture, dpi=90)
    plt.close(figure)
