"""No question that the node asks while it works reads a whole table of instances or audit records, however large.

Each is asked for real on a small database; SQLite then says how it answers the statements, which without statistics does
not hang on how many rows there are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from generated import NOW, fill

from node import audit, complete, retention, select
from node.atna import Shipper, standing
from node.cli.series import find
from node.config import Audit, AuditServer, Config, CountSource
from node.journey import State
from node.notify.watch import problems
from node.overview import overview
from node.receive.index import index, reconcile
from node.rules.replay import past_series
from node.series import Arrival, Sender
from node.store import pages
from node.store.session import Database, upgrade
from node.store.spool import Spool
from node.store.tables import AuditCursor, AuditRecord, Job, Series
from node.workflow import derived

LARGE = ("instance", "derived_instance", "audit_record")
# Tables of a row a series: a list of some of them must not read all either, but a count may walk an index.
MIDDLE = ("series", "job", "delivery")
SENDER = Sender("CT1", "HARMONODE", "10.0.0.7")


class Listening:
    """Writes down every statement, and lets SQLite say how it answers it."""

    def __init__(self, database: Database) -> None:
        self.database, self.said = database, {}
        sa.event.listen(database.engine, "before_cursor_execute", self._note)

    def _note(self, _connection, _cursor, statement: str, parameters: Any, _context, many: bool) -> None:
        if re.match(r"(SELECT|UPDATE|DELETE|INSERT .*SELECT|WITH)", statement, re.DOTALL):
            self.said.setdefault(statement, parameters[0] if many else parameters)

    def plans(self) -> Iterator[tuple[str, str]]:
        """Each statement with each line of its plan."""
        sa.event.remove(self.database.engine, "before_cursor_execute", self._note)
        with self.database.engine.connect() as connection:
            for statement, parameters in self.said.items():
                for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters):
                    yield statement, row[3]

    def scans(self) -> list[str]:
        """What reads a whole table."""
        whole = re.compile(
            rf"SCAN ({'|'.join(LARGE)})(?! USING COVERING INDEX ix_instance_there)\b|SCAN ({'|'.join(MIDDLE)})$"
        )
        return [f"{plan}: {statement}" for statement, plan in self.plans() if whole.match(plan)]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path_factory.mktemp('plans') / 'harmonode.sqlite3'}"
    upgrade(url)
    opened = Database(url)
    fill(opened, 60, slices=4)
    yield opened
    opened.close()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    destinations = [{"kind": "folder", "name": "pacs", "path": str(tmp_path / "pacs")}]
    source = CountSource(calling_ae_title="CT1", ae_title="PACS", host="127.0.0.1", port=104)
    return Config(
        data_dir=tmp_path, destinations=destinations, complete={"count_sources": [source]},
        retention={"delivered_days": 30, "passed_days": 30},
    )  # fmt: skip


def read(question: Callable[[Any], Any]) -> Callable[[Database, Config], Any]:
    def ask(database: Database, _config: Config) -> Any:
        with database.read() as session:
            return question(session)

    return ask


def receive(database: Database, _config: Config) -> None:
    with database.write() as session:
        series = session.get_one(Series, 60)
        new = [
            Arrival(series.study_instance_uid, uid, f"{uid}.1", "1.2", "1.2", f"x/{uid}.dcm", 1, "0" * 64, NOW, SENDER)
            for uid in (series.series_instance_uid, "1.2.3")
        ]
        index(session, new)


def deliver(database: Database, _config: Config) -> None:
    with database.read() as session:
        job = session.get_one(Job, f"{0:032x}")
        job.method = {"name": "x", "version": "1", "description": "", "fingerprint": "00"}
        series = session.get_one(Series, job.series_id)
        derived.made(session, job, series)
        derived.lacking(session, job, series)
        session.rollback()


def audit_server(database: Database, config: Config) -> None:
    server = AuditServer(name="arr", host="127.0.0.1", port=9, transport="udp")
    with database.write() as session:
        session.merge(AuditCursor(server="arr", seq=40))
    Shipper(config, database, server).turn()
    with database.read() as session:
        standing(session, config.model_copy(update={"audit": Audit(servers=(server,))}))


class NoQueue:
    def enqueue(self, session: Any, job: Job) -> None:
        pass


AUDIT = [
    {},
    {"before": "40"},
    {"event": "arrival"},
    {"series_instance_uid": "1.2"},
    {"since": NOW - timedelta(days=90), "until": NOW},
    {"event": "arrival", "since": NOW - timedelta(days=90)},
    {"text": "arrived from"},
    {"text": "arrived", "event": "arrival", "until": NOW, "before": "70"},
]
SERIES = [
    {},
    {"before": f"{NOW.isoformat()}|50"},
    {"states": [State.DONE]},
    {"states": [State.DONE, State.PASSED], "before": f"{NOW.isoformat()}|50"},
    {"rule": "lung"},
    {"calling_ae_title": "CT1", "states": [State.DONE]},
    {"rule": "lung", "calling_ae_title": "CT1", "states": [State.FAILED]},
    {"uid": "1.3.6"},
    {"since": NOW - timedelta(days=90)},
]
QUESTIONS: dict[str, Callable[[Database, Config], Any]] = {
    **{f"audit page {asked}": read(lambda s, asked=asked: pages.audit_page(s, **asked)) for asked in AUDIT},
    **{f"series page {asked}": read(lambda s, asked=asked: pages.series_page(s, **asked)) for asked in SERIES},
    "states": read(pages.states),
    "a series by the end of its UID": read(lambda s: find(s, "10000000000467221")),
    "replay": read(lambda s: list(past_series(s, NOW - timedelta(days=30)))),
    "receive": receive,
    "complete": lambda database, config: complete.sweep(config, database, config.spool_dir, NOW),
    "select": lambda database, config: select.sweep(config, database, NoQueue()),
    "deliver": deliver,
    "retention": lambda database, config: retention.due(config, database, NOW),
    "overview": lambda database, config: read(lambda s: overview(s, config, now=NOW))(database, config),
    "notify": lambda database, config: read(lambda s: problems(s, config, NOW, NOW))(database, config),
    "audit server": audit_server,
    "start": lambda database, config: reconcile(database, Spool(config.spool_dir, 0)),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_question_reads_a_whole_table(filled: Database, config: Config, question: str):
    listening = Listening(filled)
    QUESTIONS[question](filled, config)
    assert listening.said, "something was asked"
    assert listening.scans() == []


@pytest.mark.parametrize("states", [[], [State.FAILED]], ids=str)
def test_a_list_reads_no_row_that_it_does_not_show(filled: Database, states: list[State]):
    """Whatever is asked for together is decided by an index; a row of a series is large, and lies anywhere."""
    asked = Series.rule_name == "lung", Series.calling_ae_title == "CT1"
    listening = Listening(filled)
    with filled.read() as session:
        session.execute(pages.newest(states, Series.last_arrival_at, 51, *asked).with_only_columns(Series.id)).all()
    (plan,) = [plan for _, plan in listening.plans()]
    assert plan.startswith("SEARCH series USING COVERING INDEX")


def test_a_question_that_does_is_found(filled: Database):
    listening = Listening(filled)
    with filled.read() as session:
        session.scalars(sa.select(AuditRecord.seq).where(AuditRecord.actor == "node")).all()
        session.scalars(sa.select(Series).where(Series.address == "10.0.0.7")).all()
    assert len(listening.scans()) == 2


def test_the_generated_trail_is_sound(filled: Database):
    with filled.read() as session:
        count, flaws = audit.verify(session)
    assert count > 60 * 5
    assert flaws == []
