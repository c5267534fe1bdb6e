"""That no response is lost: 50,000 small objects to a real storescp, each answered.

A response that is lost costs the sender its time-out, and the instance a second sending: both would be seen here.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from node.dicom import scu
from node.dicom.outgoing import examine

SENDS, AN_ASSOCIATION = 50_000, 1_000
TIMEOUT_S = 30.0


@pytest.mark.timeout(1800)
def test_no_response_is_lost(start_storescp, tmp_path: Path, capsys):
    storescp = start_storescp("--ignore")
    peer = scu.Peer(storescp.aet, "127.0.0.1", storescp.port, "HARMONODE", TIMEOUT_S)
    instance = examine(small_object(tmp_path / "small.dcm"))
    answered, slowest, began = 0, 0.0, time.perf_counter()
    for _ in range(SENDS // AN_ASSOCIATION):
        with scu.associate(peer, scu.storage_contexts([instance])) as requestor:
            for _ in range(AN_ASSOCIATION):
                started = time.perf_counter()
                status, _ = requestor.store(instance)  # raises NoResponse where none comes
                slowest = max(slowest, time.perf_counter() - started)
                answered += status.stored
    seconds = time.perf_counter() - began
    with capsys.disabled():
        print(f"\n{SENDS - answered} of {SENDS} responses lost; {SENDS / seconds:.0f} sends/s, slowest {slowest:.3f} s")
    assert answered == SENDS
    assert slowest < TIMEOUT_S


def small_object(path: Path) -> Path:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, generate_uid()
    made.StudyInstanceUID, made.SeriesInstanceUID = generate_uid(), generate_uid()
    made.Rows = made.Columns = made.BitsAllocated = 16
    made.PixelData = bytes(512)
    made.save_as(path, enforce_file_format=True)
    return path
