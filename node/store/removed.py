"""What has left the spool, told by the spool itself: one list a series folder, each line an instance's key and SHA-256.

So an instance that comes again is known by its bytes without the database, and after the database was lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from node.store.durable import write_whole

_NAME = "removed"


def sha256_of(path: Path) -> str | None:
    """SHA-256 of the data set that lay at `path` before it was removed; None where nothing was."""
    return _read(path.parent).get(path.stem)


def note(folder: Path, sha256_by_key: Mapping[str, str]) -> None:
    """Add instances to the list of a series folder, durable before this returns.

    Raises:
        OSError: it cannot be written; the list is as it was.
    """
    listed = {**_read(folder), **sha256_by_key}
    lines = "".join(f"{key} {sha256}\n" for key, sha256 in sorted(listed.items()))
    write_whole(folder / _NAME, lines.encode())


def _read(folder: Path) -> dict[str, str]:
    try:
        lines = (folder / _NAME).read_text().splitlines()
    except FileNotFoundError:
        return {}
    return {key: sha256 for key, _, sha256 in (line.partition(" ") for line in lines)}
