"""Complete series meet the rules: a job in the queue, or the reason why not, in one transaction with its audit record."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from node import audit, select
from node.config import Config, FolderDestination
from node.journey import State
from node.queue import Queue
from node.rules import load
from node.rules.explain import Decision
from node.series import SeriesFacts, TagValues
from node.store.session import Database
from node.store.tables import AuditRecord, Delivery, DerivedInstance, Instance, Job, Series
from node.workflow import retry

CT = {"tag": "Modality", "equals": "CT"}
THIN = {"tag": "SliceThickness", "between": [None, 5]}
NOW = datetime(2026, 1, 1, tzinfo=UTC)
FACTS = SeriesFacts(
    study_instance_uid="1.2",
    series_instance_uid="1.2.3",
    calling_ae_title="CT1",
    called_ae_title="HARMONODE",
    number_of_slices=3,
    orientation="axial",
    gantry_tilt_deg=0.0,
    slice_spacing_mm=2.5,
    spacing_uniform=True,
    z_extent_mm=7.5,
    tags={"Modality": TagValues(("CT",)), "SliceThickness": TagValues((2.5,))},
)


class FakeQueue:
    """Remembers what was enqueued; `full` makes it fail as a database would."""

    def __init__(self) -> None:
        self.jobs: list[str] = []
        self.full = False

    def enqueue(self, session: Session, job: Job) -> None:
        assert session.get(Job, job.id) is job, "the job's row is there, in the same transaction"
        if self.full:
            raise RuntimeError("the queue cannot take it")
        self.jobs.append(job.id)


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    folders = tuple(FolderDestination(name=name, path=tmp_path / name) for name in ("archive", "pacs"))
    return Config(data_dir=tmp_path, destinations=folders)


class Node:
    """The database under test, and the shortest ways to fill and read it."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def rule(self, name: str = "any", match: Any = CT, **fields: Any) -> None:
        document = {"name": name, "match": match, "plugin": "identity", **fields}
        with self.database.write() as session:
            load.save(session, load.parse_rule(document), author="test")

    def series(self, facts: SeriesFacts = FACTS, state: State = State.COMPLETE) -> int:
        with self.database.write() as session:
            series = Series(
                study_instance_uid=facts.study_instance_uid,
                series_instance_uid=facts.series_instance_uid,
                state=str(state),
                state_since=NOW,
                first_arrival_at=NOW,
                last_arrival_at=NOW,
                calling_ae_title="CT1",
                called_ae_title="HARMONODE",
                address="127.0.0.1",
                facts=facts.to_json(),
            )
            session.add(series)
            session.flush()
            for index in range(facts.number_of_slices):
                self.instance(session, series, f"{facts.series_instance_uid}.{index}")
            return series.id

    def instance(self, session: Session, series: Series, uid: str) -> Instance:
        instance = Instance(
            series_id=series.id,
            sop_instance_uid=uid,
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            path=uid,
            size_bytes=1,
            sha256="0" * 64,
            received_at=NOW,
            calling_ae_title="CT1",
        )
        session.add(instance)
        session.flush()
        return instance

    def all(self, kind: type[Any]) -> list[Any]:
        with self.database.read() as session:
            return list(session.scalars(sa.select(kind).order_by(*sa.inspect(kind).primary_key)))

    def one(self) -> Series:
        (series,) = self.all(Series)
        return series

    def said(self) -> AuditRecord:
        """The last audit record of a sound chain."""
        with self.database.read() as session:
            assert audit.verify(session)[1] == []
        return self.all(AuditRecord)[-1]


@pytest.fixture
def node(database: Database) -> Node:
    return Node(database)


