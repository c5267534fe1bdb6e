"""A whole series: retries, late slices, what is written and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from node.config import Derive
from node.derive import derive, derived_series_uid
from node.dicom.volume import load_volume
from node.errors import PermanentError
from node.plugin import Measurement, Method

METHOD = Method("sharpener", "2", "Made sharper.", "ab" * 32)


def test_a_retry_makes_the_same_bytes(workshop: Any) -> None:
    paths = workshop.source(slices=3)
    first, second = workshop.derive(paths), workshop.derive(paths)
    assert [one.sha256 for one in first] == [one.sha256 for one in second]
    assert [one.path.read_bytes() for one in first] == [one.path.read_bytes() for one in second]
    assert len({one.sop_instance_uid for one in first}) == 3


def test_a_repeated_step_overwrites_what_a_killed_one_left(workshop: Any, tmp_path: Path, made_at: Any) -> None:
    loaded, folder = load_volume(workshop.source(slices=2)), tmp_path / "job"
    arguments: Any = (loaded, loaded.hu, METHOD, Measurement(), Derive(), folder, None, made_at)
    first = derive(*arguments)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "0000.tmp").write_bytes(b"half")
    (folder / "0001.dcm").write_bytes(b"damaged")
    assert derive(*arguments) == first
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert sorted(before) == ["0000.dcm", "0001.dcm"]


def test_late_slices_join_the_same_series_with_the_same_header(workshop: Any) -> None:
    paths = workshop.source(slices=4)
    whole = workshop.derive(paths)
    early = workshop.derive(paths[:3])
    late = workshop.derive(paths, only={"1.2.826.0.1.4"})
    assert [one.source_sop_instance_uid for one in late] == ["1.2.826.0.1.4"]
    assert [one.sha256 for one in early + late] == [one.sha256 for one in whole]


def test_a_late_slice_that_is_not_there_is_an_error(workshop: Any) -> None:
    with pytest.raises(PermanentError, match=r"no instance 1\.2\.826\.0\.1\.9"):
        workshop.derive(workshop.source(), only={"1.2.826.0.1.9"})


def test_slices_go_to_their_sources_in_any_order_of_the_files(workshop: Any) -> None:
    paths = workshop.source(slices=3)
    hu = np.arange(3, dtype=np.float32)[:, None, None] * np.ones((3, 4, 6), np.float32)
    for derived in workshop.derive(paths[::-1], hu):
        made = dcmread(derived.path)
        height = int(made.ImagePositionPatient[2])
        assert made.InstanceNumber == height - 2
        assert np.all(made.pixel_array == height - 3)
        assert derived.source_sop_instance_uid == f"1.2.826.0.1.{height - 2}"
        assert made.SourceImageSequence[0].ReferencedSOPInstanceUID == derived.source_sop_instance_uid


def test_the_identity_is_exact(workshop: Any) -> None:
    paths = workshop.source(slices=2)
    loaded = load_volume(paths)
    for index, derived in enumerate(workshop.derive(paths)):
        made = dcmread(derived.path)
        assert np.array_equal(made.pixel_array * made.RescaleSlope + made.RescaleIntercept, loaded.hu[index])


def test_padding_stays_padding_whatever_the_plugin_made_of_it(workshop: Any) -> None:
    def padded(source: Dataset) -> None:
        source.PixelRepresentation, source.BitsStored, source.HighBit = 1, 16, 15
        source.add_new(0x00280120, "US", 63536)  # -2000, as some scanners write it
        pixels = np.arange(24, dtype="<i2")
        pixels[:5] = -2000
        source.PixelData = pixels.tobytes()

    paths = workshop.source(padded)
    [derived] = workshop.derive(paths, np.full((1, 4, 6), 12.3, np.float32))
    made = dcmread(derived.path)
    assert made[0x00280120].VR == "SS"
    hu = made.pixel_array.ravel() + int(made.RescaleIntercept)
    assert np.all(hu[:5] == -3024)
    assert np.all(hu[5:] == 12)
    assert np.array_equal(made.pixel_array.ravel() == made.PixelPaddingValue, np.arange(24) < 5)


def test_clipped_pixels_are_told(workshop: Any) -> None:
    def large(source: Dataset) -> None:
        source.Rows = source.Columns = 40
        source.PixelData = bytes(3200)

    paths = workshop.source(large)
    hu = np.zeros((1, 40, 40), np.float32)
    assert workshop.derive(paths, hu)[0].clipped_pixels == 0
    hu[0, 3, 3] = 1e6
    assert workshop.derive(paths, hu)[0].clipped_pixels == 1


def test_another_number_of_slices_is_refused(workshop: Any) -> None:
    with pytest.raises(PermanentError, match=r"1\.2\.826\.0\.2 is \(2, 4, 6\).*but the plugin made \(1, 4, 6\)"):
        workshop.derive(workshop.source(slices=2), np.zeros((1, 4, 6), np.float32))


def test_a_slice_of_another_size_than_its_header_is_refused(workshop: Any) -> None:
    loaded = load_volume(workshop.source())
    wrong = replace(loaded, hu=np.zeros((1, 4, 5), np.float32), padding=np.zeros((1, 4, 5), np.bool_))
    with pytest.raises(PermanentError, match=r"1\.2\.826\.0\.1\.1 is \(4, 5\)"):
        workshop.derive([], wrong.hu, loaded=wrong)


def test_a_pixel_that_is_no_number_names_its_slice(workshop: Any) -> None:
    hu = np.zeros((2, 4, 6), np.float32)
    hu[1, 2, 3] = np.nan
    with pytest.raises(PermanentError, match=r"1\.2\.826\.0\.1\.2 cannot be stored.*not a number.*stopped"):
        workshop.derive(workshop.source(slices=2), hu)


def test_an_object_that_fails_our_checks_is_never_written(
    workshop: Any, monkeypatch: Any, tmp_path: Path, made_at: Any
) -> None:
    loaded = load_volume(workshop.source())
    monkeypatch.setattr("node.derive.check.findings", lambda *_: ["it is wrong"])
    with pytest.raises(PermanentError, match=r"2\.25\.\d+ derived from 1\.2\.826\.0\.1\.1 is not fit.*it is wrong"):
        derive(loaded, loaded.hu, METHOD, Measurement(), Derive(), tmp_path / "job", None, made_at)
    assert list((tmp_path / "job").iterdir()) == []


def test_the_series_uid_is_known_without_deriving(workshop: Any) -> None:
    [derived] = workshop.derive(workshop.source(), method=METHOD)
    assert dcmread(derived.path).SeriesInstanceUID == derived_series_uid("1.2.826.0.2", METHOD)
