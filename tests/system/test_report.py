"""A whole node sends the Structured Report where it is wanted, and has it confirmed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from crafted import Crafted
from peers import Orthanc, StoreScp
from running import RunningNode

from node.journey import State


@pytest.mark.slow
def test_the_report_goes_where_it_is_wanted_and_is_confirmed(
    start_node: Callable[..., RunningNode], orthanc: Orthanc, storescp: StoreScp, crafted: Crafted
):
    node = start_node(
        destinations=[
            {
                "kind": "dimse", "name": "orthanc", "ae_title": orthanc.aet, "host": "127.0.0.1",
                "port": orthanc.dicom_port, "structured_report": True,
            },
            {
                "kind": "dimse", "name": "scp", "ae_title": storescp.aet, "host": "127.0.0.1", "port": storescp.port,
                "confirm": "none",
            },
        ]
    )  # fmt: skip
    node.only_rule(plugin="identity")
    paths = crafted.series(6)
    node.store(paths[:5])
    (series,) = node.wait_for_rest()
    assert State(series.state) is State.DONE, series.reason
    held = {record["MainDicomTags"]["Modality"]: record for record in map(orthanc.rest, _series(orthanc))}
    assert {modality: len(record["Instances"]) for modality, record in held.items()} == {"CT": 5, "SR": 1}
    assert held["SR"]["ParentStudy"] == held["CT"]["ParentStudy"]
    assert held["SR"]["MainDicomTags"]["SeriesNumber"] == "10000"
    assert len(storescp.files) == 5
    (asked,) = [row.detail for row in node.events("confirmation") if row.detail.get("destination") == "orthanc"]
    assert (asked["held"], asked["expected"]) == (6, 6)

    node.store(paths[5:])  # a late slice makes another round, which has a report of its own
    node.wait(lambda: len(_instances(orthanc, "SR")) == 2, "the second report")
    (series,) = node.wait_for_rest()
    assert State(series.state) is State.DONE, series.reason
    assert len(_instances(orthanc, "CT")) == 6
    node.verify_audit()

    report = next(node.config.derived_dir.rglob("report.dcm"))
    back = ["/usr/bin/storescu", "-aec", "HARMONODE", "127.0.0.1", str(node.config.receive.port), str(report)]
    assert subprocess.run(back, capture_output=True, check=False).returncode != 0  # not stored here
    assert len(node.series()) == 1


def _series(orthanc: Orthanc) -> list[str]:
    return [f"/series/{name}" for name in orthanc.rest("/series")]


def _instances(orthanc: Orthanc, modality: str) -> list[str]:
    found = [orthanc.rest(path) for path in _series(orthanc)]
    return [name for record in found if record["MainDicomTags"]["Modality"] == modality for name in record["Instances"]]
