"""How fast a series is sent by each route, beside DCMTK's storescu to the same peers in the same run, alternating.

Only ratios within one run count. Peers have TCP_NODELAY set; storescp does not sync its files, Orthanc comes as it is.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

from node.config import DimseDestination, OrthancDestination, StowDestination
from node.send import send

STORESCU = Path("/usr/bin/storescu")
ROUNDS, SLICES = 5, 300


@pytest.mark.timeout(1800)
@pytest.mark.skipif(not STORESCU.exists(), reason="DCMTK is not installed (`make peers` says how)")
def test_send(start_orthanc, storescp, write_series, tmp_path: Path, capsys):
    orthanc = start_orthanc(SyncStorageArea=True)
    routes: dict[str, Callable[[list[Path]], object]] = {
        "storescu to storescp": lambda paths: storescu(storescp.aet, storescp.port, paths),
        "C-STORE to storescp": by(dimse(storescp.aet, storescp.port, confirm="none")),
        "storescu to Orthanc": lambda paths: storescu(orthanc.aet, orthanc.dicom_port, paths),
        "C-STORE to Orthanc": by(dimse(orthanc.aet, orthanc.dicom_port)),
        "STOW-RS to Orthanc": by(StowDestination(name="web", url=orthanc.dicomweb_url)),
        "REST to Orthanc": by(OrthancDestination(name="rest", url=orthanc.url)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in routes}
    for number in range(ROUNDS + 1):
        for name, route in routes.items():
            paths, series = write_series(tmp_path / "series", SLICES)
            started = time.perf_counter()
            route(paths)
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - started)
            if "Orthanc" in name:
                assert orthanc.count(series) == SLICES
                orthanc.rest(f"/series/{orthanc.series(series)['ID']}", method="DELETE")
            else:
                assert len(storescp.files) == SLICES
                for file in storescp.files:
                    file.unlink()
    megabytes = sum(path.stat().st_size for path in paths) / 1e6
    taken = {name: median(each) for name, each in seconds.items()}
    with capsys.disabled():
        print(f"\nsending {SLICES} slices of {megabytes / SLICES * 1000:.0f} KB, median of {ROUNDS}:")
        for name, each in taken.items():
            ratio = taken[f"storescu to {name.rpartition(' ')[2]}"] / each
            print(f"  {name:22s} {megabytes / each:6.0f} MB/s  {ratio:5.2f} x storescu")


def by(destination: DimseDestination | StowDestination | OrthancDestination) -> Callable[[list[Path]], object]:
    return lambda paths: send(destination, paths, lambda _: None)


def storescu(ae_title: str, port: int, paths: list[Path]) -> None:
    address = ["-aec", ae_title, "127.0.0.1", str(port)]
    subprocess.run([STORESCU, "-pdu", "131072", "+sd", *address, paths[0].parent], check=True, env={"TCP_NODELAY": "1"})


def dimse(ae_title: str, port: int, **more: str) -> DimseDestination:
    return DimseDestination(name="pacs", ae_title=ae_title, host="127.0.0.1", port=port, **more)
