"""The study told: one page of HTML and one of Markdown with the same tables and pictures."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from plugins.ct_harmonizer.evaluate import acquire, tables
from plugins.ct_harmonizer.evaluate.methods import UNET, Method, Rendered
from plugins.ct_harmonizer.evaluate.study import Plan, Row, of
from plugins.ct_harmonizer.evaluate.variability import agreement
from plugins.ct_harmonizer.mtf import FREQUENCY_PER_MM
from plugins.ct_harmonizer.simulate.phantom.patient import random_patient
from plugins.ct_harmonizer.simulate.renditions import by_name
from plugins.ct_harmonizer.weights import PLAIN_FOLDER, shipped

_SHOWN = ("Force Br32 20 mAs", "Force Br40 100 mAs", "Force Br69 20 mAs")
_STYLE = "body{font:15px sans-serif;max-width:75em;margin:2em auto}table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .7em;border-bottom:1px solid #ccc;text-align:left}img{max-width:100%}"

Table = list[list[str]]


def write(rows: Sequence[Row], plan: Plan, compared: dict[str, Method], folder: Path) -> tuple[Path, Path]:
    """`report.md`, `report.html` and their pictures in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    _slices(plan, compared, folder / "slices.png")
    _bland_altman(rows, folder / "bland-altman.png")
    psnr, laa = tables.FIGURES[1], tables.FIGURES[4]
    sections: list[tuple[str, Table | str]] = [
        ("Acceptance: mean over phantoms, the paper's renditions", tables.acceptance(rows)),
        ("All renditions: mean±SD between phantoms (95 % interval of the mean)", tables.comparison(rows)),
        (
            "Kernels never trained on: mean±SD between phantoms (95 % interval of the mean)",
            tables.comparison(rows, tables.NEVER_TRAINED_ON),
        ),
        ("Gain over what is not harmonized, paired by phantom", tables.gains(rows)),
        ("Gain over the U-Net alone, paired by phantom", tables.gains(rows, UNET)),
        ("Variability: one patient's figure across the paper's renditions", tables.spreads(rows)),
        ("Nodules", tables.nodules(rows)),
        ("Measured MTF against the truth at the skin", tables.resolutions(rows)),
        ("By scanner", tables.grouped(rows, psnr, tables.group_of)),
        ("By kernel", tables.grouped(rows, psnr, tables.kernel_of)),
        ("LAA-950 by kernel", tables.grouped(rows, laa, tables.kernel_of)),
        ("By dose", tables.grouped(rows, psnr, lambda row: f"{row['mas']:.0f} mAs")),
        ("By phantom", tables.grouped(rows, psnr, lambda row: str(row["phantom"]))),
        ("Slices, window -500/1500", "slices.png"),
        ("Bland-Altman: image less truth over truth", "bland-altman.png"),
    ]
    title = f"Harmonization of {plan.phantoms} virtual patients, seeds {plan.seed} to {plan.seed + plan.phantoms - 1}"
    source = _source(rows, plan)
    pages = folder / "report.md", folder / "report.html"
    for page, text in zip(pages, (_markdown(title, source, sections), _html(title, source, sections)), strict=True):
        page.write_text(text)
    return pages


def markdown_table(table: Table) -> str:
    head, *lines = table
    return "\n".join(["| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *lines)])


def _source(rows: Sequence[Row], plan: Plan) -> str:
    """What stands beside every table: n, seeds, commits, weights and the command."""
    networks = f"network {shipped(plan.weights).name}, U-Net {shipped(PLAIN_FOLDER).name}"
    commits = ", ".join(sorted({row["commit"] for row in rows}))
    phantoms = len({row["phantom"] for row in rows})
    return f"n = {phantoms} patients from seed {plan.seed}; commit {commits}; {networks}; `{plan.command}`"


def _markdown(title: str, source: str, sections: Sequence[tuple[str, Table | str]]) -> str:
    parts = [f"# {title}"]
    for name, content in sections:
        shown = f"![{name}]({content})" if isinstance(content, str) else f"{markdown_table(content)}\n\n{source}"
        parts.append(f"## {name}\n\n{shown}")
    return "\n\n".join(parts) + "\n"


def _html(title: str, source: str, sections: Sequence[tuple[str, Table | str]]) -> str:
    parts = [f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{_STYLE}</style>"]
    parts.append(f"<h1>{html.escape(title)}</h1>")
    for name, content in sections:
        parts.append(f"<h2>{html.escape(name)}</h2>")
        if isinstance(content, str):
            parts.append(f'<img src="{content}" alt="{html.escape(name)}">')
            continue
        marks = ["th"] + ["td"] * (len(content) - 1)
        lines = (
            "<tr>" + "".join(f"<{mark}>{html.escape(cell)}</{mark}>" for cell in line) + "</tr>"
            for mark, line in zip(marks, content, strict=True)
        )
        parts.append(f"<table>{''.join(lines)}</table><p><small>{html.escape(source)}</small></p>")
    return "\n".join(parts) + "\n"


def _slices(plan: Plan, compared: dict[str, Method], path: Path) -> None:
    """The first phantom's first slice: a row a rendition, a column a method, the truth last."""
    case = acquire.chest(random_patient(plan.seed), 2, plan.matrix)
    taker = acquire.Taker(case)
    figure = _figure(3.2 * (len(compared) + 1), 2.6 * len(_SHOWN))
    axes = figure.subplots(len(_SHOWN), len(compared) + 1, squeeze=False)
    for row, name in zip(axes, _SHOWN, strict=True):
        rendition = by_name(name)
        mtf = rendition.mtf(FREQUENCY_PER_MM, case.skin_mm)
        image = Rendered(taker.take(rendition), case.spacing_mm, FREQUENCY_PER_MM, mtf, case.lungs)
        shown = {**{method: made(image) for method, made in compared.items()}, "truth": case.truth_hu}
        for place, (method, hu) in zip(row, shown.items(), strict=True):
            rows, columns = (np.flatnonzero(case.lungs[0].any(axis=axis)) for axis in (1, 0))
            box = slice(rows[0] - 5, rows[-1] + 5), slice(columns[0] - 5, columns[-1] + 5)
            place.imshow(hu[0][box], cmap="gray", vmin=-1250, vmax=250)
            place.set_title(f"{method}\n{name if method != 'truth' else ''}", fontsize=8)
            place.axis("off")
    figure.savefig(path, dpi=90, bbox_inches="tight")


def _bland_altman(rows: Sequence[Row], path: Path) -> None:
    names = tables.methods_of(rows)
    figure = _figure(4.2 * len(names), 7)
    axes = figure.subplots(2, len(names), squeeze=False, sharey="row")
    kinds = (("LAA-950, points", "laa950_percent"), ("Perc15, HU", "perc15_hu"))
    for row, (label, key) in zip(axes, kinds, strict=True):
        for place, name in zip(row, names, strict=True):
            own = of(rows, "chest", name)
            values, truths = [one[key] for one in own], [one[f"true_{key}"] for one in own]
            place.plot(truths, np.subtract(values, truths), ".", markersize=4, alpha=0.5)
            found = agreement(values, truths)
            for level in (found.low, found.bias, found.high):
                place.axhline(level, color="#c2410c", linewidth=1, linestyle="-" if level == found.bias else "--")
            place.set_title(f"{name}: {found.bias:+.1f} ({found.low:+.1f} to {found.high:+.1f})", fontsize=9)
            place.set_xlabel(f"true {label}")
        row[0].set_ylabel("image less truth")
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure
