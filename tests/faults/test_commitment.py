"""A PACS that reports on storage commitment late, twice, never, or that it has lost something."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from node.journey import State
from node.store.tables import Commitment, Job

COUNT = 4


def start(start_node, pacs, crafted, **settings):
    destination = pacs.destination(confirm="commitment", **settings)
    node = start_node(complete={"quiet_s": 0.5}, destinations=[destination])
    node.only_rule(plugin="slow", parameters={"seconds_a_slice": 0})
    node.store(crafted.series(COUNT))
    return node


def test_it_reports_late_and_twice_and_the_node_died_meanwhile(start_node, pacs, crafted):
    node = start(start_node, pacs, crafted)
    node.wait(
        lambda: any("has not reported yet" in (row.reason or "") for row in node.series()),
        "the worker lets go of the series",
    )
    assert node.series()[0].state == State.CONFIRMING
    node.kill()
    node.start()
    (asked,) = pacs.commitments
    port = node.config.receive.port
    assert pacs.report(port, asked) == 0x0000
    node.wait(lambda: node.series()[0].state == State.DONE, "the series is done")
    assert pacs.report(port, asked) == 0x0000, "a report that comes again does no harm"
    assert len(pacs.commitments) == 1, "it was asked once"
    assert set(pacs.asked.values()) == {1}
    assert node.one(sa.select(Job)).tries == 0, "waiting is no failed try"
    asked.TransactionUID = "1.2.3"
    assert pacs.report(port, asked) != 0x0000, "nobody asked for that"
    node.verify_audit()


@pytest.mark.parametrize("fallback", ["c-find", "wait"])
def test_it_never_reports(start_node, pacs, crafted, fallback):
    node = start(start_node, pacs, crafted, commitment_timeout_s=3, commitment_fallback=fallback)
    (series,) = node.wait_for_rest()
    told = [row.message for row in node.events("commitment")]
    if fallback == "c-find":
        assert series.state == State.DONE, series.reason
        assert "has not reported on storage commitment" in told[-1]
        assert [row.detail["held"] for row in node.events("confirmation") if "held" in row.detail] == [COUNT]
    else:
        assert series.state == State.WAITING
        assert "pacs has not reported on storage commitment" in series.reason
        node.cli("series", "retry", series.series_instance_uid)
        node.wait(lambda: len(pacs.commitments) == 2, "it is asked anew")
        pacs.report(node.config.receive.port, pacs.commitments[1])
        node.wait(lambda: node.series()[0].state in {State.DONE, State.WAITING}, "the series rests")


def test_it_has_lost_one_and_refuses_another_for_good(start_node, pacs, crafted):
    node = start(start_node, pacs, crafted)
    port = node.config.receive.port
    node.wait(lambda: pacs.commitments, "it is asked")
    lost = min(pacs.held)
    del pacs.held[lost]
    for number in range(3):  # asked again before it is sent again
        node.wait(lambda number=number: len(pacs.commitments) > number, "it is asked again")
        pacs.report(port, pacs.commitments[number], {lost: 0x0112})
    node.wait(lambda: lost in pacs.held, "the series is sent again")
    assert "0x0112, no such object instance" in node.events("retry")[-1].message
    node.wait(lambda: len(pacs.commitments) > 3, "it is asked after that")
    pacs.report(port, pacs.commitments[3], {lost: 0x0122})
    (series,) = node.wait_for_rest()
    assert series.state == State.WAITING
    assert "0x0122, SOP class not supported" in series.reason
    assert len(pacs.series_seen) == 1
    with node.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Commitment)) == 0
