"""A wall clock that a test sets, for the processes of a node alone: a small library that gcc builds, preloaded."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

DAY_S = 86400
_SOURCE = Path(__file__).with_name("wallclock.c")


class WallClock:
    """By how much the clock is wrong; `environment` makes a process go by it."""

    def __init__(self, folder: Path) -> None:
        library = folder / "wallclock.so"
        subprocess.run(["gcc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, _SOURCE], check=True)
        self._file = folder / "wallclock"
        self._file.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(library), "WALLCLOCK": str(self._file)}

    def set(self, seconds: int) -> None:
        """So many seconds ahead of the true time; behind where negative."""
        with self._file.open("r+b") as file:  # in place: the processes have it mapped
            file.write(seconds.to_bytes(8, "little", signed=True))


@pytest.fixture
def wall_clock(tmp_path: Path) -> WallClock:
    if shutil.which("gcc") is None:
        pytest.skip("gcc, which builds the clock that this test sets, is not installed")
    return WallClock(tmp_path)
