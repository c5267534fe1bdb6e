"""`python -m plugins.ct_harmonizer.evaluate --phantoms 8 --seed 900001 --out DIR`: study, tables, report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from plugins.ct_harmonizer.evaluate.study import Plan
from plugins.ct_harmonizer.evaluate.whole import evaluate
from plugins.ct_harmonizer.weights import WeightsError, shipped


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m plugins.ct_harmonizer.evaluate",
        description="How well each method harmonizes unseen virtual patients. What was measured in --out already is not measured again.",
    )
    default = Plan()
    parser.add_argument("--phantoms", type=int, default=default.phantoms)
    parser.add_argument("--seed", type=int, default=default.seed, help="of the first phantom")
    parser.add_argument("--slices", type=int, default=default.slices, help="of each chest, two at least")
    parser.add_argument("--matrix", type=int, default=default.matrix)
    parser.add_argument("--no-nodules", action="store_true")
    parser.add_argument("--weights", type=Path, default=default.weights, help="folder of the network's; the shipped")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    try:
        shipped(chosen.weights)
    except WeightsError as error:
        parser.error(f"--weights: {error}")

    def told(done: int, total: int) -> None:
        sys.stderr.write(f"\r{done} of {total} phantoms")
        sys.stderr.flush()

    table, page = evaluate(
        chosen.out,
        told,
        phantoms=chosen.phantoms,
        seed=chosen.seed,
        slices=chosen.slices,
        matrix=chosen.matrix,
        nodules=not chosen.no_nodules,
        weights=chosen.weights,
        jobs=chosen.jobs,
    )
    sys.stdout.write(f"\n{table}\n\nReport: {page}\n")


if __name__ == "__main__":
    main()
