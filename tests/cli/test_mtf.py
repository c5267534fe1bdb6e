"""`harmonode mtf`: figures for people and programs, and a picture."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PNG = b"\x89PNG"


def mtf(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "node.cli", "mtf", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture
def chest(data: Path) -> str:
    return str(data / "chest" / "lung-dx-a0002-b40f")


def test_a_picture_a_series_goes_into_the_current_folder_and_its_path_is_told(chest: str, tmp_path: Path):
    done = mtf(chest, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (picture,) = tmp_path.iterdir()
    assert picture.name.startswith("mtf-1.3.6.1.4.1.14519.")
    assert picture.read_bytes().startswith(PNG)
    assert picture.name in done.stderr
    assert "11.0" in done.stdout  # noise in HU


def test_programs_get_no_picture_unless_they_ask(chest: str, tmp_path: Path):
    told = json.loads(mtf(chest, "--json", cwd=tmp_path).stdout)
    assert list(tmp_path.iterdir()) == []
    assert told["noise_hu"] == pytest.approx(11, abs=0.5)
    assert told["nps"]["peak_per_mm"] == pytest.approx(0.26, abs=0.05)
    assert len(told["nps"]["frequency_per_mm"]) == len(told["nps"]["hu2_mm2"])
    json.loads(mtf(chest, "--json", "--picture", "new/one.png", cwd=tmp_path).stdout)
    assert (tmp_path / "new" / "one.png").read_bytes().startswith(PNG)


def test_one_file_does_not_hold_two_series(data: Path, tmp_path: Path):
    done = mtf(str(data / "phantom"), "--picture", "one.png", cwd=tmp_path)
    assert done.returncode == 1
    assert "name a folder" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_refused_series_has_a_reason_and_no_picture(chest: str, tmp_path: Path):
    done = mtf(chest, "--set", "fallback=refuse", cwd=tmp_path)
    assert done.returncode == 1
    assert "slices of 8 mm" in " ".join(done.stdout.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_real_scans_of_several_kernels_are_compared_in_one_picture(data: Path, tmp_path: Path):
    """Each known to be sharper than another, or of known resolution; what is not used says why."""
    chest, phantom = data / "chest", data / "phantom"
    (tmp_path / "ge").mkdir()
    for path in (chest / "lidc-0001").glob("*.dcm"):
        if path.stat().st_size > 500_000:  # one of them is cut off
            (tmp_path / "ge" / path.name).symlink_to(path)
    folders = [
        *(chest / f"lung-dx-a0002-{kernel}" for kernel in ("b70f", "b40f")),
        *(phantom / f"head-{kernel}" for kernel in ("ya", "ub")),
        tmp_path / "ge",
        phantom / "head-localizer",
    ]
    done = mtf(*map(str, folders), "--compare", "real.png", "--json", cwd=tmp_path)
    assert done.returncode == 1  # the localizer is refused, and the others are measured all the same
    picture = (tmp_path / "real.png").read_bytes()
    assert picture.startswith(PNG)
    assert len(picture) < 150_000
    b70f, b40f, ya, ub, ge, localizer = json.loads(done.stdout)
    assert b70f["skin"]["f50_per_mm"] > 1.15 * b40f["skin"]["f50_per_mm"]
    assert b70f["skin"]["f10_per_mm"] > 1.15 * b40f["skin"]["f10_per_mm"]
    assert "slices of 8 mm" in b70f["distrust"]
    assert b70f["source"] == "kernel table Siemens B70f"
    assert ya["source"] == ub["source"] == ge["source"] == "skin"
    assert ya["f50_low_per_mm"] > 1.5 * ub["f50_high_per_mm"]
    assert ya["f10_low_per_mm"] > 1.3 * ub["f10_high_per_mm"]
    assert 0.24 < ge["f50_per_mm"] < 0.51  # the skin is softer than isocentre, where a wire gives 0.51 /mm
    assert "skin segments" in localizer["refused"]


def test_one_series_that_cannot_be_read_does_not_stop_the_others(data: Path, chest: str, tmp_path: Path):
    done = mtf(str(data / "chest" / "lidc-0001"), chest, "--json", cwd=tmp_path)
    assert done.returncode == 1
    broken, whole = json.loads(done.stdout)
    assert "000.dcm" in broken["refused"] or "1.3.6.1.4.1.14519" in broken["refused"]
    assert whole["noise_hu"] == pytest.approx(11, abs=0.5)
