"""One object on its way into the spool."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from node.dicom import part10
from node.dicom.elements import Identity, identify
from node.dicom.part10 import FileMeta
from node.errors import TransientError
from node.store.durable import write_out

_LOOK_EVERY_BYTES = 8 << 20  # how often the free space is looked at while an object arrives
_WRITE_OUT_BYTES = 250_000  # the disk is told after so many: while more of the object comes, it writes
_HEAD_BYTES = 1 << 16  # headers lie in it, so that most objects are identified without a look at the disk


class SpoolFull(TransientError):
    """The spool cannot take an object now: no space beyond the reserve, or the disk refuses to write."""


class Incoming:
    """An object on its way in: the data set as it comes, hashed as it comes, then the File Meta Information before it.

    `write` never raises: what it could not write is remembered in `failure`, and nothing is left on the disk.
    """

    def __init__(self, path: Path, meta: FileMeta, require_space: Callable[[], None]) -> None:
        """`require_space` raises SpoolFull where there is too little for it to go on."""
        self.path, self.meta, self.failure = path, meta, ""
        self._require_space, self._hash, self._since_look = require_space, hashlib.sha256(), 0
        self._head = bytearray()
        self._file: BinaryIO | None = path.open("x+b", buffering=0)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # tells the spool's `sweep` that somebody writes it
        self._meta = part10.encode(meta)  # written at last, with the seal
        self._starts_at = self.size_bytes = self._written_out = len(self._meta)  # the data set; the file

    @property
    def sha256(self) -> str:
        """Of the data set alone."""
        return self._hash.hexdigest()

    def write(self, data: bytes | memoryview) -> None:
        """Append a piece of the data set."""
        if self._file is None:
            return
        self._hash.update(data)
        if len(self._head) < _HEAD_BYTES:
            self._head += data[: _HEAD_BYTES - len(self._head)]
        self._since_look += len(data)
        if self._since_look >= _LOOK_EVERY_BYTES:
            self._since_look = 0
            try:
                self._require_space()
            except SpoolFull as error:
                self._fail(str(error))
                return
        self._put(data)

    def finish(self) -> None:
        """Seal it: the object is whole.

        Raises:
            SpoolFull: it could not be written; nothing is left.
        """
        if self._file is not None:
            try:
                os.pwrite(self._file.fileno(), self._meta[: -part10.SEAL_BYTES] + self._hash.digest(), 0)
            except OSError as error:
                self._fail(f"{self.path} cannot be written: {error.strerror}")
        if self.failure:
            raise SpoolFull(self.failure)

    def identify(self) -> Identity:
        """Walk what was written to its end.

        Raises:
            InvalidDataSet: it breaks off, cannot be parsed, or lacks a UID.
        """
        assert self._file is not None
        size = self.size_bytes - self._starts_at
        return identify(
            _ReadBack(self._head, self._file.fileno(), self._starts_at, size), self.meta.transfer_syntax_uid
        )

    def sync(self) -> None:
        """Make the bytes durable.

        Raises:
            OSError: the disk refuses.
        """
        if self._file is not None:
            os.fsync(self._file.fileno())

    def discard(self) -> None:
        """Leave nothing behind. May be called at any time, and twice."""
        self._close()
        self.path.unlink(missing_ok=True)

    def _put(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        try:
            while view and self._file is not None:
                written = os.pwrite(self._file.fileno(), view, self.size_bytes)
                self.size_bytes += written
                view = view[written:]
            if self._file is not None and self.size_bytes - self._written_out >= _WRITE_OUT_BYTES:
                write_out(self._file.fileno(), self._written_out, self.size_bytes - self._written_out)
                self._written_out = self.size_bytes
        except OSError as error:
            self._fail(f"{self.path} cannot be written: {error.strerror}")

    def _fail(self, why: str) -> None:
        self.failure = why
        self.discard()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class _ReadBack:
    """A data set that was just written, as `identify` reads it: its beginning from memory, the rest from the file."""

    def __init__(self, head: bytearray, descriptor: int, starts_at: int, size: int) -> None:
        self._head, self._descriptor, self._starts_at, self._size = head, descriptor, starts_at, size
        self._at = 0

    def tell(self) -> int:
        return self._at

    def seek(self, to: int, whence: int = os.SEEK_SET) -> int:
        self._at = to + (self._size if whence == os.SEEK_END else 0)
        return self._at

    def read(self, count: int) -> bytes:
        end = min(self._at + count, self._size)
        if end <= len(self._head):
            data = bytes(self._head[self._at : end])
        else:
            data = os.pread(self._descriptor, end - self._at, self._starts_at + self._at) if end > self._at else b""
        self._at += len(data)
        return data
