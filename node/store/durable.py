"""What files and folders of patients' images need: fsync, for bytes and for names, and nobody else's eyes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

PRIVATE = 0o700  # the mode of a folder that nobody but the node's user may look into


def sync_file(path: Path) -> None:
    """Make the bytes of a file durable."""
    _sync(path, os.O_RDONLY)


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


class FolderSyncer:
    """Makes the names in folders durable while the caller does the same for the bytes: the disk writes once for both.

    Those that wait for one folder at one time share one fsync. Nothing heavier than a lock, for it is done for each
    object that is received; the threads are started at the first use.
    """

    def __init__(self, threads: int) -> None:
        self._threads, self._running = threads, 0
        self._lock = threading.Lock()
        self._waiting: dict[Path, list[_Waiting]] = {}
        self._folders: SimpleQueue[Path] = SimpleQueue()

    def begin(self, folder: Path) -> Callable[[], None]:
        """Begin to sync a folder; what is returned waits for the end of it, and raises OSError where the disk refuses."""
        mine = _Waiting()
        with self._lock:
            waiting = self._waiting.setdefault(folder, [])
            waiting.append(mine)
            first = len(waiting) == 1
            if starts := self._running < self._threads:
                self._running += 1
        if first:  # without the lock in hand, which whoever this wakes wants next
            self._folders.put(folder)
        if starts:
            threading.Thread(target=self._run, name="sync", daemon=True).start()
        return mine.wait

    def _run(self) -> None:
        while True:
            folder = self._folders.get()
            with self._lock:
                waiting = self._waiting.pop(folder)  # whoever comes from now on waits for the next sync
            error: OSError | None = None
            try:
                sync_folder(folder)
            except OSError as refused:
                error = refused
            for one in waiting:
                one.end(error)


class _Waiting:
    """One that waits for a folder."""

    def __init__(self) -> None:
        self._error: OSError | None = None
        self._ended = threading.Lock()
        self._ended.acquire()

    def end(self, error: OSError | None) -> None:
        self._error = error
        self._ended.release()

    def wait(self) -> None:
        with self._ended:
            if self._error is not None:
                raise self._error


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
