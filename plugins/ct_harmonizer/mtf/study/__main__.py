"""Measure virtual bodies of known MTF and print how wrong it was: `python -m plugins.ct_harmonizer.mtf.study --n 200 --seed 0`.

One series takes about two seconds on one core. The published table is of a seed that nothing was tuned on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np

from plugins.ct_harmonizer.mtf.measure import MTFRefused, measure_mtf
from plugins.ct_harmonizer.mtf.study.bodies import Body
from plugins.ct_harmonizer.mtf.study.kernels import KERNELS, Truth

Row = dict[str, Any]


def case(number: int, seed: int) -> tuple[Truth, Body]:
    """Kernel and body number `number` of a study: kernels in turn, all else drawn."""
    random = np.random.default_rng([seed, number])
    truth = KERNELS[number % len(KERNELS)].stretched(random.uniform(0.93, 1.07))
    wide = random.uniform(95, 140)
    dressed = random.random() < 0.25
    body = Body(
        pixel_mm=random.uniform(0.4, 1.0),
        slice_mm=float(random.choice([0.6, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 5.0, 8.0])),
        half_axes_mm=(wide, wide * random.uniform(0.65, 0.9)),
        centre_mm=(random.uniform(-15, 15), random.uniform(-15, 15)),
        rotation=random.uniform(-0.15, 0.15),
        dose_mas=float(random.choice([20.0, 100.0])),
        skin_mm=random.uniform(1.2, 2.4),
        skin_varies_mm=random.uniform(0.0, 0.35),
        fat_hu=random.uniform(-120, -80) if random.random() < 0.85 else random.uniform(-40, 40),
        widens=random.uniform(-0.08, 0.08),
        bends_per_mm=random.uniform(-6e-4, 6e-4),
        wave_mm=random.uniform(0, 2),
        table_mm=random.uniform(0.5, 15) if random.random() < 0.8 else None,
        arm=random.random() < 0.3,
        cloth_mm=random.uniform(0.1, 0.3) if dressed else 0.0,
        cloth_gap_mm=random.uniform(1.2, 4.0),
        cloth_share=random.uniform(0.2, 0.7),
        floor_hu=-1024.0 if random.random() < 0.5 else None,
        seed=int(random.integers(2**31)),
    )
    return truth, body


def run(count: int, seed: int, jobs: int = 1) -> Iterator[Row]:
    """Measure `count` series, one row each, on `jobs` processes."""
    with Pool(jobs) as pool:
        yield from pool.imap(partial(measure_case, seed=seed), range(count))


def measure_case(number: int, seed: int) -> Row:
    """One row; a series that is refused has no figures but the reason."""
    truth, body = case(number, seed)
    row: Row = {
        "number": number,
        "kernel": truth.name,
        "f50": truth.f50_per_mm,
        "f10": truth.f10_per_mm,
        "peak": truth.peak,
        "noise_hu": body.noise_hu(truth.mtf),
        "slice_mm": body.slice_mm,
        "pixel_mm": body.pixel_mm,
        "floor": body.floor_hu is not None,
        "cloth_mm": body.cloth_mm,
    }
    try:
        found = measure_mtf(*body.image(truth))
    except MTFRefused as refusal:
        return {**row, "refused": str(refusal)}
    for name, band in (("f50", found.f50_per_mm), ("f10", found.f10_per_mm)):
        row |= {f"{name}_found": band.value, f"{name}_low": band.low, f"{name}_high": band.high}
    return row | {
        "peak_found": found.curve.peak,
        "segments": found.segments_accepted,
        "jitter_mm": found.jitter_mm,
        "cloth_found_mm": found.cloth_mm,
        "residual_hu": found.residual_hu,
        "model_error": found.model_error,
        "clipped": found.clipped,
    }


def table(rows: list[Row]) -> str:
    """Bias, RMS error and coverage by kernel, as markdown; slices up to 3 mm, all those over it in one line."""
    lines = [
        "| kernel | f50, f10 /mm | n | refused | f50 bias % | f50 RMS % | f50 covered % | f10 bias % | f10 RMS % | f10 covered % |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    thin = [row for row in rows if row["slice_mm"] <= 3]
    thick = [row for row in rows if row["slice_mm"] > 3]
    names = dict.fromkeys(row["kernel"] for row in rows)
    lines += [_line(name, [row for row in thin if row["kernel"] == name]) for name in names]
    lines.append(_line("f50 0.3 to 0.7 /mm", [row for row in thin if 0.3 <= row["f50"] <= 0.7]))
    lines.append(_line("f50 over 0.7 /mm", [row for row in thin if row["f50"] > 0.7]))
    lines.append(_line("all, slices up to 3 mm", thin))
    lines.append(_line("bare, slices up to 3 mm", [row for row in thin if not row["cloth_mm"]]))
    lines.append(_line("with a cloth, slices up to 3 mm", [row for row in thin if row["cloth_mm"]]))
    lines.append(_line("slices over 3 mm", thick))
    lines.append(_line("all", rows))
    return "\n".join(lines)


def _line(name: str, rows: list[Row]) -> str:
    done = [row for row in rows if "refused" not in row]
    cells = [name]
    if not done:
        return "| " + " | ".join([name, "", "0", str(len(rows)), *[""] * 6]) + " |"
    cells.append(", ".join(f"{np.mean([row[of] for row in done]):.2f}" for of in ("f50", "f10")))
    cells += [str(len(done)), str(len(rows) - len(done))]
    for of in ("f50", "f10"):
        error = np.array([100 * (row[f"{of}_found"] / row[of] - 1) for row in done])
        held = np.array([row[f"{of}_low"] <= row[of] <= row[f"{of}_high"] for row in done])
        cells += [f"{error.mean():+.1f}", f"{np.sqrt(np.mean(error**2)):.1f}", f"{100 * held.mean():.0f}"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m plugins.ct_harmonizer.mtf.study", description=__doc__)
    parser.add_argument("--n", type=int, default=200, help="series to measure")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=Path, help="write every series as a line of JSON too")
    parser.add_argument("--jobs", type=int, default=1, help="processes; set OMP_NUM_THREADS=1 beside it")
    chosen = parser.parse_args()
    rows: list[Row] = []
    if chosen.rows:
        chosen.rows.write_text("")
    for row in run(chosen.n, chosen.seed, chosen.jobs):
        rows.append(row)
        if chosen.rows:
            with chosen.rows.open("a") as lines:
                lines.write(json.dumps(row) + "\n")
        print(f"\r{len(rows)} of {chosen.n}", end="", file=sys.stderr, flush=True)  # noqa: T201
    print(file=sys.stderr)  # noqa: T201
    print(table(rows))  # noqa: T201


if __name__ == "__main__":
    main()
