"""How fast a series is received, against DCMTK's storescp and Orthanc in the same run, alternating.

Only ratios within one run count. DCMTK's storescu sends, with TCP_NODELAY on both ends; storescp does not sync its
files, Orthanc comes as it is, the node syncs, hashes and records.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from statistics import median

import pydicom
import pytest
from pydicom.uid import generate_uid

STORESCU = Path("/usr/bin/storescu")
ROUNDS, SLICES = 5, 300


@pytest.mark.timeout(1800)
@pytest.mark.skipif(not STORESCU.exists(), reason="DCMTK is not installed (`make peers` says how)")
def test_receive(start_node, start_orthanc, storescp, data: Path, tmp_path: Path, capsys):
    node = start_node(complete={"quiet_s": 3600})
    orthanc = start_orthanc(SyncStorageArea=True)
    places = {
        "harmonode": ("HARMONODE", node.config.receive.port),
        "storescp": (storescp.aet, storescp.port),
        "orthanc": (orthanc.aet, orthanc.dicom_port),
    }
    seconds: dict[str, list[float]] = {name: [] for name in places}
    for number in range(ROUNDS + 1):
        for name, (ae_title, port) in places.items():
            folder = fresh_series(data, tmp_path / f"{number}-{name}")
            start = time.perf_counter()
            subprocess.run(
                [STORESCU, "+sd", "-pdu", "131072", "-aec", ae_title, "127.0.0.1", str(port), folder],
                check=True, capture_output=True, env={"TCP_NODELAY": "1"},
            )  # fmt: skip
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    node.wait(
        lambda: sum(row.instance_count for row in node.series()) == (ROUNDS + 1) * SLICES, "every instance indexed"
    )
    rate = {name: SLICES / median(taken) for name, taken in seconds.items()}
    with capsys.disabled():
        print(f"\nreceiving {SLICES} slices of 526 KB on one association, median of {ROUNDS}:")
        for name, value in rate.items():
            print(f"  {name:10} {value:6.0f} slices/s")
        for peer in ("storescp", "orthanc"):
            print(f"  harmonode is {rate['harmonode'] / rate[peer]:.2f} x {peer}")


def fresh_series(data: Path, folder: Path) -> Path:
    """Three hundred instances of one new series, from thirty real slices."""
    folder.mkdir()
    series = generate_uid()
    sources = sorted((data / "chest" / "lung-dx-a0002-b40f").glob("*.dcm"))
    for number in range(SLICES):
        made = pydicom.dcmread(sources[number % len(sources)])
        made.SeriesInstanceUID, made.SOPInstanceUID = series, generate_uid()
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
        made.save_as(folder / f"{number:03}.dcm")
    return folder
