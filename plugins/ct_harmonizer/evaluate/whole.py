"""The whole evaluation in one call, as `harmonode evaluate` and `python -m plugins.ct_harmonizer.evaluate` make it."""

from __future__ import annotations

from pathlib import Path

from plugins.ct_harmonizer.evaluate import report, tables
from plugins.ct_harmonizer.evaluate.methods import named
from plugins.ct_harmonizer.evaluate.study import Plan, Progress, reference, run
from plugins.ct_harmonizer.weights import shipped

_USUAL = Plan()


def evaluate(
    folder: Path,
    progress: Progress,
    *,
    phantoms: int = _USUAL.phantoms,
    seed: int = _USUAL.seed,
    slices: int = _USUAL.slices,
    matrix: int = _USUAL.matrix,
    nodules: bool = _USUAL.nodules,
    weights: Path = _USUAL.weights,
    jobs: int = 2,
) -> tuple[str, Path]:
    """Study unseen virtual patients and write the report; the acceptance table as Markdown, and the page.

    Args:
        folder: of rows, tables and pictures. What was measured in it already is not measured again.
        progress: told phantoms done, of how many.
        phantoms: how many.
        seed: of the first.
        slices: of each chest, two at least.
        matrix: pixels along a side.
        nodules: whether nodules are studied too.
        weights: folder of the network's, as training writes it; the shipped ones unless given.
        jobs: processes.

    Raises:
        ValueError: the folder holds rows of other slices, matrix, nodules or weights.
        WeightsError: weights are missing or damaged.
    """
    plan = Plan(phantoms, seed, slices, matrix, nodules, weights)
    rows = run(plan, folder / "rows", jobs, progress)
    _, page = report.write(rows, plan, named(reference(plan.matrix), shipped(weights)), folder)
    return report.markdown_table(tables.acceptance(rows)), page
