"""What files and folders of patients' images need: fsync, for bytes and for names, and nobody else's eyes."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

_SYNC_FILE_RANGE_WRITE = 2
PRIVATE = 0o700  # the mode of a folder that nobody but the node's user may look into


def sync_file(path: Path) -> None:
    """Make the bytes of a file durable."""
    _sync(path, os.O_RDONLY)


def write_out(handle: int, start: int, size: int) -> None:
    """Begin to write bytes of an open file to the disk, and do not wait: what is left for fsync is less then.

    sync_file_range(2), of Linux alone; it promises nothing, and elsewhere nothing is done.
    """
    libc = _libc()
    if libc is not None:
        libc.sync_file_range(handle, ctypes.c_int64(start), ctypes.c_int64(size), _SYNC_FILE_RANGE_WRITE)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def write_whole(path: Path, content: bytes, *, sync_name: bool = True) -> None:
    """Durable under its name, or not there, whatever happens to the process or the power.

    `sync_name=False` leaves the folder to the caller, who syncs it once for many files.

    Raises:
        OSError: the disk refuses; nothing stands under the name that was not there before.
    """
    # The name is this process's own: a worker that was taken for dead may still be writing the same file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if sync_name:
        sync_folder(path.parent)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@cache
def _libc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "sync_file_range") else None
