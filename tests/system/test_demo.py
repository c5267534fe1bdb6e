"""`harmonode demo`, with Orthanc and without, on a series of one's own and on the virtual chest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ORTHANC = Path("/usr/sbin/Orthanc")


def run_demo(tmp_path: Path, *arguments: str) -> tuple[str, Path]:
    done = subprocess.run(
        [sys.executable, "-m", "node.cli", "demo", *arguments],
        cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (tmp_path / "demo-output").iterdir()
    return done.stdout, run


def shows_what_happened(said: str, run: Path, instances: int) -> None:
    assert f"{instances} instances, confirmed by the PACS" in said
    assert (run / "overview.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((run / "data" / "derived").rglob("[0-9]*.dcm"))) == instances
    assert len(list((run / "data" / "derived").rglob("report.dcm"))) == 1
    for name in ("LAA-950", "Perc15", "lung mass"):
        assert name in said
    for event in ("arrival", "decision", "measurement", "derivation", "transmission", "confirmation"):
        assert event in said
    assert "audit records is intact" in said


@pytest.mark.slow
@pytest.mark.skipif(not ORTHANC.exists(), reason="Orthanc is not installed (`make peers` says how)")
def test_the_virtual_chest_with_orthanc(tmp_path: Path):
    said, run = run_demo(tmp_path)
    assert "PACS: Orthanc" in said
    shows_what_happened(said, run, len(list((run / "source").glob("*.dcm"))))


@pytest.mark.slow
def test_a_series_of_ones_own_without_orthanc(tmp_path: Path, data: Path):
    said, run = run_demo(tmp_path, "--dir", str(data / "chest" / "lung-dx-a0002-b40f"), "--pacs", "own")
    assert "a small storage SCP of the demo's own" in said
    shows_what_happened(said, run, 30)


def test_a_folder_without_dicom_is_an_error(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "node.cli", "demo", "--dir", "empty"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no DICOM file under empty" in done.stderr
