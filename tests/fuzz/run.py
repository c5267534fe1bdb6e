"""Feed one target with inputs that a fuzzer makes, guided by what they reach: `python run.py pdu --runs 1000000`.

A target is a file `target_NAME.py` here, with `SEEDS`, inputs to start from, and `one(data)`, which raises where
something is wrong. What fails is written beside the caller as `crash-...`, to become a seed and a test.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

import atheris

HERE = Path(__file__).parent
SECONDS_AN_INPUT = 20
MAX_LENGTH = 8192


def main() -> None:
    """Run until the inputs are through, or one fails."""
    names = sorted(path.stem.removeprefix("target_") for path in HERE.glob("target_*.py"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=names)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    sys.path[:0] = [str(HERE), str(HERE.parent / "support")]
    with atheris.instrument_imports(include=["node", "pynetdicom"]):
        target = importlib.import_module(f"target_{chosen.target}")
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(target.SEEDS):
            (Path(corpus) / f"{number}").write_bytes(seed)
        options = [
            f"-runs={chosen.runs}",
            f"-seed={chosen.seed}",
            f"-timeout={SECONDS_AN_INPUT}",
            f"-max_len={MAX_LENGTH}",
        ]
        atheris.Setup([sys.argv[0], *options, corpus], target.one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
