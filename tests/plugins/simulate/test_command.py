import subprocess
import sys

import numpy as np
import pydicom
import pytest
from skimage.io import imread

SMALL = ("--slices", "3", "--spacing", "30", "--thickness", "3", "--matrix", "64", "--patient", "3")


def simulate(*words):
    return subprocess.run(
        [sys.executable, "-m", "plugins.ct_harmonizer.simulate", *words], capture_output=True, text=True, check=False
    )


def test_pixels_and_truth_come_in_one_file(tmp_path):
    done = simulate("--out", str(tmp_path / "chest.npz"), *SMALL, "--rendition", "GE-like STANDARD")
    assert done.returncode == 0, done.stderr
    assert "100 %" in done.stderr
    with np.load(tmp_path / "chest.npz") as kept:
        for name in ("hu", "true_hu", "lung", "airway", "vessel", "emphysema"):
            assert kept[name].shape == (3, 64, 64)
        assert not (kept["lung"] & (kept["airway"] | kept["vessel"])).any()
        assert len(kept["nodule_centres_mm"]) == len(kept["nodule_kinds"]) == len(kept["nodule_volumes_mm3"])
        assert kept["nodule_0_vertices_mm"].shape[1] == 3
        assert np.interp(-0.5, -kept["mtf"], kept["frequency_per_mm"]) == pytest.approx(0.51, abs=0.01)


def test_a_folder_becomes_a_dicom_series_with_its_truth_beside_it(tmp_path):
    done = simulate("--out", str(tmp_path / "chest"), *SMALL)
    assert done.returncode == 0, done.stderr
    images = [pydicom.dcmread(path) for path in sorted((tmp_path / "chest").iterdir())]
    with np.load(tmp_path / "chest.truth.npz") as kept:
        assert len(images) == len(kept["true_hu"]) == 3
        lung = kept["lung"][1]
        seen = images[1].pixel_array * float(images[1].RescaleSlope) + float(images[1].RescaleIntercept)
        assert seen[lung].mean() == pytest.approx(kept["true_hu"][1][lung].mean(), abs=30)
    assert images[0].PatientSex == "F"


def test_an_unknown_rendition_is_refused_with_those_there_are(tmp_path):
    done = simulate("--out", str(tmp_path / "chest"), *SMALL, "--rendition", "Br99")
    assert done.returncode == 2
    assert "no rendition 'Br99'" in done.stderr
    assert "Sensation B70" in done.stderr
    assert not any(tmp_path.iterdir())


def test_a_contact_sheet_shows_each_patient_from_above_and_from_the_front(tmp_path):
    words = ("--out", str(tmp_path / "sheet.png"), "--seed", "7", "--patients", "1", "--detail", "0.02")
    subprocess.run([sys.executable, "-m", "plugins.ct_harmonizer.simulate.sheet", *words], check=True)
    sheet = imread(tmp_path / "sheet.png")[..., :3].mean(axis=-1)
    views = np.array_split(sheet, 6, axis=1)
    assert all(0.05 < (view > 80).mean() < 0.7 for view in views)  # bodies, with air round them
    assert np.abs(views[1][:, :170] - views[2][:, :170]).mean() > 5  # at other heights
