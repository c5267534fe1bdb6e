"""Pictures for people: what the harmonizer did to one slice, and what it read at the skin. PNG bytes; no global state."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

_LUNG_WINDOW = (-1250.0, 250.0)  # centre -500, width 1500
_DIFFERENCE_HU = 150.0
INK, FAINT, _SOURCE, _TARGET, _AFTER = "#1d2733", "#8a97a6", "#c2410c", "#0f766e", "#1d4ed8"


@dataclass(frozen=True, slots=True)
class Sheet:
    """The figures of the overview."""

    target_name: str
    frequency_per_mm: NDArray[np.float64]
    measured: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    source: NDArray[np.float64]  # the measured curve carried to where the target is defined
    target: NDArray[np.float64]
    expected: NDArray[np.float64] | None  # source times gain, where a filter is known
    origin: str  # "skin", or the kernel table's entry
    rows: tuple[tuple[str, float, float, str], ...]  # name, before, after, unit
    guard: tuple[str, ...]  # its figures in words, and its verdict first


def overview(
    before_hu: NDArray[np.float32],
    after_hu: NDArray[np.float32],
    padding: NDArray[np.bool_],
    lungs: NDArray[np.bool_],
    *,
    spacing_mm: tuple[float, float, float],
    sheet: Sheet,
) -> bytes:
    """The slice with the most lung before, after and their difference; the MTF; the figures."""
    index = int(np.argmax(lungs.sum(axis=(1, 2)))) if lungs.any() else len(before_hu) // 2
    box = _around(before_hu[index], padding[index])
    aspect = spacing_mm[1] / spacing_mm[2]
    figure = new_figure(15.0, 8.6)
    top = figure.add_gridspec(1, 4, width_ratios=(1, 1, 1, 0.035), left=0, right=0.96, bottom=0.46, top=1, wspace=0.04)
    foot = figure.add_gridspec(1, 2, left=0.045, right=0.98, bottom=0, top=0.38, wspace=0.12)
    before, after = before_hu[index][box], after_hu[index][box]
    for column, (image, name) in enumerate(((before, "before"), (after, "after"))):
        axes = figure.add_subplot(top[column])
        axes.imshow(image, cmap="gray", vmin=_LUNG_WINDOW[0], vmax=_LUNG_WINDOW[1], aspect=aspect)
        title(axes, f"{name}   slice {index + 1} of {len(before_hu)}, window -500/1500")
        axes.axis("off")
    axes = figure.add_subplot(top[2])
    difference = np.where(padding[index][box], 0.0, after - before)
    shown = axes.imshow(difference, cmap="RdBu_r", vmin=-_DIFFERENCE_HU, vmax=_DIFFERENCE_HU, aspect=aspect)
    title(axes, "after less before")
    axes.axis("off")
    bar = figure.colorbar(shown, cax=figure.add_subplot(top[3]))
    bar.set_label("HU", color=INK)
    bar.outline.set_visible(False)
    _draw_mtf(figure.add_subplot(foot[0]), sheet)
    _draw_table(figure.add_subplot(foot[1]), sheet)
    return to_png(figure)


def skin(hu: NDArray[np.float32], spacing_mm: tuple[float, float, float], data: Mapping[str, Any]) -> bytes:
    """The accepted surface on a slice, the edge pooled from it with its model, the MTF with its band, and the noise's spectrum.

    `data` is that of the plugin's measurement. Where the skin was not used, what it read is drawn with the curve that is used instead.
    """
    read = data.get("skin", data)
    figure = new_figure(13.5, 9.6)
    grid = figure.add_gridspec(2, 2, wspace=0.2, hspace=0.26)
    axes = figure.add_subplot(grid[0, 0])
    surface = read.get("surface", {"slice": len(hu) // 2, "points": []})
    index, points = surface["slice"], np.array(surface["points"]).reshape(-1, 2)
    axes.imshow(hu[index], cmap="gray", vmin=-1100, vmax=200, aspect=spacing_mm[1] / spacing_mm[2])
    axes.plot(points[:, 1], points[:, 0], "o", color="#f59e0b", markersize=4)
    axes.axis("off")
    title(axes, f"{len(points)} accepted segments on slice {index + 1} of {len(hu)}")
    _draw_edge(figure.add_subplot(grid[0, 1]), read)
    _draw_curve(figure.add_subplot(grid[1, 0]), data, read)
    _draw_noise(figure.add_subplot(grid[1, 1]), data)
    return to_png(figure)


def _draw_edge(axes: Axes, read: Mapping[str, Any]) -> None:
    if "edge" not in read:
        axes.axis("off")
        axes.text(0, 0.9, "no edge:\n" + fill(str(read["distrust"]), 60), va="top", color=INK, fontsize=11)
        return
    edge = read["edge"]
    axes.plot(edge["depth_mm"], edge["hu"], ".", color=FAINT, markersize=4, label="pooled edge, 0.1 mm bins")
    axes.plot(edge["depth_mm"], edge["model_hu"], color=_SOURCE, linewidth=1.6, label="model, fitted to 3.5 mm")
    axes.axvspan(3.5, 4.5, color=FAINT, alpha=0.12, linewidth=0)
    axes.set_xlabel("depth in mm: air on the left, tissue on the right")
    axes.set_ylabel("HU")
    axes.set_xlim(-6, 4.5)
    plain(axes)
    axes.legend(frameon=False, loc="upper left")
    cloth = f", cloth {read['cloth_mm']:.2f} mm" if read["cloth_mm"] else ""
    title(axes, f"edge of {read['segments_accepted']} of {read['segments_seen']} segments{cloth}")


def _draw_curve(axes: Axes, data: Mapping[str, Any], read: Mapping[str, Any]) -> None:
    curve = read["curve"]
    trusted = data["source"] == "skin"
    if "edge" in read:
        axes.fill_between(curve["frequency_per_mm"], curve["low"], curve["high"], color=_SOURCE, alpha=0.2, linewidth=0)
        label = "at the skin, 95 % band" if trusted else "at the skin, 95 % band: not used"
        axes.plot(curve["frequency_per_mm"], curve["mtf"], color=_SOURCE, linewidth=1.8, label=label)
        for name, level in (("f50", 0.5), ("f10", 0.1)):
            at = read[f"{name}_per_mm"]
            axes.plot([at, at], [0, level], color=INK, linewidth=0.8, linestyle=":")
            told = f"{name} {at:.3f}\n({read[f'{name}_low_per_mm']:.3f} to {read[f'{name}_high_per_mm']:.3f})"
            axes.annotate(told, (at, level), xytext=(8, 4), textcoords="offset points", color=INK)
        if over := read.get("overshoot"):
            told = f"peak {over['mtf']:.2f} ({over['low']:.2f} to {over['high']:.2f}) at {over['at_per_mm']:.2f} /mm"
            axes.annotate(told, (over["at_per_mm"], over["high"]), xytext=(4, 4), textcoords="offset points", color=INK)
    if not trusted:
        used = data["curve"]
        axes.plot(used["frequency_per_mm"], used["mtf"], color=_TARGET, linewidth=1.8, label=f"used: {data['source']}")
    axes.set_xlim(0, 1.6)
    axes.set_ylim(0, 1.05 * max(1.0, *curve["high"], *data["curve"]["mtf"]))
    axes.set_xlabel("cycles/mm")
    axes.set_ylabel("MTF")
    plain(axes)
    axes.legend(frameon=False, loc="upper right")
    title(axes, "MTF")


def _draw_noise(axes: Axes, data: Mapping[str, Any]) -> None:
    nps = data["nps"]
    if nps is None:
        axes.axis("off")
        axes.text(0, 0.9, "noise: too little soft tissue", va="top", color=INK, fontsize=11)
        return
    axes.plot(nps["frequency_per_mm"], nps["hu2_mm2"], color=_AFTER, linewidth=1.8)
    axes.axvspan(0, 1 / nps["patch_mm"], color=FAINT, alpha=0.12, linewidth=0)
    axes.axvline(nps["peak_per_mm"], color=INK, linewidth=0.8, linestyle=":")
    axes.set_xlim(0, nps["frequency_per_mm"][-1])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("cycles/mm")
    axes.set_ylabel("NPS in HU² mm²")
    plain(axes)
    level = f"{data['noise_hu']:.1f} HU, " if data["noise_hu"] is not None else ""
    title(axes, f"noise {level}peak {nps['peak_per_mm']:.2f} /mm, {nps['patches']} patches of soft tissue")


def _draw_mtf(axes: Axes, sheet: Sheet) -> None:
    frequency = sheet.frequency_per_mm
    at_skin = sheet.origin == "skin"
    if at_skin:
        axes.fill_between(frequency, sheet.low, sheet.high, color=_SOURCE, alpha=0.2, linewidth=0)
        axes.plot(frequency, sheet.measured, color=_SOURCE, linewidth=1.8, label="measured at the skin, 95 % band")
        if not np.array_equal(sheet.source, sheet.measured):
            axes.plot(
                frequency, sheet.source, color=_SOURCE, linewidth=1.0, linestyle="--", label="carried to isocentre"
            )
    else:
        axes.plot(frequency, sheet.source, color=_SOURCE, linewidth=1.8, label=f"not measured: {sheet.origin}")
    axes.plot(frequency, sheet.target, color=_TARGET, linewidth=3.2, alpha=0.45, label=f"target {sheet.target_name}")
    if sheet.expected is not None:
        axes.plot(frequency, sheet.expected, color=_AFTER, linewidth=1.6, label="after, expected")
    axes.set_xlim(0, 1.2)
    axes.set_ylim(0, max(1.05, 1.05 * float(max(sheet.high.max(), sheet.source.max()))))
    axes.set_xlabel("cycles/mm")
    axes.set_ylabel("MTF")
    plain(axes)
    axes.legend(loc="upper right", framealpha=0.9, edgecolor="none")
    title(axes, "resolution")


def _draw_table(axes: Axes, sheet: Sheet) -> None:
    axes.axis("off")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    title(axes, "in the same lungs")
    columns = (0.40, 0.62, 0.84)
    for x, head in zip(columns, ("before", "after", "change"), strict=True):
        axes.text(x, 0.9, head, ha="right", color=FAINT, fontsize=12)
    axes.plot([0, 0.95], [0.86, 0.86], color=FAINT, linewidth=0.8)
    for number, (name, before, after, unit) in enumerate(sheet.rows):
        y = 0.74 - 0.16 * number
        axes.text(0, y, name, color=INK, fontsize=13)
        for x, text in zip(columns, (f"{before:.1f}", f"{after:.1f}", f"{after - before:+.1f}"), strict=True):
            axes.text(x, y, text, ha="right", color=INK, fontsize=13)
        axes.text(0.87, y, unit, color=FAINT, fontsize=12)
    told = fill("; ".join(sheet.guard), 88)
    axes.text(0, 0.74 - 0.16 * len(sheet.rows) + 0.08, told, color=INK, fontsize=10, va="top", clip_on=False)


def _around(image: NDArray[np.float32], padding: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns that hold the body, with a margin."""
    body = (image > -500) & ~padding
    rows, columns = np.flatnonzero(body.sum(axis=1) > 40), np.flatnonzero(body.sum(axis=0) > 40)
    if rows.size == 0 or columns.size == 0:
        return slice(None), slice(None)
    return tuple(slice(max(int(at[0]) - 12, 0), int(at[-1]) + 13) for at in (rows, columns))  # type: ignore[return-value]


def new_figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=FAINT, alpha=0.25, linewidth=0.6)
    axes.tick_params(colors=INK)


def title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=12, color=INK)


def to_png(figure: Figure) -> bytes:
    held = io.BytesIO()
    figure.savefig(held, format="png", dpi=100, bbox_inches="tight", pad_inches=0.2, metadata={"Software": None})
    return held.getvalue()