def test_a_series_that_a_rule_selects_is_queued(node: Node, config: Config, queue: FakeQueue):
    node.rule("thin", {"all": [CT, THIN]}, priority=7, destinations=["pacs"])
    node.series()
    assert select.sweep(config, node.database, queue) == 1
    series, (job,) = node.one(), node.all(Job)
    assert (series.state, series.rule_name) == (State.QUEUED, "thin")
    assert queue.jobs == [job.id]
    assert (job.round, job.rule_name, job.rule_version, job.plugin, job.priority) == (1, "thin", 1, "identity", 7)
    assert (job.parameters, job.destinations, job.attempt, job.measurement) == ({}, ["pacs"], 0, None)
    assert [instance.round for instance in node.all(Instance)] == [1, 1, 1]
    decision = Decision.from_json(series.explanation)
    assert decision.chosen == "thin"
    assert series.reason == decision.reason
    said = node.said()
    assert (said.event, said.message, said.series_instance_uid) == ("decision", series.reason, "1.2.3")
    assert said.detail["job"] == job.id
    assert said.detail["explanation"] == series.explanation
    assert select.sweep(config, node.database, queue) == 0, "once"


def test_no_destination_named_is_every_destination(node: Node, config: Config, queue: FakeQueue):
    node.rule()
    node.series()
    select.sweep(config, node.database, queue)
    assert node.all(Job)[0].destinations == ["archive", "pacs"]


def test_a_series_that_no_rule_selects_is_passed_with_the_reason(node: Node, config: Config, queue: FakeQueue):
    node.rule("thin", THIN)
    node.series(replace(FACTS, tags={**FACTS.tags, "SliceThickness": TagValues((8.0,))}))
    assert select.sweep(config, node.database, queue) == 1
    series = node.one()
    assert (series.state, series.rule_name, queue.jobs) == (State.PASSED, None, [])
    assert series.reason == (
        "no rule selects it: thin: Slice Thickness (0018,0050) is 8 on 3 of 3 slices, wanted at most 5"
    )
    assert node.said().detail["explanation"] == series.explanation
    assert node.all(Job) == []
    assert [instance.round for instance in node.all(Instance)] == [None, None, None]


def test_without_rules_all_is_passed(node: Node, config: Config, queue: FakeQueue):
    node.rule(enabled=False)
    node.series()
    select.sweep(config, node.database, queue)
    assert (node.one().state, node.one().reason) == (State.PASSED, "no rule is enabled")


def test_what_can_never_be_a_candidate_is_passed_whatever_the_rules_say(node: Node, config: Config, queue: FakeQueue):
    node.rule()
    node.series(replace(FACTS, never=("this node made it", "it is derived")))
    select.sweep(config, node.database, queue)
    series = node.one()
    assert (series.state, queue.jobs) == (State.PASSED, [])
    assert series.reason == "never a candidate: this node made it; it is derived"
    assert series.explanation["answers"] == []


def test_the_highest_priority_goes_first(node: Node, config: Config, queue: FakeQueue):
    node.rule("wide", CT, priority=1)
    node.rule("narrow", {"all": [CT, THIN]}, priority=2)
    node.rule("off", {"tag": "Modality", "like": "C*"}, priority=3, enabled=False)
    node.series()
    select.sweep(config, node.database, queue)
    assert node.one().rule_name == "narrow"
    assert [answer["rule"] for answer in node.one().explanation["answers"]] == ["narrow", "wide"]


def test_only_complete_series_are_looked_at(node: Node, config: Config, queue: FakeQueue):
    node.rule()
    for index, state in enumerate(set(State) - {State.COMPLETE}):
        node.series(replace(FACTS, series_instance_uid=f"1.2.{index}"), state)
    before = [series.state for series in node.all(Series)]
    assert select.sweep(config, node.database, queue) == 0
    assert [series.state for series in node.all(Series)] == before


def test_several_series_are_decided_each_by_itself(node: Node, config: Config, queue: FakeQueue):
    node.rule("thin", THIN)
    node.series()
    node.series(replace(FACTS, series_instance_uid="1.2.4", tags={}))
    assert select.sweep(config, node.database, queue) == 2
    assert [series.state for series in node.all(Series)] == [State.QUEUED, State.PASSED]


def test_a_queue_that_fails_leaves_neither_job_nor_move(node: Node, config: Config, queue: FakeQueue):
    node.rule()
    node.series()
    audited = len(node.all(AuditRecord))
    queue.full = True
    with pytest.raises(RuntimeError, match="cannot take it"):
        select.sweep(config, node.database, queue)
    assert (node.one().state, node.one().explanation) == (State.COMPLETE, None)
    assert node.all(Job) == []
    assert len(node.all(AuditRecord)) == audited
    assert [instance.round for instance in node.all(Instance)] == [None, None, None]
    queue.full = False
    assert select.sweep(config, node.database, queue) == 1
    assert node.one().state == State.QUEUED


