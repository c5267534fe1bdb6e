"""Files of a job: whole or not there at all, whatever happens to the process or the power."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name only when it is written and on the disk."""
    for left in path.parent.glob(f".{path.name}.*.tmp"):  # by a worker that was killed; as large as a volume
        left.unlink(missing_ok=True)
    # The name is this process's own: a worker that was taken for dead may still be writing the same file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(path: Path, data: Any) -> None:
    with atomic(path) as file:
        file.write(json.dumps(data, indent=2, ensure_ascii=False).encode())
