"""What the node writes in front of a data set is DICOM to others, and comes back as it was."""

from __future__ import annotations

import contextlib
import io

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.dicom import part10
from node.dicom.part10 import FileMeta
from node.errors import InvalidObject

META = FileMeta("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4.5", "1.2.840.10008.1.2.4.70", "CT1", "HARMONODE", "10.1.2.3")


@pytest.mark.parametrize("address", ["10.1.2.3", "::1", "fe80::1%eth0", "stow", ""])
def test_it_comes_back(address):
    meta = FileMeta("1.2", "1.2.3", "1.2.840.10008.1.2", "A", "", address)
    file = io.BytesIO(part10.encode(meta) + b"data set")
    assert part10.read(file) == meta
    assert file.read() == b"data set"


def test_pydicom_reads_it():
    meta = pydicom.dcmread(io.BytesIO(part10.encode(META))).file_meta
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert meta.FileMetaInformationGroupLength == len(part10.encode(META)) - 144
    assert (meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID) == ("1.2.3.4.5", "1.2.840.10008.1.2.4.70")
    assert (meta.SendingApplicationEntityTitle, meta.ReceivingApplicationEntityTitle) == ("CT1", "HARMONODE")
    assert meta.ImplementationClassUID.is_valid


def test_files_of_others_are_read(data):
    with (data / "syntaxes" / "wg04" / "CT1_RLE").open("rb") as file:
        meta = part10.read(file)
        assert meta.transfer_syntax_uid == "1.2.840.10008.1.2.5"
        assert file.read(2) == b"\x08\x00"


@given(st.binary(max_size=60), st.integers(0, 300))
def test_no_bytes_whatever_raise_anything_but_a_refusal(noise, keep):
    with_noise = part10.encode(META)[: 132 + keep] + noise
    with contextlib.suppress(InvalidObject):
        assert part10.read(io.BytesIO(with_noise)).transfer_syntax_uid