def test_one_series_that_cannot_be_decided_on_does_not_stop_the_others(
    node: Node, config: Config, queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
):
    node.rule()
    first, _ = node.series(), node.series(replace(FACTS, series_instance_uid="1.2.9"))
    decide = select._decide

    def stumble(session: Session, config: Config, queue: FakeQueue, series: Series) -> None:
        if series.id == first:
            raise KeyError("unforeseen")
        decide(session, config, queue, series)

    monkeypatch.setattr(select, "_decide", stumble)
    with pytest.raises(KeyError, match="unforeseen"):
        select.sweep(config, node.database, queue)
    assert [series.state for series in node.all(Series)] == [State.COMPLETE, State.QUEUED]


def test_the_real_queue_keeps_step_with_the_transaction(node: Node, config: Config):
    class Breaks(Queue):
        broken = True

        def enqueue(self, session: Session, job: Job, delay_s: float = 0.0) -> None:
            super().enqueue(session, job, delay_s)
            tried.append(job)
            if self.broken:
                raise RuntimeError("after it was enqueued")

    tried: list[Job] = []
    node.rule()
    node.series()
    queue = Breaks(node.database)
    try:
        with pytest.raises(RuntimeError, match="after it was enqueued"):
            select.sweep(config, node.database, queue)
        assert queue.known(tried) == set()
        assert node.one().state == State.COMPLETE
        queue.broken = False
        assert select.sweep(config, node.database, queue) == 1
        assert queue.known(tried) == {node.all(Job)[0].id}
    finally:
        queue.close()


class TestLateInstances:
    """Instances that come after the derived series was made."""

    @pytest.fixture
    def done(self, node: Node, config: Config, queue: FakeQueue) -> int:
        """A series of which round 1 derived all; one more instance came, and it is complete again."""
        node.rule("first", priority=4, destinations=["pacs"])
        series_id = node.series()
        select.sweep(config, node.database, queue)
        with node.database.write() as session:
            series = session.get_one(Series, series_id)
            (job,) = series.jobs
            job.measurement, job.method = {"data": {"f50": 0.4}, "quantities": {}}, {"name": "identity"}
            for instance in series.instances:
                session.add(
                    DerivedInstance(
                        job_id=job.id,
                        source_instance_id=instance.id,
                        sop_instance_uid=f"{instance.sop_instance_uid}.9",
                        path="x",
                        sha256="0" * 64,
                    )
                )
            series.state = str(State.COMPLETE)
            series.facts = replace(FACTS, number_of_slices=4, tags={}).to_json()
            node.instance(session, series, "1.2.3.99")
        return series_id

    def test_follow_the_first_round(self, node: Node, config: Config, queue: FakeQueue, done: int):
        with node.database.write() as session:
            load.remove(session, "first", author="test")
        node.rule("second")
        explained = node.one().explanation
        assert select.sweep(config, node.database, queue) == 1
        with node.database.read() as session:
            first, second = session.get_one(Series, done).jobs
        assert queue.jobs == [first.id, second.id]
        assert (second.round, second.rule_name, second.rule_version) == (2, "first", 1)
        for name in ("plugin", "parameters", "destinations", "priority", "measurement", "method"):
            assert getattr(second, name) == getattr(first, name), name
        assert (second.attempt, second.derived_series_uid, second.finished_at) == (0, None, None)
        assert [instance.round for instance in node.all(Instance)] == [1, 1, 1, 2]
        assert (node.one().state, node.one().rule_name) == (State.QUEUED, "first")
        assert node.one().explanation == explained
        assert node.said().message == (
            "late instances go where round 1 went: by rule first (version 1), with the measurement made then"
        )

    def test_do_not_make_a_candidate_of_what_can_never_be_one(
        self, node: Node, config: Config, queue: FakeQueue, done: int
    ):
        with node.database.write() as session:
            session.get_one(Series, done).facts = replace(FACTS, number_of_slices=4, never=("two kinds",)).to_json()
        select.sweep(config, node.database, queue)
        assert (node.one().state, len(queue.jobs)) == (State.PASSED, 1)

    def test_wait_where_the_destination_is_gone(self, node: Node, config: Config, queue: FakeQueue, done: int):
        fewer = config.model_copy(update={"destinations": config.destinations[:1]})
        select.sweep(fewer, node.database, queue)
        assert node.one().state == State.WAITING
        assert "no destination pacs is configured; there are: archive" in node.one().reason

    def test_meet_the_rules_where_nothing_was_derived(self, node: Node, config: Config, queue: FakeQueue, done: int):
        with node.database.write() as session:
            session.execute(sa.delete(DerivedInstance))
        select.sweep(config, node.database, queue)
        assert node.one().state == State.PASSED
        assert node.one().reason.startswith("no rule selects it: first: Modality (0008,0060) is missing")


