"""The weights that are shipped: which, whether they are whole, and what is known of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "weights"
PLAIN_FOLDER = FOLDER / "plain"  # the ablation's U-Net: evaluations alone use it
_SUMS = "SHA256SUMS"


class WeightsError(Exception):
    """The shipped weights are missing or are not those that were shipped."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights whose bytes have been verified."""

    paths: tuple[Path, ...]
    sha256: str  # of the list of all files and their hashes; of the file where there is one
    provisional: bool  # trained on a processor, until the full ones are there

    @property
    def name(self) -> str:
        return f"{self.paths[0].stem} {self.sha256[:12]}"


@cache
def shipped(folder: Path = FOLDER) -> Weights:
    """The weights of the folder, each file held against its SHA-256 in SHA256SUMS.

    Raises:
        WeightsError: a file is missing, or its bytes are others.
    """
    sums = folder / _SUMS
    if not sums.exists():
        raise WeightsError(f"there are no weights in {folder}: {_SUMS} is missing; install the package again")
    paths, first = [], ""
    for line in sums.read_text().splitlines():
        expected, name = line.split()
        path = folder / name
        if not path.exists():
            raise WeightsError(f"{path} is missing; install the package again")
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected:
            raise WeightsError(
                f"{path} has SHA-256 {found}, not {expected}: it is damaged or was exchanged; install the package again"
            )
        paths.append(path)
        first = first or found
    whole = first if len(paths) == 1 else hashlib.sha256(sums.read_bytes()).hexdigest()
    return Weights(tuple(paths), whole, "provisional" in paths[0].stem)
