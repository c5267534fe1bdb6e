"""Several series in one picture: their MTF at the skin, each with its band, and what came of each. PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from plugins.ct_harmonizer.pictures import FAINT, INK, new_figure, plain, title, to_png

_COLOURS = ("#1d4ed8", "#c2410c", "#0f766e", "#a21caf", "#a16207", "#475569", "#be123c", "#4d7c0f")
_COLUMNS = (("f50 /mm (95 %)", 0.27), ("f10 /mm (95 %)", 0.42), ("segments", 0.55), ("noise HU", 0.64), ("used", 0.71))
_LINE, _WRAP = 0.20, 56  # height of a line of text in inches, characters of the last column


def compare(series: Sequence[tuple[str, Mapping[str, Any]]]) -> bytes:
    """One curve a series that shows any skin, dashed where it is not used, and a table of all.

    Each is a label with the data of the plugin's measurement, or with only `refused`, the reason.
    """
    told = [fill(_verdict(data), _WRAP) for _, data in series]
    heights = [max(2, text.count("\n") + 1) * _LINE + 0.1 for text in told]
    table = sum(heights) + 0.5
    figure = new_figure(15.0, 5.6 + table)
    grid = figure.add_gridspec(
        2, 1, height_ratios=(5.6, table), hspace=0.14, left=0.045, right=0.99, top=0.97, bottom=0
    )
    curves, rows = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    rows.set_xlim(0, 1)
    rows.set_ylim(table, 0)
    rows.axis("off")
    for name, x in (("series", 0.02), *_COLUMNS):
        rows.text(x, 0.3, name, color=FAINT, fontsize=11, va="bottom")
    rows.plot([0, 1], [0.38, 0.38], color=FAINT, linewidth=0.8)
    at, highest = 0.48, 1.0
    for number, ((label, data), text, height) in enumerate(zip(series, told, heights, strict=True)):
        colour = _COLOURS[number % len(_COLOURS)]
        highest = max(highest, _draw(curves, label, data, colour))
        rows.plot([0, 0.012], [at + 0.1, at + 0.1], color=colour, linewidth=3)
        cells = (fill(label, 30), *_figures(data), text)
        for x, cell in zip((0.02, *(x for _, x in _COLUMNS)), cells, strict=True):
            rows.text(x, at, cell, color=INK, fontsize=11, va="top", linespacing=1.25)
        at += height
    curves.set_xlim(0, 1.6)
    curves.set_ylim(0, 1.05 * highest)
    curves.axhline(0.5, color=FAINT, linewidth=0.8, linestyle=":")
    curves.axhline(0.1, color=FAINT, linewidth=0.8, linestyle=":")
    curves.set_xlabel("cycles/mm")
    curves.set_ylabel("MTF at the skin")
    plain(curves)
    if curves.lines[:-2]:
        curves.legend(frameon=False, loc="upper right")
    title(curves, "MTF at the skin-air interface with its 95 % band; dashed: not used")
    return _few_colours(to_png(figure))


def _few_colours(png: bytes) -> bytes:
    """The same with 64 colours, a third of the bytes: lines and letters need no more."""
    held = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(64, Image.Quantize.FASTOCTREE).save(held, "PNG", optimize=True)
    return held.getvalue()


def _draw(axes: Axes, label: str, data: Mapping[str, Any], colour: str) -> float:
    """The curve that was read at the skin, if one was; its highest value."""
    read = data.get("skin", data)
    if "edge" not in read:
        return 1.0
    curve, used = read["curve"], data["source"] == "skin"
    frequency = curve["frequency_per_mm"]
    axes.fill_between(frequency, curve["low"], curve["high"], color=colour, alpha=0.18 if used else 0.1, linewidth=0)
    axes.plot(frequency, curve["mtf"], color=colour, linewidth=1.8, linestyle="-" if used else "--", label=label)
    return float(np.max(curve["high"]))


def _figures(data: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """f50, f10 and segments of the skin, and the noise, as they are written in the table."""
    read = data.get("skin", data)
    noise = data.get("noise_hu")
    heard = "-" if noise is None else f"{noise:.1f}"
    if "edge" not in read:
        segments = f"{data['segments_accepted']} of {data['segments_seen']}" if data.get("segments_seen") else "-"
        return "-", "-", segments, heard
    f50, f10 = (
        f"{read[f'{name}_per_mm']:.3f}\n({read[f'{name}_low_per_mm']:.3f} to {read[f'{name}_high_per_mm']:.3f})"
        for name in ("f50", "f10")
    )
    return f50, f10, f"{read['segments_accepted']} of {read['segments_seen']}", heard


def _verdict(data: Mapping[str, Any]) -> str:
    """Whether what was read is used, or what is in its place and why."""
    if "refused" in data:
        return f"refused: {data['refused']}"
    if data["source"] == "skin":
        return "yes"
    return f"no, {data['source']} (f50 {data['f50_per_mm']:.2f}): {data['distrust']}"