def test_facts_that_are_older_than_the_instances_are_not_decided_on(node: Node, config: Config, queue: FakeQueue):
    """One came while the series waited for a person; then the person sent it back to the rules."""
    node.rule()
    series_id = node.series()
    with node.database.write() as session:
        node.instance(session, session.get_one(Series, series_id), "1.2.3.99")
    select.sweep(config, node.database, queue)
    assert (node.one().state, queue.jobs) == (State.RECEIVING, [])
    assert node.one().reason.startswith("1 more instances came")


class TestLatePolicy:
    """What the rule says of late instances, in the version that selected the series."""

    @pytest.fixture
    def late(self, node: Node, config: Config, queue: FakeQueue):
        """A series that was derived and, where told so, delivered; one more instance came, and it is complete again."""

        def make(policy: str, *, delivered: bool = True) -> None:
            node.rule("first", late=policy, destinations=["pacs"])
            series_id = node.series()
            select.sweep(config, node.database, queue)
            node.rule("first", late="harmonize", destinations=["pacs"], description="another version")
            with node.database.write() as session:
                series = session.get_one(Series, series_id)
                (job,) = series.jobs
                job.derived_series_uid, job.finished_at = "1.2.3.5", NOW
                first = series.instances[0]
                session.add(
                    DerivedInstance(
                        job_id=job.id, source_instance_id=first.id, sop_instance_uid="9", path="x", sha256="0"
                    )
                )
                session.add(Delivery(job_id=job.id, destination="pacs", confirmed_at=NOW if delivered else None))
                series.state, series.facts = str(State.COMPLETE), replace(FACTS, number_of_slices=4).to_json()
                node.instance(session, series, "1.2.3.99")
            select.sweep(config, node.database, queue)

        return make

    def test_ignored_they_leave_the_series_done_and_the_trail_says_so(self, node: Node, queue: FakeQueue, late):
        late("ignore")
        assert (node.one().state, len(queue.jobs), node.one().error_kind) == (State.DONE, 1, None)
        assert node.said().message == (
            "1 late instance left out of the derived series 1.2.3.5, as rule first (version 1) says; nothing is deleted"
        )
        assert node.said().detail["policy"] == "ignore"
        assert [instance.round for instance in node.all(Instance)] == [1, 1, 1, None]

    def test_ignored_they_do_not_make_done_what_is_not_delivered(self, node: Node, late):
        late("ignore", delivered=False)
        assert (node.one().state, node.one().error_kind) == (State.WAITING, "operator")
        assert "Round 1 is not delivered: `harmonode series retry 1.2.3` takes it up" in node.one().reason

    def test_left_to_a_person_they_wait_until_one_says_yes(self, node: Node, config: Config, queue: FakeQueue, late):
        late("wait")
        assert (node.one().state, node.one().error_kind, len(queue.jobs)) == (State.WAITING, "operator", 1)
        assert "`harmonode series retry 1.2.3` adds to it what is late" in node.one().reason
        with node.database.write() as session:
            retry(session, queue, session.get_one(Series, node.one().id), "user:ann")
        assert select.sweep(config, node.database, queue) == 1
        assert (node.one().state, len(queue.jobs)) == (State.QUEUED, 2)
        assert [instance.round for instance in node.all(Instance)] == [1, 1, 1, 2]


