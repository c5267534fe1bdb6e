"""Writing into a folder, one subfolder a series. Names are hashes of UIDs, never values from a header."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from node.config import FolderDestination
from node.dicom.headers import pixel_data, read_header
from node.dicom.outgoing import examine
from node.dicom.values import text
from node.errors import InvalidObject, OperatorError, TransientError
from node.send.tally import Held, Tally
from node.store.durable import write_whole

_NAME_LENGTH = 32
_FULL = (errno.ENOSPC, errno.EDQUOT)


def send(destination: FolderDestination, paths: Sequence[Path], tally: Tally) -> None:
    """Write every file, each appearing whole or not at all; a file that is there already must be the same."""
    with _disk_errors(destination.path):
        for path in paths:
            instance = examine(path, destination.compression)
            with instance.open_as_sent() as file:
                content = file.read()
            folder = destination.path / _name(instance.series_instance_uid)
            folder.mkdir(parents=True, exist_ok=True)
            target = folder / f"{_name(instance.sop_instance_uid)}.dcm"
            if not target.exists():
                write_whole(target, content)
            elif target.read_bytes() != content:
                raise OperatorError(
                    f"{target} holds SOP Instance UID {instance.sop_instance_uid} with other bytes, "
                    "and is not overwritten: move it away"
                )
            tally.accepted()


def confirm(destination: FolderDestination, study_instance_uid: str, series_instance_uid: str, enough: int = 0) -> Held:
    """The readable instances of the series that lie in the folder."""
    del enough
    held = set()
    with _disk_errors(destination.path):
        for file in (destination.path / _name(series_instance_uid)).glob("*.dcm"):
            with suppress(InvalidObject):  # not held: the caller sees the count fall short
                header = read_header(file)
                pixels = pixel_data(header)
                uids = text(header, "StudyInstanceUID"), text(header, "SeriesInstanceUID")
                if uids == (study_instance_uid, series_instance_uid) and (pixels is None or pixels.complete):
                    held.add(text(header, "SOPInstanceUID"))
    return Held.these(held)


def echo(destination: FolderDestination) -> str:
    """Write a file and remove it."""
    with _disk_errors(destination.path):
        destination.path.mkdir(parents=True, exist_ok=True)
        probe = destination.path / f".harmonode-{os.getpid()}"
        write_whole(probe, b"")
        probe.unlink()
    return f"{destination.path} can be written"


def _name(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:_NAME_LENGTH]


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        text = f"folder {folder}: {error}"
        raise (TransientError(text) if error.errno in _FULL else OperatorError(text)) from error
