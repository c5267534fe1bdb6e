"""Received instances as files: durable before they are acknowledged, and the truth of what was received.

    incoming/<random>.part               being written; never acknowledged, swept at start
    <2 hex>/<series key>/<instance key>.dcm    received

    <2 hex>/<series key>/removed         what was there and has left (`store.removed`)

A file gets its name, then its bytes are made durable, then the name: a journal of the file system takes both at once.
Only then it is acknowledged. What a power cut may tear between the two is known by the seal in the file.

Keys are hashes of UIDs, so nothing a peer sends becomes part of a path. Each file says by its File Meta Information who
brought it, so the database can be rebuilt from the spool alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from pathlib import Path
from uuid import uuid4

import structlog

from node.dicom import part10
from node.dicom.elements import Identity, identify
from node.dicom.part10 import FileMeta
from node.errors import InvalidObject
from node.series import Arrival, Sender
from node.store import removed
from node.store.durable import PRIVATE, sync_file, sync_folder
from node.store.incoming import Incoming, SpoolFull
from node.store.quarantine import Quarantine

_log = structlog.get_logger(__name__)

_KEY_LENGTH = 32  # hexadecimal digits of SHA-256: 128 bits
_REMEMBERED_FOLDERS = 4096


class Placement(Enum):
    """What became of an object in the spool."""

    NEW = auto()  # it lies in the spool, durable
    SAME = auto()  # the same bytes already lay there, durable
    OTHER = auto()  # the same instance lies there with other bytes


@dataclass(frozen=True, slots=True)
class Placed:
    """Where an object lies, or would lie."""

    placement: Placement
    path: str  # relative to the spool
    size_bytes: int  # of the file that lies there; 0 for OTHER
    at: datetime


class Spool:
    """The folder of received instances, and the quarantine beside it.

    Safe for any number of threads, and for processes on one file system.
    """

    def __init__(self, root: Path, reserve_bytes: int) -> None:
        self.root, self.reserve_bytes = root, reserve_bytes
        self.quarantine = Quarantine(root.with_name("quarantine"))
        self._incoming = root / "incoming"
        root.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        self._incoming.mkdir(exist_ok=True)
        self._lock = threading.Lock()
        self._durable_folders: set[Path] = set()

    def require_space(self) -> None:
        """Raises SpoolFull where less than the reserve is free."""
        free = shutil.disk_usage(self.root).free
        if free < self.reserve_bytes:
            raise SpoolFull(
                f"{free >> 20} MiB free on the disk of {self.root}, {self.reserve_bytes >> 20} are kept free"
            )

    def open(self, meta: FileMeta) -> Incoming:
        """Begin to receive an object.

        Raises:
            SpoolFull: there is less than the reserve, or no file can be made at all.
        """
        self.require_space()
        try:
            return Incoming(self._incoming / f"{uuid4().hex}.part", meta, self.require_space)
        except OSError as error:
            raise SpoolFull(f"no file can be made in {self._incoming}: {error.strerror}") from error

    def place(self, incoming: Incoming, identity: Identity) -> Placed:
        """Give an object its name, once and for all; when this returns NEW or SAME it outlives a power cut.

        Two that store the same instance at the same time are told apart by link(2): one makes the name, the other
        finds it there. An object that is NEW or SAME is gone from `incoming`; one that is OTHER stays for the caller.

        Raises:
            SpoolFull: the bytes could not be made durable; nothing is left.
        """
        incoming.finish()
        name = _name_of(identity)
        path = self.root / name
        try:
            placement = self._link(incoming, path)
            size = incoming.size_bytes if placement is Placement.NEW else 0
            if placement is Placement.SAME:  # its File Meta Information is another's
                size = path.stat().st_size
        except OSError as error:
            incoming.discard()
            raise SpoolFull(f"{path} cannot be made: {error.strerror}") from error
        if placement is not Placement.OTHER:
            incoming.discard()
        return Placed(placement, name, size, datetime.now(UTC))

    def path_of(self, identity: Identity) -> Path:
        """Where the instance lies, if it does."""
        return self.root / _name_of(identity)

    def _link(self, incoming: Incoming, path: Path) -> Placement:
        folder = path.parent
        self._make_durable_folder(folder)
        if removed.sha256_of(path) not in {None, incoming.sha256}:
            return Placement.OTHER
        try:
            os.link(incoming.path, path)
        except FileExistsError:
            if not _holds(path, incoming.sha256):
                return Placement.OTHER
            sync_file(path)  # who linked it may not have come to this yet
            sync_folder(folder)
            return Placement.SAME
        except FileNotFoundError:  # the folder was removed behind our back
            with self._lock:
                self._durable_folders.discard(folder)
            self._make_durable_folder(folder)
            os.link(incoming.path, path)
        try:
            incoming.sync()
        except OSError:
            path.unlink(missing_ok=True)
            raise
        sync_folder(folder)
        return Placement.NEW

    def _make_durable_folder(self, folder: Path) -> None:
        """Make a folder whose own name outlives a power cut, whoever made it."""
        with self._lock:
            if folder in self._durable_folders:
                return
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(folder.parent)
            sync_folder(self.root)
            if len(self._durable_folders) >= _REMEMBERED_FOLDERS:
                self._durable_folders.clear()
            self._durable_folders.add(folder)

    def sweep(self) -> int:
        """Remove what a killed process left half written. None of it was acknowledged, so its sender still has it.

        What another process is writing right now is left to it.
        """
        swept = 0
        for path in sorted(self._incoming.iterdir()):
            with path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                size = os.fstat(file.fileno()).st_size
            path.unlink(missing_ok=True)
            swept += 1
            _log.warning("removed an object that was never wholly received", file=path.name, bytes=size)
        return swept

    def remove(self, sha256_by_path: Mapping[str, str]) -> int:
        """Delete instances, each listed as removed before its file goes; returns how many bytes that freed.

        Killed in the middle, it is simply done again.

        Args:
            sha256_by_path: path relative to the spool -> SHA-256 of the data set.

        Raises:
            OSError: a list cannot be written, or a file cannot be deleted; those that are gone are listed.
        """
        folders: dict[Path, dict[str, str]] = {}
        for name, sha256 in sha256_by_path.items():
            path = self.root / name
            folders.setdefault(path.parent, {})[path.stem] = sha256
        for folder, listed in folders.items():
            if folder.is_dir():  # else it was removed behind our back, and the instances with it
                removed.note(folder, listed)
        return sum(unlink(self.root / name) for name in sha256_by_path)

    def was_removed(self, path: str) -> bool:
        """Whether `remove` took what lay at `path`, relative to the spool."""
        return removed.sha256_of(self.root / path) is not None

    def walk(self) -> Iterator[str]:
        """Paths, relative to the spool, of every received instance."""
        for folder in sorted(self.root.glob("[0-9a-f][0-9a-f]/*/")):
            prefix = folder.relative_to(self.root).as_posix()
            with os.scandir(folder) as entries:
                yield from sorted(f"{prefix}/{entry.name}" for entry in entries if entry.name.endswith(".dcm"))

    def read(self, path: str) -> Arrival:
        """What the file at `path` says of itself.

        Raises:
            InvalidObject: the file is damaged.
        """
        with (self.root / path).open("rb") as file:
            meta = part10.read(file)
            start = file.tell()
            identity = identify(file, meta.transfer_syntax_uid)
            file.seek(start)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            status = os.fstat(file.fileno())
        if meta.sha256 != sha256:
            reason = "its bytes are not those that it was sealed with: a power cut tore it before it was acknowledged"
            raise InvalidObject(reason, sop_instance_uid=identity.sop_instance_uid)
        at = datetime.fromtimestamp(status.st_mtime, UTC)
        return arrival(meta, identity, path, size_bytes=status.st_size, sha256=sha256, at=at, again=True)


def unlink(path: Path) -> int:
    """Delete a file; returns its size, 0 where there is none."""
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    return size


def arrival(
    meta: FileMeta, identity: Identity, path: str, *, size_bytes: int, sha256: str, at: datetime, again: bool
) -> Arrival:
    """The record of an instance that lies in the spool."""
    return Arrival(
        study_instance_uid=identity.study_instance_uid,
        series_instance_uid=identity.series_instance_uid,
        sop_instance_uid=identity.sop_instance_uid,
        sop_class_uid=identity.sop_class_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        path=path,
        size_bytes=size_bytes,
        sha256=sha256,
        received_at=at,
        sender=sender_of(meta),
        again=again,
    )


def sender_of(meta: FileMeta) -> Sender:
    """Who brought the file."""
    return Sender(meta.sending_ae, meta.receiving_ae, meta.address)


def data_set_sha256(path: Path) -> str:
    """SHA-256 of a file's data set, without its File Meta Information."""
    with path.open("rb") as file:
        part10.read(file)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _holds(path: Path, sha256: str) -> bool:
    try:
        return data_set_sha256(path) == sha256
    except InvalidObject:  # what lies there is damaged; nobody's bytes may take its place unseen
        return False


def _name_of(identity: Identity) -> str:
    series = _key(identity.study_instance_uid, identity.series_instance_uid)
    return f"{series[:2]}/{series}/{_key(identity.sop_instance_uid)}.dcm"


def _key(*uids: str) -> str:
    return hashlib.sha256("\n".join(uids).encode()).hexdigest()[:_KEY_LENGTH]
