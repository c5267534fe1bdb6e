"""The wall clock is set by days under a running node: nothing waits for ever, fires early, or leaves the disk early."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from crafted import Crafted
from wallclock import DAY_S

from node.journey import State
from node.store.tables import DerivedInstance, Instance, Job

OUT_OF_RESOURCES = 0xA700
COUNT = 6


@pytest.fixture
def start(start_node, pacs, environment, wall_clock):
    """A node that goes by the wall clock of the test, which is right until it is set."""
    environment.update(wall_clock.environment)

    def start(destination=None, **settings):
        settings = {"complete": {"quiet_s": 2}, "destinations": [pacs.destination(**(destination or {}))], **settings}
        node = start_node(**settings)
        node.only_rule(plugin="slow", parameters={"seconds_a_slice": 0})
        return node

    return start


@pytest.mark.parametrize("days", [3, -3])
def test_set_again_and_again(start, wall_clock, pacs, tmp_path, days):
    node = start(
        {"confirm": "commitment", "commitment_fallback": "wait"},
        process={"workers": 2, "retry": {"attempts": 3, "first_delay_s": 4, "max_delay_s": 4}},
    )

    # While a series arrives: its quiet time is neither over at once, with half of it missing, nor later by days.
    first = named(tmp_path, "1.2.3.10")
    node.store(first[:3])
    node.wait(node.series, "it is known")
    wall_clock.set(days * DAY_S)
    time.sleep(1.0)  # half of the quiet time, and two sweeps
    assert node.series()[0].state == State.RECEIVING
    node.store(first[3:])

    # While the report on its storage is awaited: an hour's patience is not over, and the report is looked for.
    node.wait(lambda: any("has not reported yet" in (row.reason or "") for row in node.series()), "it waits")
    attempt = node.one(sa.select(Job.attempt))
    wall_clock.set(2 * days * DAY_S)
    node.wait(lambda: node.one(sa.select(Job.attempt)) > attempt, "it looks again", 60)
    assert node.series()[0].state == State.CONFIRMING
    assert pacs.report(node.config.receive.port, pacs.commitments[0]) == 0x0000
    (series,) = node.wait_for_rest(seconds=60)
    assert series.state == State.DONE, series.reason
    assert node.one(sa.select(Job.round)) == 1, "it was complete once"
    assert len(pacs.commitments) == 1

    # While another try is put off: it comes.
    pacs.store = lambda _: OUT_OF_RESOURCES
    node.store(named(tmp_path, "1.2.3.11"))
    node.wait(lambda: any("failed" in (row.reason or "") for row in node.series()), "the first try failed")
    pacs.store = lambda _: None
    wall_clock.set(3 * days * DAY_S)
    node.wait(lambda: len(pacs.commitments) == 2, "it is tried again", 60)
    pacs.report(node.config.receive.port, pacs.commitments[1])
    assert [series.state for series in node.wait_for_rest(2, seconds=60)] == [State.DONE, State.DONE]

    assert (len(pacs.held), len(pacs.series_seen)) == (2 * COUNT, 2)
    with node.database.read() as session:
        assert set(session.scalars(sa.select(Job.takeovers))) == {0}, "no worker is taken for dead"
    told = [row.message for row in node.events("clock")]
    assert len(told) == 3
    assert all(("forward by 3 days" if days > 0 else "back by 3 days") in message for message in told)
    node.verify_audit()


def test_set_forward_beyond_the_age_of_what_is_delivered(start, wall_clock, crafted):
    """What is a minute old does not leave the disk because the clock says ten days; nor after the node starts anew."""
    node = start(retention={"delivered_days": 5})
    node.store(crafted.series(COUNT))
    assert node.wait_for_rest()[0].state == State.DONE
    files = [
        *(node.config.spool_dir / path for path in paths(node, Instance)),
        *(node.config.derived_dir / path for path in paths(node, DerivedInstance)),
    ]
    wall_clock.set(10 * DAY_S)
    node.wait(lambda: node.events("clock"), "the node has seen it")
    node.kill()
    wall_clock.set(20 * DAY_S)  # once more, while it is down
    node.start()  # the sweep of retention runs at once
    node.wait(lambda: len(node.events("clock")) == 2, "the node has seen what came while it was down")
    dry = node.cli("retention", "--dry-run")
    assert all(path.exists() for path in files), dry.stdout
    assert not node.events("retention")
    # What it is worth: a clock that is right, and days that truly passed.
    wall_clock.set(0)
    node.wait(lambda: len(node.events("clock")) == 3, "the clock is right again")
    from node import retention

    now = datetime.now(UTC)
    assert retention.due(node.config, node.database, now) == []
    assert len(retention.due(node.config, node.database, now + timedelta(days=6))) == 1
    node.verify_audit()


def paths(node, table) -> list[str]:
    with node.database.read() as session:
        return list(session.scalars(sa.select(table.path)))


def named(folder, uid: str) -> list[Path]:
    """A series of that UID."""

    def rename(made, index: int) -> None:
        made.SeriesInstanceUID, made.SOPInstanceUID = uid, f"{uid}.{index}"
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID

    return Crafted(folder / uid).series(COUNT, rename)
