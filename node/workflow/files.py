"""Files of a job: whole or not there at all, whatever happens to the process or the power."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from node.store.durable import sync_folder


@contextmanager
def atomic(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """A file that appears under its name only when it is written and, where it is to be durable, on the disk."""
    for left in path.parent.glob(f".{path.name}.*.tmp"):  # by a worker that was killed; as large as a volume
        left.unlink(missing_ok=True)
    # The name is this process's own: a worker that was taken for dead may still be writing the same file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if durable:
        sync_folder(path.parent)


def write_json(path: Path, data: Any) -> None:
    with atomic(path) as file:
        file.write(json.dumps(data, indent=2, ensure_ascii=False).encode())
