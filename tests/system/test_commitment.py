"""Storage commitment with a real Orthanc, both ways: it asks the node, and the node asks it."""

from __future__ import annotations

import time

import pytest
import sqlalchemy as sa
from peers import free_port

from node.journey import State
from node.store.tables import Commitment, CommitmentRequest

QUIET = {"quiet_s": 0.5}


@pytest.fixture
def orthanc(start_orthanc):
    """An Orthanc that commits itself, and tells the node so where it listens."""
    return start_orthanc(DicomAet="ORTHANC")


def node_beside(start_node, orthanc, **settings):
    there = {"ae_title": orthanc.aet, "host": "127.0.0.1", "port": orthanc.dicom_port}
    destination = {"kind": "dimse", "name": "pacs", "confirm": "commitment", **there, **settings}
    node = start_node(complete=QUIET, destinations=[destination])
    node.only_rule(plugin="identity")
    orthanc.register("harmonode", "HARMONODE", node.config.receive.port)
    return node


def test_a_derived_series_is_delivered_when_orthanc_commits_itself(start_node, orthanc, crafted):
    node = node_beside(start_node, orthanc)
    node.store(crafted.series(6))
    (series,) = node.wait_for_rest()
    assert series.state == State.DONE, series.reason
    asked = node.one(sa.select(Commitment))
    assert asked.failed == {}
    assert asked.asked_at is not None
    (said,) = [row.message for row in node.events("confirmation") if "destination" in row.detail]
    assert said == "pacs commits itself to 6 of 6 instances"
    assert {row.actor for row in node.events("commitment")} == {"worker-0", orthanc.aet}
    node.verify_audit()


def test_what_orthanc_lost_is_sent_again(start_node, orthanc, crafted):
    """It is asked for the whole series, and one instance went in the meantime: the report says which, and why."""
    node = node_beside(start_node, orthanc)
    node.store(crafted.series(6))
    (series,) = node.wait_for_rest()
    uid = series.series_instance_uid
    derived = node.one(sa.select(Commitment)).instances
    instance = orthanc.rest("/tools/lookup", method="POST", content=next(iter(derived)))[0]
    # A late slice makes a second round, which asks for all that was derived.
    orthanc.rest(instance["Path"], method="DELETE")
    node.store(crafted.series(7)[6:])
    node.wait(lambda: len(node.events("derivation")) == 2, "the late slice is derived")
    (series,) = node.wait_for_rest()
    node.wait(lambda: node.series()[0].state == State.DONE, "the series is done")
    told = [row for row in node.events("commitment") if row.detail.get("failed")]
    assert told
    assert "0x0112, no such object instance" in told[0].message
    assert len(orthanc.rest("/instances")) == 7
    assert node.series()[0].series_instance_uid == uid


def test_orthanc_asks_the_node_what_it_holds(start_node, orthanc, crafted):
    answer = {"ae_title": orthanc.aet, "host": "127.0.0.1", "port": orthanc.dicom_port}
    node = start_node(complete={"quiet_s": 3600}, receive={"port": free_port(), "commitment": [answer]})
    orthanc.register("harmonode", "HARMONODE", node.config.receive.port)
    paths = crafted.series(4)
    orthanc.upload(*paths)
    (series,) = orthanc.rest("/series")
    report = orthanc.forward("harmonode", [series])
    assert report["FailedInstancesCount"] == 0
    held = commitment_of(orthanc, [series])
    assert (held["Status"], len(held["Success"]), held["Failures"]) == ("Success", 4, [])
    node.wait(lambda: node.one(sa.select(CommitmentRequest)).failed == {}, "the node knows that it has reported")

    other = crafted.series(5)[4]  # this one the node never got
    orthanc.upload(other)
    lacking = commitment_of(orthanc, [series])
    assert lacking["Status"] == "Failure"
    assert len(lacking["Success"]) == 4
    (failure,) = lacking["Failures"]
    assert failure["FailureReason"] == 0x0112


def test_a_stranger_is_told_that_the_node_does_not_know_where_to_report(start_node, orthanc, crafted):
    node = start_node(complete={"quiet_s": 3600})
    orthanc.register("harmonode", "HARMONODE", node.config.receive.port)
    orthanc.upload(*crafted.series(1))
    (series,) = orthanc.rest("/series")
    with pytest.raises(AssertionError, match="storage-commitment"):
        orthanc.rest("/modalities/harmonode/storage-commitment", method="POST", json={"Resources": [series]})
    assert "receive.commitment" in node.log


def commitment_of(orthanc, resources: list[str], seconds: float = 30) -> dict:
    """Orthanc's record of a request, once it is reported on."""
    asked = orthanc.rest("/modalities/harmonode/storage-commitment", method="POST", json={"Resources": resources})
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = orthanc.rest(asked["Path"])
        if found["Status"] != "Pending":
            return found
        time.sleep(0.1)
    raise AssertionError("the node has not reported")
