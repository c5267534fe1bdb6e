"""kill -9 of the node at each step, and a PACS that fails: one derived series, whole, or the reason why not."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa
from crafted import Crafted

from node.journey import WORKING, State
from node.store.tables import AuditRecord, DerivedInstance, Job

SLICES = 30
CLOSE, DROP, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = -1, 0x0000, 0xA700, 0xC000

WORKER_TOO = (State.MEASURING, State.DERIVING)
"""Here the worker dies with its parent, as by a power cut; elsewhere it notices that its parent is gone."""


def test_killed_at_each_step(start_node, pacs, data: Path):
    node = start_node(complete={"quiet_s": 1}, destinations=[pacs.destination()])
    node.only_rule(
        plugin="slow", parameters={"seconds_a_slice": 0.05, "seconds_to_measure": 1.5, "seconds_to_check": 1.5}
    )
    pacs.store_s, pacs.find_s = 0.05, 1.0
    node.store(data / "chest" / "lung-dx-a0002-b40f")
    for step in WORKING:
        node.wait(lambda step=step: node.series() and node.series()[0].state == step, f"the step {step}")
        if step in WORKER_TOO:  # before the node: a tenth of a second later the step may be over
            os.kill(worker_of(node), signal.SIGKILL)
        node.kill()
        assert node.series()[0].state == step
        node.start()
    node.wait(lambda: node.series()[0].state == State.DONE, "the series is done")
    assert len(pacs.held) == SLICES
    assert len(pacs.series_seen) == 1
    moves = [row.detail["to"] for row in node.events() if "to" in row.detail]
    assert moves == ["complete", "queued", *WORKING, "done"], "every step once, in its order"
    job = node.one(sa.select(Job))
    assert (job.takeovers, job.attempt, job.derived_series_uid) == (len(WORKER_TOO), 0, *pacs.series_seen)
    files = sorted((node.config.derived_dir / job.id).iterdir())
    assert [file.name for file in files] == [*(f"{index:04}.dcm" for index in range(SLICES)), "report.json"]
    with node.database.read() as session:
        assert set(session.scalars(sa.select(DerivedInstance.sop_instance_uid))) == set(pacs.held)
    node.verify_audit()


@pytest.mark.parametrize("victims", ["worker", "both"])
def test_worker_lost_at_each_step(start_node, pacs, tmp_path: Path, victims: str):
    """A series a step; the worker dies there, alone or with the node, and is started again."""
    # Longer than two of a series' slices may be apart on a busy machine: they would make two rounds.
    node = start_node(complete={"quiet_s": 1.5}, destinations=[pacs.destination()])
    node.only_rule(
        plugin="slow", parameters={"seconds_a_slice": 0.3, "seconds_to_measure": 0.7, "seconds_to_check": 0.7}
    )
    pacs.store_s, pacs.find_s = 0.3, 0.7
    for number, step in enumerate(WORKING):
        uid = f"1.2.3.{number + 10}"

        def renamed(made, index: int, uid: str = uid) -> None:
            made.SeriesInstanceUID, made.SOPInstanceUID = uid, f"{uid}.{index}"
            made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID

        node.store(Crafted(tmp_path / uid).series(3, renamed))
        node.wait(lambda uid=uid, step=step: state_of(node, uid) == step, f"the step {step}")
        worker = worker_of(node)
        if victims == "both":
            node.kill()
        with suppress(ProcessLookupError):  # it may have noticed that its parent is gone
            os.kill(worker, signal.SIGKILL)
        if victims == "both":
            node.start()
        node.wait(lambda uid=uid: state_of(node, uid) == State.DONE, f"the series is done after {step}")
    assert len(pacs.held) == 3 * len(WORKING)
    assert len(pacs.series_seen) == len(WORKING)
    for series in node.series():
        moves = [
            row.detail["to"]
            for row in node.events()
            if row.series_instance_uid == series.series_instance_uid and "to" in row.detail
        ]
        assert moves == ["complete", "queued", *WORKING, "done"], "every step once, in its order"
    node.verify_audit()


def state_of(node, uid: str) -> str | None:
    return next((row.state for row in node.series() if row.series_instance_uid == uid), None)


def worker_of(node) -> int:
    """The process of the worker, as it told the audit trail."""
    with node.database.read() as session:
        row = session.scalars(
            sa.select(AuditRecord)
            .where(AuditRecord.actor == "worker-0", AuditRecord.event == "start")
            .order_by(AuditRecord.seq.desc())
        )
        return next(record.detail["pid"] for record in row if "pid" in record.detail)


@pytest.fixture
def node(start_node, pacs, crafted):
    """A node with a series of ten slices on its way to the PACS, as soon as `pacs.store` is set and it is stored."""
    running = start_node(
        complete={"quiet_s": 0.5},
        process={"retry": {"attempts": 4, "first_delay_s": 0.2, "max_delay_s": 0.3}},
        destinations=[pacs.destination(timeout_s=1.5)],
    )
    running.only_rule(plugin="slow", parameters={"seconds_a_slice": 0})
    running.paths = crafted.series(10)
    return running


def at_rest(node, pacs, state: State = State.DONE, held: int = 10) -> str:
    """The reason for which the series stands in that state; the PACS holds so many, of one series."""
    (series,) = node.wait_for_rest(seconds=60)
    assert (series.state, len(pacs.held)) == (state, held), series.reason
    assert len(pacs.series_seen) == 1
    assert set(pacs.held.values()) == pacs.series_seen == {node.one(sa.select(Job.derived_series_uid))}
    node.verify_audit()
    return series.reason


def retried(node) -> None:
    node.cli("series", "retry", node.series()[0].series_instance_uid)
    node.wait(lambda: node.series()[0].state == State.DONE, "the series is done")


def test_out_of_resources_at_times_and_closed_in_the_middle(node, pacs):
    def store(sop: str) -> int | None:
        if len(pacs.held) in {2, 7}:
            return OUT_OF_RESOURCES if pacs.asked[sop] == 1 else None
        closes = {4: 2, 9: 1}.get(len(pacs.held), 0)  # how often, at the fifth and the tenth
        return CLOSE if pacs.asked[sop] <= closes else None

    pacs.store = store
    node.store(node.paths)
    at_rest(node, pacs)
    said = [row.message for row in node.events("retry")]
    assert len(said) == 3
    assert any("0xA700 (out of resources); it had accepted 2 of 10" in message for message in said)


def test_out_of_resources_stays(node, pacs):
    pacs.store = lambda sop: OUT_OF_RESOURCES if len(pacs.held) == 6 and sop not in pacs.held else None
    node.store(node.paths)
    reason = at_rest(node, pacs, State.WAITING, 6)
    assert "sending failed 4 times" in reason
    assert "destination 'pacs'" in reason
    assert "0xA700 (out of resources)" in reason
    assert "accepted 6 of 10" in reason
    pacs.store = lambda _: None
    retried(node)
    at_rest(node, pacs)


def test_what_it_took_is_not_there(node, pacs):
    lost = set()

    def store(sop: str) -> int | None:
        if len(pacs.held) in {2, 5} and len(lost) < 2:
            lost.add(sop)
        return DROP if sop in lost and pacs.asked[sop] == 1 else None

    pacs.store = store
    node.store(node.paths)
    at_rest(node, pacs)
    assert len(lost) == 2
    assert "pacs 8 of 10 instances: the derived series is sent again" in node.events("retry")[-1].message
    assert [row.detail["held"] for row in node.events("confirmation") if "held" in row.detail] == [10]


def test_it_is_very_slow(node, pacs):
    """Slower than the time-out at first: what it took without an answer in time is sent again, as the same instance."""

    def store(_sop: str) -> int | None:
        pacs.store_s = 2.5 if sum(pacs.asked.values()) < 3 else 0.1
        return None

    pacs.store, pacs.store_s = store, 2.5
    node.store(node.paths)
    at_rest(node, pacs)
    assert "has not answered a C-STORE for 1.5 s" in node.events("retry")[0].message


def test_one_refuses_for_good_and_another_takes(start_node, start_pacs, crafted):
    good, bad = start_pacs(), start_pacs()
    node = start_node(complete={"quiet_s": 0.5}, destinations=[bad.destination("bad"), good.destination("good")])
    node.only_rule(plugin="slow", parameters={"seconds_a_slice": 0})
    bad.store = lambda _: CANNOT_UNDERSTAND if len(bad.held) == 4 else None
    node.store(crafted.series(10))
    reason = at_rest(node, good, State.FAILED)
    assert "destination 'bad'" in reason
    assert "0xC000 (cannot understand the data set)" in reason
    said = [row.message for row in node.events("confirmation")]
    assert said == ["good holds 10 of 10 instances"], "what was delivered is known, whatever became of the other"
    bad.store = lambda _: None
    retried(node)
    at_rest(node, bad)
    assert set(good.asked.values()) == {1}, "what is delivered is not sent again"
    assert good.series_seen == bad.series_seen
