"""The same work on one random patient after the other, on several processes, as a function and as a command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import get_context
from typing import TypeVar

import torch

Made = TypeVar("Made")


def each(work: Callable[[int], Made], phantoms: Iterable[int], jobs: int) -> Iterator[Made]:
    """What `work` makes of each phantom, by its seed, in their order; a thread a process."""
    with get_context("spawn").Pool(jobs, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.imap(work, phantoms)


def command(
    prog: str,
    description: str | None,
    seed: int,
    work: Callable[[int], list[Made]],
    *,
    told: Callable[[list[Made]], str],
    table: Callable[[list[Made]], str],
) -> None:
    """Work on `--phantoms` patients from `--seed` on, tell of each when it is done, and print the table of all."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--phantoms", type=int, default=8)
    parser.add_argument("--seed", type=int, default=seed, help="of the first phantom")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    chosen = parser.parse_args()
    rows: list[Made] = []
    for own in each(work, range(chosen.seed, chosen.seed + chosen.phantoms), chosen.jobs):
        rows += own
        sys.stderr.write(f"{told(own)}\n")
    sys.stdout.write(f"{table(rows)}\n")
