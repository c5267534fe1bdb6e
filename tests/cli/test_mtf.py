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
