"""The PACS of the demo: a real Orthanc where it is installed, else a small storage SCP of the demo's own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from node.config import DimseDestination
from node.errors import HarmonodeError, PermanentError

AE_TITLE = "DEMOPACS"
_START_S = 20.0
_STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"  # PS3.4 section C.6.2.1


@dataclass(frozen=True, slots=True)
class Pacs:
    """Where it is, and what it is."""

    what: str  # for people
    destination: DimseDestination
    page: str | None = None  # its web page, while the demo runs


class Kind(StrEnum):
    """Which PACS the demo uses."""

    AUTO = "auto"  # Orthanc where it is installed
    ORTHANC = "orthanc"
    OWN = "own"


@contextmanager
def pacs(folder: Path, kind: Kind) -> Iterator[Pacs]:
    """A PACS on free ports of loopback, keeping its files in `folder`; stopped at the end.

    Raises:
        PermanentError: Orthanc is asked for and not installed, or does not start.
    """
    folder.mkdir(parents=True)
    program = None if kind is Kind.OWN else shutil.which("Orthanc") or shutil.which("/usr/sbin/Orthanc")
    if kind is Kind.ORTHANC and not program:
        raise PermanentError("Orthanc is not installed; `--pacs own` uses a small storage SCP instead")
    with _orthanc(program, folder) if program else _storage_scp(folder) as found:
        yield found


def free_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _destination(port: int) -> DimseDestination:
    return DimseDestination(name="pacs", ae_title=AE_TITLE, host="127.0.0.1", port=port)


@contextmanager
def _orthanc(program: str, folder: Path) -> Iterator[Pacs]:
    dicom_port, http_port = free_port(), free_port()
    settings = {
        "Name": "harmonode demo",
        "StorageDirectory": str(folder.resolve()),
        "IndexDirectory": str(folder.resolve()),
        "DicomAet": AE_TITLE,
        "DicomPort": dicom_port,
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
    }
    configuration = folder.with_suffix(".json")
    configuration.write_text(json.dumps(settings, indent=2))
    with (folder.with_suffix(".log")).open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - the installed Orthanc, with a file we wrote
            [program, str(configuration)], stdout=log, stderr=log, env={**os.environ, "TCP_NODELAY": "1"}
        )
        try:
            destination = _destination(dicom_port)
            _wait_for(destination, process)
            yield Pacs(f"Orthanc ({program})", destination, f"http://127.0.0.1:{http_port}")
        finally:
            process.terminate()
            process.wait(10)


def _wait_for(destination: DimseDestination, process: subprocess.Popen[bytes]) -> None:
    from node.send import echo

    until = time.monotonic() + _START_S
    while True:
        try:
            echo(destination)
        except HarmonodeError:
            if process.poll() is not None or time.monotonic() > until:
                raise PermanentError(f"the demo's Orthanc did not start (exit status {process.poll()})") from None
            time.sleep(0.2)
        else:
            return


@contextmanager
def _storage_scp(folder: Path) -> Iterator[Pacs]:
    """Stores what comes, one file an instance, and answers how many instances a series has."""
    from pydicom import Dataset, dcmread
    from pynetdicom import AE, evt

    from node.dicom.associations import CT_STORAGE, TRANSFER_SYNTAXES, VERIFICATION

    held: dict[str, Dataset] = {}

    def store(event: Any) -> int:
        path = folder / f"{len(held):06d}.dcm"
        path.write_bytes(event.encoded_dataset())
        header = dcmread(path, stop_before_pixels=True)
        held[str(header.SOPInstanceUID)] = header
        return 0x0000

    def find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked = event.identifier
        series = [header for header in held.values() if header.SeriesInstanceUID == asked.get("SeriesInstanceUID")]
        level = asked.QueryRetrieveLevel
        for header in series if level == "IMAGE" else series[:1]:
            answer = Dataset()
            answer.QueryRetrieveLevel = level
            answer.StudyInstanceUID = header.StudyInstanceUID
            answer.SeriesInstanceUID = header.SeriesInstanceUID
            answer.SOPInstanceUID = header.SOPInstanceUID
            answer.NumberOfSeriesRelatedInstances = len(series)
            yield 0xFF00, answer
        yield 0x0000, None

    entity = AE(ae_title=AE_TITLE)
    for sop_class in CT_STORAGE:
        entity.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
    entity.add_supported_context(VERIFICATION)
    entity.add_supported_context(_STUDY_ROOT_FIND)
    port = free_port()
    server = entity.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store), (evt.EVT_C_FIND, find)]
    )
    assert server is not None  # only a server that blocks is None
    try:
        yield Pacs("a small storage SCP of the demo's own", _destination(port))
    finally:
        server.shutdown()
