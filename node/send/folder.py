"""Writing into a folder, one subfolder a series. Names are hashes of UIDs, never values from a header."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError

from node.config import FolderDestination
from node.errors import InvalidObject, OperatorError, TransientError
from node.send.tally import Tally

_NAME_LENGTH = 32
_UNDEFINED = 0xFFFFFFFF  # PS3.5 section 7.1.1
_FULL = (errno.ENOSPC, errno.EDQUOT)


def send(destination: FolderDestination, paths: Sequence[Path], tally: Tally) -> None:
    """Copy every file, each appearing whole or not at all; a file that is there already must be the same."""
    with _disk_errors(destination.path):
        for path in paths:
            content = path.read_bytes()
            series_uid, sop_uid = _uids(path)
            folder = destination.path / _name(series_uid)
            folder.mkdir(parents=True, exist_ok=True)
            target = folder / f"{_name(sop_uid)}.dcm"
            if not target.exists():
                _write(target, content)
            elif target.read_bytes() != content:
                raise OperatorError(
                    f"{target} holds SOP Instance UID {sop_uid} with other bytes, and is not overwritten: move it away"
                )
            tally.accepted()


def confirm(destination: FolderDestination, study_instance_uid: str, series_instance_uid: str) -> int:
    """How many readable instances of the series lie in the folder."""
    held = set()
    with _disk_errors(destination.path):
        for file in (destination.path / _name(series_instance_uid)).glob("*.dcm"):
            try:
                header = dcmread(file)
            except (InvalidDicomError, EOFError, ValueError):
                continue  # not held: the caller sees the count fall short, and sends again
            uids = header.get("StudyInstanceUID"), header.get("SeriesInstanceUID")
            if uids == (study_instance_uid, series_instance_uid) and _is_whole(header):
                held.add(header.SOPInstanceUID)
    return len(held)


def echo(destination: FolderDestination) -> str:
    """Write a file and remove it."""
    with _disk_errors(destination.path):
        destination.path.mkdir(parents=True, exist_ok=True)
        probe = destination.path / f".harmonode-{os.getpid()}"
        _write(probe, b"")
        probe.unlink()
    return f"{destination.path} can be written"


def _uids(path: Path) -> tuple[str, str]:
    try:
        header = dcmread(path, specific_tags=["SeriesInstanceUID", "SOPInstanceUID"], stop_before_pixels=True)
        uids = header.SeriesInstanceUID, header.SOPInstanceUID
    except (InvalidDicomError, AttributeError, EOFError, ValueError) as error:
        raise InvalidObject(f"{path} is not a readable DICOM file: {error}") from error
    return uids


def _is_whole(dataset: Dataset) -> bool:
    """Whether the file was not cut off: pydicom takes what there is of the last value."""
    elements = [element for element in dataset.values() if isinstance(element, RawDataElement)]
    return all(element.length in (_UNDEFINED, len(element.value or b"")) for element in elements)


def _name(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:_NAME_LENGTH]


def _write(target: Path, content: bytes) -> None:
    """Write, fsync, rename, fsync the folder."""
    unfinished = target.with_suffix(f".{os.getpid()}.part")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(target)
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        text = f"folder {folder}: {error}"
        raise (TransientError(text) if error.errno in _FULL else OperatorError(text)) from error
