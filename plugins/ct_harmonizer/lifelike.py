"""Real series and virtual ones like them in one picture: `python -m plugins.ct_harmonizer.lifelike FOLDER... --out lifelike.png`.

Each folder holds a chest CT series. Its virtual neighbour is another patient with little emphysema: same kernel (by name), dose, slice thickness and
field of view, nothing fitted. Rows: a slice of both; histograms of the lungs' HU; noise power in soft tissue; autocorrelation of lung tissue.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy import ndimage

from node.dicom.volume import load_folder, load_volume
from plugins.ct_harmonizer.metrics import lung_mask
from plugins.ct_harmonizer.mtf.noise import Noise, measure_noise
from plugins.ct_harmonizer.pictures import INK, new_figure, plain, title, to_png
from plugins.ct_harmonizer.simulate.phantom.patient import Emphysema, Patient
from plugins.ct_harmonizer.simulate.renditions import Rendition, others, paper
from plugins.ct_harmonizer.simulate.series import Request, scan_chest

_REAL, _VIRTUAL = "#c2410c", "#1d4ed8"
_SLICES, _SPACING_MM = 16, 8.0  # of the virtual series
_PATCH_MM, _NO_VESSEL_HU = 10.0, -650.0


@dataclass(frozen=True, slots=True)
class Series:
    """What is compared."""

    name: str
    hu: NDArray[np.float32]  # (slice, row, column)
    padding: NDArray[np.bool_]
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Texture:
    """Figures of a series."""

    lungs_hu: NDArray[np.float32]  # (voxel,)
    noise: Noise
    lag_mm: NDArray[np.float64]
    autocorrelation: NDArray[np.float64]  # of lung tissue between vessels in squares less their mean, 1 at no lag


def read(folder: Path) -> tuple[Series, Rendition]:
    """The longest series of a folder, and the rendition of its kernel at its dose and slice thickness.

    Raises:
        ValueError: no rendition has a kernel of that name.
    """
    loaded = load_volume(max(load_folder(folder).values(), key=len))
    first, thickness = loaded.headers[0], loaded.slice_thickness_mm or loaded.spacing_mm[0]
    kernel = str(first["ConvolutionKernel"])
    named = [one for one in (*others(), *paper()) if one.kernel.name in {kernel, kernel.removesuffix("f")}]
    if not named:
        raise ValueError(f"{folder}: no rendition has a kernel {kernel!r}")
    mas = float(first["XRayTubeCurrent"]) * float(first["ExposureTime"]) / 1000
    name = f"{str(first['Manufacturer']).split()[0]} {kernel}, {thickness:g} mm, {mas:.0f} mAs"
    return Series(name, loaded.hu, loaded.padding, loaded.spacing_mm), named[0].at(mas=mas, thickness_mm=thickness)


def virtual(like: Series, rendition: Rendition, seed: int) -> Series:
    """A patient with little emphysema, with the scanner's settings of another series."""
    request = Request(
        slices=_SLICES,
        spacing_mm=_SPACING_MM,
        field_of_view_mm=like.spacing_mm[2] * like.hu.shape[2],
        rendition=rendition,
        patient=Patient(seed, emphysema=Emphysema(2.0)),
        noise_seed=seed,
    )
    hu = scan_chest(request, lambda _done, _total: None).hu.astype(np.float32)
    pixel_mm = request.image.pixel_mm
    return Series(rendition.name, hu, np.zeros(hu.shape, bool), (_SPACING_MM, pixel_mm, pixel_mm))


