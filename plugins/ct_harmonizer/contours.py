"""The lungs that are found in chest CT series, as contours: `python -m plugins.ct_harmonizer.contours FOLDER... --out lungs.png`.

A row a folder, its longest series: slices evenly spaced from the first with lung to the last.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from node.dicom.volume import load_folder, load_volume
from node.plugin import Volume
from plugins.ct_harmonizer.metrics import lung_mask
from plugins.ct_harmonizer.pictures import INK, new_figure, to_png

_COLUMNS, _WINDOW = 5, (-1250.0, 250.0)
_CONTOUR = "#f59e0b"


def read(folder: Path) -> Volume:
    """The longest series of a folder."""
    return Volume.of(load_volume(max(load_folder(folder).values(), key=len)))


def picture(series: Sequence[tuple[str, Volume]]) -> bytes:
    """A row each, with its name and the volume of its lungs; PNG."""
    figure = new_figure(2.4 * _COLUMNS, 2.5 * len(series))
    grid = figure.add_gridspec(len(series), _COLUMNS, wspace=0.03, hspace=0.12)
    for row, (name, volume) in enumerate(series):
        lungs = lung_mask(volume.hu, volume.padding, volume.spacing_mm)
        litres = lungs.sum() * float(np.prod(volume.spacing_mm)) / 1e6
        for column, number in enumerate(shown(lungs)):
            axes = figure.add_subplot(grid[row, column])
            aspect = volume.spacing_mm[1] / volume.spacing_mm[2]
            axes.imshow(volume.hu[number], cmap="gray", vmin=_WINDOW[0], vmax=_WINDOW[1], aspect=aspect)
            if lungs[number].any():
                axes.contour(lungs[number], [0.5], colors=_CONTOUR, linewidths=0.9)
            axes.axis("off")
            text = f"{name}: {litres:.2f} l" if column == 0 else f"slice {number + 1} of {len(lungs)}"
            axes.set_title(text, loc="left", fontsize=8, color=INK)
    return to_png(figure)


def shown(lungs: NDArray[np.bool_]) -> list[int]:
    """Slices evenly spaced over those with lung, or over all where none has any."""
    with_lung = np.flatnonzero(lungs.any(axis=(1, 2)))
    first, last = (with_lung[0], with_lung[-1]) if with_lung.size else (0, len(lungs) - 1)
    return [round(at) for at in np.linspace(first, last, _COLUMNS + 2)[1:-1].tolist()]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m plugins.ct_harmonizer.contours", description="The lungs that are found in chest CT series."
    )
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    chosen.out.write_bytes(picture([(folder.name, read(folder)) for folder in chosen.folders]))


if __name__ == "__main__":
    main()
