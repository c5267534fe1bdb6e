"""How fast a series is sent by each route, beside DCMTK's storescu in the same run, alternating.

Only ratios within one run count. Peers have TCP_NODELAY set; storescp does not sync its files, Orthanc comes as it is.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from statistics import median

import pydicom
import pytest
from pydicom.uid import generate_uid

from node.config import DimseDestination, FolderDestination, OrthancDestination, StowDestination
from node.send import confirm, send

STORESCU = Path("/usr/bin/storescu")
ROUNDS, SLICES = 3, 60


@pytest.mark.timeout(1200)
@pytest.mark.skipif(not STORESCU.exists(), reason="DCMTK is not installed (`make peers` says how)")
def test_send(start_orthanc, storescp, data: Path, tmp_path: Path, capsys):
    dicom, web, rest = start_orthanc(), start_orthanc(), start_orthanc()
    places = {
        "C-STORE to storescp": dimse(storescp.aet, storescp.port, confirm="none"),
        "C-STORE to Orthanc": dimse(dicom.aet, dicom.dicom_port),
        "STOW-RS to Orthanc": StowDestination(name="web", url=web.dicomweb_url),
        "REST to Orthanc": OrthancDestination(name="rest", url=rest.url),
        "folder": FolderDestination(name="folder", path=tmp_path / "out"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ["storescu to storescp", *places]}
    for number in range(ROUNDS + 1):  # the first warms the caches and is dropped
        for name, destination in places.items():
            paths, study, series = fresh_series(data, tmp_path / f"{number}-{name}")
            start = time.perf_counter()
            assert send(destination, paths, lambda _: None) == SLICES
            seconds[name].append(time.perf_counter() - start)
            assert confirm(destination, study, series) in (SLICES, None)
        paths, _, _ = fresh_series(data, tmp_path / f"{number}-storescu")
        start = time.perf_counter()
        address = ["-aec", storescp.aet, "127.0.0.1", str(storescp.port)]
        subprocess.run([STORESCU, "-pdu", "131072", *address, *paths], check=True, env={"TCP_NODELAY": "1"})
        seconds["storescu to storescp"].append(time.perf_counter() - start)
    megabytes = sum(path.stat().st_size for path in paths) / 1e6
    with capsys.disabled():
        for name, taken in seconds.items():
            each = median(taken[1:])
            print(f"\n{name:22s} {megabytes / each:6.0f} MB/s  {each / SLICES * 1000:5.1f} ms an instance", end="")
        print()


def dimse(ae_title: str, port: int, **more: str) -> DimseDestination:
    return DimseDestination(name="pacs", ae_title=ae_title, host="127.0.0.1", port=port, **more)


def fresh_series(data: Path, folder: Path) -> tuple[list[Path], str, str]:
    """Real slices under new UIDs: what a peer holds already it answers faster."""
    folder.mkdir()
    source = pydicom.dcmread(min((data / "chest" / "lung-dx-a0002-b70f").glob("*.dcm")))
    source.StudyInstanceUID, source.SeriesInstanceUID = generate_uid(), generate_uid()
    paths = [folder / f"{number:04d}.dcm" for number in range(SLICES)]
    for path in paths:
        source.SOPInstanceUID = source.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        source.save_as(path)
    return paths, source.StudyInstanceUID, source.SeriesInstanceUID