def texture(series: Series) -> Texture:
    """What is drawn of a series; its lungs must be in it."""
    lungs = lung_mask(series.hu, series.padding, series.spacing_mm)
    noise = measure_noise(series.hu, series.spacing_mm, series.padding)
    patches = list(_between_vessels(series, lungs))
    size = len(patches[0])
    power = np.mean([np.abs(np.fft.fft2(patch - patch.mean(), (2 * size, 2 * size))) ** 2 for patch in patches], axis=0)
    overlap = np.abs(np.fft.fft2(np.ones((size, size)), (2 * size, 2 * size))) ** 2
    covariance = np.fft.ifft2(power).real / np.maximum(np.fft.ifft2(overlap).real, 1)
    axis = np.fft.fftfreq(2 * size, 1 / (2 * size))
    lag = np.hypot(axis[:, None], axis)
    ring, rings = np.round(lag).astype(int), np.arange(size // 2)
    radial, lags = (np.asarray(ndimage.mean(of, ring, rings), np.float64) for of in (covariance, lag))
    return Texture(series.hu[lungs], noise, lags * series.spacing_mm[2], radial / radial[0])


def _between_vessels(series: Series, lungs: NDArray[np.bool_]) -> Iterator[NDArray[np.float32]]:
    """Squares wholly within the lungs that no larger vessel touches."""
    size = round(_PATCH_MM / series.spacing_mm[2])
    blurred = ndimage.gaussian_filter(series.hu, (0, 1.5, 1.5))
    free = lungs & (blurred < _NO_VESSEL_HU)
    for image, allowed in zip(series.hu, free, strict=True):
        for row in range(0, len(image) - size, size // 2):
            for column in range(0, image.shape[1] - size, size // 2):
                window = slice(row, row + size), slice(column, column + size)
                if allowed[window].all():
                    yield image[window]


def picture(pairs: Sequence[tuple[Series, Series]]) -> bytes:
    """A column a pair: the real series and its virtual neighbour."""
    figure = new_figure(6.2 * len(pairs), 18.5)
    rows = figure.add_gridspec(4, len(pairs), height_ratios=(1.15, 1, 1, 1), hspace=0.32, wspace=0.16)
    for column, pair in enumerate(pairs):
        halves = rows[0, column].subgridspec(1, 2, wspace=0)
        for half, one in enumerate(pair):
            axes = figure.add_subplot(halves[half])
            lungs = lung_mask(one.hu, one.padding, one.spacing_mm).sum(axis=(1, 2))
            image = one.hu[int(np.argmax(lungs))]
            middle = image.shape[1] // 2
            shown = image[:, middle:] if half else image[:, :middle]
            axes.imshow(shown[shown.shape[1] // 4 : -shown.shape[1] // 4], cmap="gray", vmin=-1250, vmax=250)
            axes.set_anchor("W" if half else "E")
            axes.axis("off")
        figure.add_subplot(rows[0, column], frameon=False, xticks=[], yticks=[]).set_title(
            f"{pair[0].name}: left half\n{pair[1].name}: right half", loc="left", fontsize=12, color=INK
        )
        found = [texture(one) for one in pair]
        _histograms(figure.add_subplot(rows[1, column]), found)
        _power(figure.add_subplot(rows[2, column]), found)
        _correlations(figure.add_subplot(rows[3, column]), found)
    return to_png(figure)


def _histograms(axes: Axes, found: Sequence[Texture]) -> None:
    for one, colour, name in zip(found, (_REAL, _VIRTUAL), ("real", "virtual"), strict=True):
        label = f"{name}: median {np.median(one.lungs_hu):.0f}, 15 % below {np.percentile(one.lungs_hu, 15):.0f} HU"
        bins = np.arange(-1030, -380, 10).tolist()
        axes.hist(one.lungs_hu, bins, density=True, histtype="step", color=colour, linewidth=1.8, label=label)
    _finish(axes, "HU of the lungs", "HU")


def _power(axes: Axes, found: Sequence[Texture]) -> None:
    for one, colour, name in zip(found, (_REAL, _VIRTUAL), ("real", "virtual"), strict=True):
        nps, level = one.noise.nps, one.noise.level_hu
        if nps is None or level is None:
            continue
        label = f"{name}: {level:.1f} HU, mean frequency {nps.mean_per_mm:.2f} /mm"
        area = nps.radial_hu2_mm2.sum() * nps.frequency_per_mm[1]
        axes.plot(nps.frequency_per_mm, nps.radial_hu2_mm2 / area, color=colour, linewidth=1.8, label=label)
    _finish(axes, "Noise power in soft tissue, its integral 1", "cycles/mm")


def _correlations(axes: Axes, found: Sequence[Texture]) -> None:
    for one, colour, name in zip(found, (_REAL, _VIRTUAL), ("real", "virtual"), strict=True):
        half = float(np.interp(-0.5, -one.autocorrelation, one.lag_mm))
        axes.plot(one.lag_mm, one.autocorrelation, color=colour, linewidth=1.8, label=f"{name}: half at {half:.2f} mm")
    _finish(axes, "Autocorrelation of lung tissue between vessels", "mm")


def _finish(axes: Axes, text: str, unit: str) -> None:
    plain(axes)
    title(axes, text)
    axes.set_xlabel(unit, color=INK)
    axes.set_ylim(top=1.2 * axes.get_ylim()[1])  # room for the legend
    axes.legend(frameon=False, fontsize=10, loc="upper right")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m plugins.ct_harmonizer.lifelike", description="Real series and virtual ones like them."
    )
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=5)
    chosen = parser.parse_args()
    real = [read(folder) for folder in chosen.folders]
    chosen.out.write_bytes(picture([(series, virtual(series, rendition, chosen.seed)) for series, rendition in real]))


if __name__ == "__main__":
    main()