class TestHours:
    """A rule that starts jobs in some hours only."""

    def hours(self, begin: int, end: int) -> dict[str, Any]:
        now = datetime.now(UTC)
        clock = [f"{now + timedelta(hours=after):%H:%M}" for after in (begin, end)]
        return {"zone": "UTC", "windows": [{"hours": "-".join(clock)}]}

    def test_a_job_waits_for_them_and_says_until_when(self, node: Node, config: Config, queue: FakeQueue):
        node.rule(when=self.hours(2, 5))
        node.series()
        select.sweep(config, node.database, queue)
        series, (job,) = node.one(), node.all(Job)
        assert (series.state, queue.jobs) == (State.QUEUED, [job.id])
        assert timedelta(hours=1) < job.starts_at - datetime.now(UTC) <= timedelta(hours=2)
        assert series.reason.startswith(f"waits until {job.starts_at:%a %Y-%m-%d %H:%M} UTC, for its rule starts jobs ")
        assert "`harmonode series start-now 1.2.3` starts it at once. rule any (version 1) selects it" in series.reason
        assert node.said().detail["starts_at"] == job.starts_at.isoformat()

    def test_within_them_it_does_not(self, node: Node, config: Config, queue: FakeQueue):
        node.rule(when=self.hours(-2, 2))
        node.series()
        select.sweep(config, node.database, queue)
        assert node.all(Job)[0].starts_at is None
        assert node.one().reason.startswith("rule any (version 1) selects it")


class TestOperator:
    """What a person must mend makes the series wait, with what to do; nothing is lost."""

    @pytest.mark.parametrize(
        ("fields", "destinations", "said"),
        [
            ({"destinations": ["pcas"]}, 2, "rule 'any' selects the series, but no destination pcas is configured"),
            ({"plugin": "magic"}, 2, "rule 'any' selects the series, but no plugin 'magic' is installed; there are: "),
            ({}, 0, "rule 'any' selects the series, but no destination is configured: add one under destinations"),
        ],
    )
    def test_a_rule_that_cannot_be_followed(
        self, node: Node, config: Config, queue: FakeQueue, fields, destinations, said
    ):
        node.rule(**fields)
        node.series()
        fewer = config.model_copy(update={"destinations": config.destinations[:destinations]})
        assert select.sweep(fewer, node.database, queue) == 1
        series = node.one()
        assert (series.state, series.error_kind) == (State.WAITING, "operator")
        assert said in series.reason
        assert "`harmonode series retry 1.2.3`" in series.reason
        assert series.explanation["chosen"] == "any"
        assert (node.all(Job), queue.jobs) == ([], [])
        assert (node.said().event, node.said().message) == ("failure", series.reason)
        assert [instance.round for instance in node.all(Instance)] == [None, None, None]

    def test_a_stored_rule_that_became_unsound(self, node: Node, config: Config, queue: FakeQueue):
        node.rule("old")
        with node.database.write() as session:
            row = load.find(session, "old")
            row.document = {**row.document, "match": {"tag": "Gone", "equals": "CT"}}
        node.series()
        node.series(replace(FACTS, series_instance_uid="1.2.4", never=("a localizer",)))
        select.sweep(config, node.database, queue)
        waits, passed = node.all(Series)
        assert (waits.state, passed.state) == (State.WAITING, State.PASSED)
        assert "no series can be selected while rule 'old' cannot be loaded: match (tag Gone)" in waits.reason

    def test_mended_it_goes_on(self, node: Node, config: Config, queue: FakeQueue):
        node.rule(destinations=["pcas"])
        series_id = node.series()
        select.sweep(config, node.database, queue)
        node.rule(destinations=["pacs"])
        with node.database.write() as session:
            series = session.get_one(Series, series_id)
            audit.move(session, series, State.COMPLETE, audit.Event.RETRY, "a person asked")
        select.sweep(config, node.database, queue)
        assert (node.one().state, node.one().error_kind) == (State.QUEUED, None)
        assert node.all(Job)[0].rule_version == 2
