"""Which code measured a figure."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path


@cache
def commit() -> str:
    """The commit of this code, short, with `+` where files differ from it; `unknown` outside a checkout."""
    here = Path(__file__).parent
    try:
        head = _git(here, "rev-parse", "--short=9", "HEAD")
        return head + ("+" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(where: Path, *words: str) -> str:
    found = subprocess.run(["git", "-C", str(where), *words], check=True, capture_output=True, text=True)  # noqa: S603, S607 - no words from outside; git is where the reader has it
    return found.stdout.strip()
