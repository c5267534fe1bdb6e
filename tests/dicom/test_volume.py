from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from structlog.testing import capture_logs

from node.dicom.volume import load_folder, load_volume
from node.errors import InvalidObject, SeriesRefused


def test_slices_are_in_order_along_the_normal_whatever_the_order_of_the_files(crafted: Any) -> None:
    paths = crafted.series(7)
    done = []
    volume = load_volume([paths[index] for index in (3, 0, 6, 1, 5, 2, 4)], lambda *step: done.append(step))
    assert volume.paths == tuple(paths)
    assert [source.InstanceNumber for source in volume.sources] == [1, 2, 3, 4, 5, 6, 7]
    assert volume.hu[:, 0, 0].tolist() == [-1000 + index for index in range(7)]
    assert volume.hu.dtype == np.float32
    assert volume.spacing_mm == (2.0, 0.7, 0.6)
    assert volume.slice_thickness_mm == 2.0
    assert volume.series_instance_uid == "1.2.3.4"
    assert done == [(index, 7) for index in range(1, 8)]


def test_spacing_is_measured_not_believed(crafted: Any) -> None:
    def overlapping(made: Dataset, _index: int) -> None:
        made.SliceThickness, made.SpacingBetweenSlices = 3, 9

    volume = load_volume(crafted.series(4, overlapping))
    assert volume.spacing_mm[0] == 2.0
    assert volume.slice_thickness_mm == 3


def test_nothing_can_be_changed_by_a_plugin(crafted: Any) -> None:
    volume = load_volume(crafted.series(2))
    with pytest.raises(ValueError, match="read-only"):
        volume.hu[0] = 0
    with pytest.raises(TypeError):
        volume.headers[0]["Rows"] = 1  # type: ignore[index]
    assert volume.headers[1]["ImagePositionPatient"] == (-100.0, -90.0, 12.0)
    assert all("PixelData" not in source for source in volume.sources)


def test_each_slice_has_its_own_rescale(crafted: Any) -> None:
    def lossy(made: Dataset, index: int) -> None:
        made.RescaleSlope, made.RescaleIntercept = ["2.0002442", "1"][index], ["-4047", "-1000"][index]

    volume = load_volume(crafted.series(2, lossy))
    assert volume.hu[0, 0, 0] == pytest.approx(24 * 2.0002442 - 4047, abs=1e-3)
    assert volume.hu[1, 0, 0] == 25 - 1000


def _signed(made: Dataset, value: int) -> None:
    made.PixelRepresentation, made.BitsStored, made.HighBit = 1, 16, 15
    pixels = np.full((8, 8), 40, np.int16)
    pixels[0, :3] = -2000, value, -1999
    made.PixelData = pixels.tobytes()


def test_padding_is_what_the_header_says(crafted: Any) -> None:
    def padded(made: Dataset, _index: int) -> None:
        _signed(made, -2000)
        made.add_new("PixelPaddingValue", "US", 63536)  # as scanners write -2000

    padding = load_volume(crafted.series(2, padded)).padding
    assert padding[0, 0, :4].tolist() == [True, True, False, False]
    assert padding.sum() == 4


def test_a_padding_range_has_both_its_ends(crafted: Any) -> None:
    def padded(made: Dataset, _index: int) -> None:
        _signed(made, -1998)
        made.add_new("PixelPaddingValue", "SS", -2000)
        made.add_new("PixelPaddingRangeLimit", "SS", -1999)

    padding = load_volume(crafted.series(2, padded)).padding
    assert padding[0, 0, :4].tolist() == [True, False, True, False]


def test_what_lies_outside_the_field_of_view_is_padding_though_not_declared(crafted: Any) -> None:
    def round_field(made: Dataset, _index: int) -> None:
        _signed(made, 40)
        pixels = np.full((8, 8), 40, np.int16)
        pixels[[0, 0, -1, -1, 0], [0, -1, 0, -1, 1]] = -1024  # with the intercept -2048 HU
        made.PixelData = pixels.tobytes()

    padding = load_volume(crafted.series(2, round_field)).padding
    assert padding.sum() == 2 * 5
    assert padding[0, 0, 1]


def test_air_in_the_corners_is_no_padding(crafted: Any) -> None:
    assert not load_volume(crafted.series(2)).padding.any()


def _turned(made: Dataset, index: int) -> None:
    if index == 1:
        made.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def _wide(made: Dataset, index: int) -> None:
    if index == 1:
        made.PixelSpacing = [0.7, 0.7]


def _other_series(made: Dataset, index: int) -> None:
    if index == 1:
        made.SeriesInstanceUID = "1.2.3.9"


@pytest.mark.parametrize(
    ("change", "reason"),
    [(_turned, "not parallel"), (_wide, "PixelSpacing in common"), (_other_series, "several series")],
)
def test_slices_that_make_no_volume_are_refused(crafted: Any, change: Any, reason: str) -> None:
    with pytest.raises(SeriesRefused, match=reason):
        load_volume(crafted.series(3, change))


def test_no_slices_make_no_volume() -> None:
    with pytest.raises(SeriesRefused, match="no instances"):
        load_volume([])


def test_a_spoilt_slice_is_named(crafted: Any) -> None:
    paths = crafted.series(5)
    paths[3].write_bytes(paths[3].read_bytes()[:-7])
    with pytest.raises(InvalidObject) as caught:
        load_volume(paths)
    assert caught.value.sop_instance_uid == "1.2.3.4.3"


def test_a_real_series(data: Path) -> None:
    paths = sorted((data / "chest/lung-dx-a0002-b70f").glob("*.dcm"))
    volume = load_volume(paths[::-1])
    assert volume.hu.shape == (30, 512, 512)
    assert volume.spacing_mm == (8.0, 0.646484375, 0.646484375)
    z = [float(source.ImagePositionPatient[2]) for source in volume.sources]
    assert z == sorted(z)
    middle = dcmread(volume.paths[15])
    assert np.array_equal(volume.hu[15], middle.pixel_array * 1.0 - 1024)


def test_a_folder_is_searched_to_its_depth_and_tells_what_it_skips(data: Path, crafted: Any) -> None:
    here = crafted.series(3)
    crafted.write(dcmread(data / "phantom/head-localizer/000.dcm"), "deep/er/IM0001")
    (crafted.folder / "deep/README.txt").write_text("no DICOM")
    with capture_logs() as told:
        found = load_folder(crafted.folder)
    assert found.pop("1.2.3.4") == here
    assert [[path.name for path in paths] for paths in found.values()] == [["IM0001"]]
    assert [Path(entry["file"]).name for entry in told] == ["README.txt"]
