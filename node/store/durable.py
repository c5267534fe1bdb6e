"""What files and folders of patients' images need: fsync, for bytes and for names, and nobody else's eyes."""

from __future__ import annotations

import os
from pathlib import Path

PRIVATE = 0o700  # the mode of a folder that nobody but the node's user may look into


def sync_file(path: Path) -> None:
    """Make the bytes of a file durable."""
    _sync(path, os.O_RDONLY)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
