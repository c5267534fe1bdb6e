"""From the last C-STORE response to the last derived instance confirmed in Orthanc, beside storing the series there.

The identity plugin, and the quiet time taken off; only the ratio within one run counts. Orthanc comes as it is.
"""

from __future__ import annotations

import subprocess
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles

import pytest

from node.journey import State
from node.store.tables import Series

STORESCU = Path("/usr/bin/storescu")
ROUNDS, SLICES, QUIET_S = 5, 300, 3.0


@pytest.mark.timeout(1800)
@pytest.mark.skipif(not STORESCU.exists(), reason="DCMTK is not installed (`make peers` says how)")
def test_return(start_node, start_orthanc, write_series, tmp_path: Path, capsys):
    orthanc = start_orthanc(SyncStorageArea=True)
    destination = {"kind": "orthanc", "name": "orthanc", "url": orthanc.url}
    node = start_node(complete={"quiet_s": QUIET_S}, destinations=[destination])
    node.only_rule(plugin="identity")
    direct, back, steps = [], [], {}
    for number in range(ROUNDS + 1):
        paths, uid = write_series(tmp_path / "series", SLICES)
        started = time.perf_counter()
        store(orthanc.aet, orthanc.dicom_port, paths)
        taken = time.perf_counter() - started
        orthanc.rest(f"/series/{orthanc.series(uid)['ID']}", method="DELETE")
        store("HARMONODE", node.config.receive.port, paths)
        answered = datetime.now(UTC)
        (series,) = [row for row in node.wait_for_rest(number + 1) if row.series_instance_uid == uid]
        assert (series.state, series.instance_count) == (State.DONE, SLICES), series.reason
        if number:  # the first round warms up
            direct.append(taken)
            back.append((series.state_since - answered).total_seconds() - QUIET_S)
            for name, seconds in told(node, series, answered).items():
                steps.setdefault(name, []).append(seconds)
            with capsys.disabled():
                print(f"\nround {number}: back {back[-1]:.2f} s, direct {direct[-1]:.2f} s", end="", flush=True)
    low, ratio, high = quantiles([one / other for one, other in zip(back, direct, strict=True)], method="inclusive")
    with capsys.disabled():
        print(f"\nreturning {SLICES} slices, median of {ROUNDS}: {median(back):.2f} s; ", end="")
        print(f"storing them into Orthanc {median(direct):.2f} s")
        print(f"  of the rounds' ratios the median {ratio:.2f}, quartiles {low:.2f} and {high:.2f}")
        for name, seconds in steps.items():
            print(f"  {name:12} {median(seconds):6.2f} s")


def store(ae_title: str, port: int, paths: list[Path]) -> None:
    address = ["-aec", ae_title, "127.0.0.1", str(port)]
    subprocess.run([STORESCU, "-pdu", "131072", "+sd", *address, paths[0].parent], check=True, env={"TCP_NODELAY": "1"})


def told(node, series: Series, answered: datetime) -> dict[str, float]:
    """Seconds in each state, as the audit trail tells; the quiet time is taken off the first."""
    moves = [
        (row.detail["to"], row.at)
        for row in node.events()
        if row.series_instance_uid == series.series_instance_uid and "to" in row.detail
    ]
    spent = {here: (then - since).total_seconds() for (here, since), (_, then) in pairwise(moves)}
    return {"receiving": (moves[0][1] - answered).total_seconds() - QUIET_S, **spent}
