import shutil
import subprocess

import numpy as np
import pydicom
import pytest

from node.dicom.facts import series_facts
from plugins.ct_harmonizer.virtual_series import write_scan, write_series


@pytest.fixture(scope="module")
def files(virtual_scan, tmp_path_factory):
    return write_scan(virtual_scan, tmp_path_factory.mktemp("virtual"))


@pytest.fixture(scope="module")
def images(files):
    return [pydicom.dcmread(path) for path in files]


def test_pixels_are_the_scans_hu(images, virtual_scan):
    for image, hu in zip(images, virtual_scan.hu, strict=True):
        assert np.array_equal(image.pixel_array * image.RescaleSlope + image.RescaleIntercept, hu)
        assert image.pixel_array.max() < 4096


def test_geometry_is_uniform_axial_and_descends(images, virtual_scan):
    heights = [float(image.ImagePositionPatient[2]) for image in images]
    assert np.allclose(heights, virtual_scan.request.z_mm)
    assert np.allclose(np.diff(heights), -float(images[0].SpacingBetweenSlices))
    assert all(list(image.ImageOrientationPatient) == [1, 0, 0, 0, 1, 0] for image in images)


def test_one_series_of_one_patient_with_its_own_instances(images):
    for keyword in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPClassUID"):
        assert len({image[keyword].value for image in images}) == 1
    assert len({image.SOPInstanceUID for image in images}) == len(images)
    assert all(image.SOPInstanceUID.startswith("2.25.") and image.SOPInstanceUID.is_valid for image in images)


def test_the_scanner_does_not_pose_as_another(images):
    assert images[0].Manufacturer == "harmonode virtual scanner"
    assert str(images[0].PatientName) == "Virtual^Chest"


def test_the_shipped_lung_rule_could_take_it(images):
    facts = series_facts(images, "DEMO", "HARMONODE", lambda _: False)
    assert not facts.never
    assert images[0].BodyPartExamined == "CHEST"
    assert list(images[0].ImageType) == ["ORIGINAL", "PRIMARY", "AXIAL"]
    assert images[0].SliceThickness <= 5


def test_outside_judges_find_no_error(files):
    judge, series_judge = shutil.which("dciodvfy"), shutil.which("dcentvfy")
    if judge is None or series_judge is None:
        pytest.skip("dicom3tools is not installed: nobody else judges these headers")
    for path in (files[0], files[-1]):
        said = subprocess.run([judge, str(path)], capture_output=True, text=True, check=False)
        assert "Error" not in said.stdout + said.stderr
        assert "Warning" not in said.stdout + said.stderr
    said = subprocess.run([series_judge, *map(str, files)], capture_output=True, text=True, check=False)
    assert "Error" not in said.stdout + said.stderr


def test_the_demo_finds_it_and_gets_its_files_and_progress(tmp_path):
    seen = []
    write_series(tmp_path / "new", lambda done, total: seen.append((done, total)), slices=2, matrix=64)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["0001.dcm", "0002.dcm"]
    assert seen[-1][0] == seen[-1][1]
