"""A receiver on a free port, and a sender that sends the bytes of a file as they are, whatever is wrong with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, _config
from pynetdicom.association import Association
from pynetdicom.dsutils import encode
from pynetdicom.presentation import build_context

from node.config import Config, Receive
from node.dicom import part10
from node.dicom.associations import CT_STORAGE, TRANSFER_SYNTAXES, VERIFICATION
from node.receive import Receiver
from node.store.session import Database

RECEIVER = "HARMONODE"


@pytest.fixture
def start_receiver(tmp_path: Path, database: Database) -> Iterator[Callable[..., Receiver]]:
    """Start a receiver with these settings; stopped after the test."""
    running: list[Receiver] = []

    def start(**settings: Any) -> Receiver:
        given = {"port": 0, "disk_reserve_mb": 1, **settings}
        config = Config(data_dir=tmp_path / "node", receive=Receive.model_validate(given))
        receiver = Receiver(config, database)
        receiver.start()
        running.append(receiver)
        return receiver

    yield start
    for receiver in running:
        receiver.stop()


@contextmanager
def _associate(receiver: Receiver, called: str = RECEIVER, calling: str = "TESTER") -> Iterator[Association]:
    """An association that proposes every SOP class with one context for each transfer syntax."""
    ae = AE(calling)
    ae.dimse_timeout, ae.acse_timeout, ae.network_timeout = 20, 10, 30
    contexts = [build_context(sop_class, syntax) for sop_class in CT_STORAGE for syntax in TRANSFER_SYNTAXES]
    association = ae.associate(
        "127.0.0.1", receiver.port, [*contexts, build_context(VERIFICATION)], ae_title=called, max_pdu=0
    )
    # Hold the reactor: else it now and then takes a response before `send_c_store` sees it.
    checkpoint, connection = association._reactor_checkpoint, association.dul.socket.socket
    if association.is_established:
        association.let_go, checkpoint.set = checkpoint.set, lambda: None
        checkpoint.clear()
        time.sleep(0.02)
    try:
        yield association
    finally:
        if association.is_established:
            checkpoint.set = association.let_go
            checkpoint.set()
            association.release()
        if connection is not None:
            connection.close()  # pynetdicom forgets it where the peer was faster


@pytest.fixture
def associate() -> Callable[..., Any]:
    return _associate


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[pydicom.Dataset]]:
    """Send files on one association; the responses. The request's UIDs are those of the file meta information."""
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)

    def send(receiver: Receiver, paths: Sequence[Path], **names: str) -> list[pydicom.Dataset]:
        with _associate(receiver, **names) as association:
            assert association.is_established
            return [association.send_c_store(path) for path in paths]

    return send


@pytest.fixture
def wait() -> Callable[..., None]:
    """Wait until something is so."""

    def until(condition: Callable[[], Any], what: str, seconds: float = 15) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
            time.sleep(0.02)

    return until


@pytest.fixture
def slice_path(tmp_path: Path) -> Callable[..., Path]:
    """Write a small CT image; keywords change its attributes, None removes one. The file meta keeps the first UIDs."""
    made = iter(range(1_000_000))

    def write(series: str = "1.2.826.0.1.1", number: int | None = None, **changes: Any) -> Path:
        number = next(made) + 1 if number is None else number
        dataset = pydicom.Dataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = CT_STORAGE[0], f"{series}.{number}"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.826.0.1", series
        dataset.Modality, dataset.PatientID, dataset.InstanceNumber = "CT", "TEST", number
        dataset.Rows = dataset.Columns = 16
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.SamplesPerPixel, dataset.PixelRepresentation = 15, 1, 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.PixelData = bytes(512)
        meta = part10.FileMeta(dataset.SOPClassUID, dataset.SOPInstanceUID, ExplicitVRLittleEndian)
        for keyword, value in changes.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        folder = tmp_path / "slices"
        folder.mkdir(exist_ok=True)
        path = folder / f"{next(made)}.dcm"
        encoded = encode(dataset, is_implicit_vr=False, is_little_endian=True)
        assert encoded
        path.write_bytes(part10.encode(meta) + encoded)
        return path

    return write
