"""Malformed series end in a clear refusal that names the UID; their bytes are kept aside."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, generate_uid

from node.journey import State

JPEG_XL = "1.2.840.10008.1.2.4.110"  # nothing that the node installs decodes it


@pytest.fixture
def chest(data: Path) -> list[Dataset]:
    """Twenty small slices with the headers of a real series and UIDs of their own."""
    series, slices = generate_uid(), []
    for number, path in enumerate(sorted((data / "chest" / "lung-dx-a0002-b40f").glob("*.dcm"))[:20]):
        made = pydicom.dcmread(path)
        pixels = made.pixel_array[::8, ::8]
        made.SeriesInstanceUID, made.SOPInstanceUID = series, generate_uid()
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
        made.Rows, made.Columns = pixels.shape
        made.PixelData = np.ascontiguousarray(pixels).tobytes()
        made.InstanceNumber = number + 1
        slices.append(made)
    return slices


def zero_rows(slices: list[Dataset]) -> Dataset:
    slices[3].Rows = 0
    return slices[3]


def nan_slope(slices: list[Dataset]) -> Dataset:
    slices[3]["RescaleSlope"]._value = "NaN"
    return slices[3]


def wrong_vr(slices: list[Dataset]) -> Dataset:
    slices[3]["SliceThickness"]._value = "thick"
    return slices[3]


def two_patients(slices: list[Dataset]) -> Dataset:
    slices[3].PatientID = "SOMEBODY ELSE"
    return slices[3]


def duplicate_positions(slices: list[Dataset]) -> Dataset:
    slices[3].ImagePositionPatient = copy.copy(slices[4].ImagePositionPatient)
    return slices[3]


def mixed_orientations(slices: list[Dataset]) -> Dataset:
    slices[3].ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    return slices[3]


CASES = [zero_rows, nan_slope, wrong_vr, two_patients, duplicate_positions, mixed_orientations]


def test_each_malformation_is_refused_by_name(start_node, chest: list[Dataset], tmp_path: Path):
    """One node, one series a malformation, so that the node is seen to survive them all."""
    node = start_node(destinations=[{"kind": "folder", "name": "out", "path": str(tmp_path / "out")}])
    node.only_rule(plugin="identity")
    wrong: dict[str, tuple[Callable[[list[Dataset]], Dataset], str]] = {}
    for number, spoil in enumerate(CASES):
        slices, series = copy.deepcopy(chest), generate_uid()
        for made in slices:
            made.SeriesInstanceUID, made.SOPInstanceUID = series, generate_uid()
            made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
        culprit = spoil(slices)
        wrong[series] = (spoil, str(culprit.SOPInstanceUID))
        folder = tmp_path / str(number)
        folder.mkdir()
        for index, made in enumerate(slices):
            made.save_as(folder / f"{index:02}.dcm", enforce_file_format=True)
        node.store(folder)
    for series in node.wait_for_rest(len(CASES)):
        spoil, uid = wrong[series.series_instance_uid]
        assert State(series.state) is State.REFUSED, (spoil.__name__, series.state, series.reason)
        assert uid in series.reason or series.series_instance_uid in series.reason, (spoil.__name__, series.reason)
        assert series.instance_count == 20
        assert [row for row in node.quarantined() if row.series_instance_uid == series.series_instance_uid], (
            spoil.__name__
        )
    assert len(list(node.config.spool_dir.rglob("*.dcm"))) == 20 * len(CASES)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    node.verify_audit()


def test_a_syntax_without_a_codec_is_refused_in_the_journey(start_node, chest: list[Dataset], tmp_path: Path):
    node = start_node(destinations=[{"kind": "folder", "name": "out", "path": str(tmp_path / "out")}])
    node.only_rule(plugin="identity")
    for index, made in enumerate(chest):
        made.file_meta.TransferSyntaxUID = JPEG_XL
        made.PixelData = encapsulate([b"\xff\x4f\xff\x51" + made.PixelData[:200]])
        made["PixelData"].is_undefined_length = True
        made["PixelData"].VR = "OB"
        made.save_as(tmp_path / f"{index:02}.dcm", enforce_file_format=True)
    node.store(tmp_path)
    (series,) = node.wait_for_rest()
    assert State(series.state) in {State.FAILED, State.REFUSED}, series.reason
    assert JPEG_XL in series.reason or "JPEG XL" in series.reason, series.reason
    node.verify_audit()


def test_a_corrupt_stream_is_refused_in_the_journey(start_node, chest: list[Dataset], tmp_path: Path):
    node = start_node(destinations=[{"kind": "folder", "name": "out", "path": str(tmp_path / "out")}])
    node.only_rule(plugin="identity")
    for index, made in enumerate(chest):
        if index != 7:
            made.compress(JPEG2000Lossless, generate_instance_uid=False)
        else:
            made.file_meta.TransferSyntaxUID = JPEG2000Lossless
            made.PixelData = encapsulate([b"not a code stream at all"])
            made["PixelData"].VR = "OB"
        made.save_as(tmp_path / f"{index:02}.dcm", enforce_file_format=True)
    node.store(tmp_path)
    (series,) = node.wait_for_rest()
    assert State(series.state) in {State.FAILED, State.REFUSED}, series.reason
    assert str(chest[7].SOPInstanceUID) in series.reason
    node.verify_audit()
