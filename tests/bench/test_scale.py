"""How long the node's questions take with years of traffic in the database: `make bench-scale`.

100,000 series of 200 instances, 20 million rows, some 17 GB in a temporary folder. HARMONODE_SCALE_SERIES takes another
number; HARMONODE_SCALE_DATABASE a database that was filled before, which is kept.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from generated import NOW, SLICES, fill

from node import audit, complete, retention, select
from node.config import Config
from node.journey import State
from node.overview import overview
from node.receive.index import index
from node.rules import load
from node.rules.replay import on_trial, past_series, replay
from node.series import Arrival, Sender
from node.store import pages
from node.store.session import Database, upgrade
from node.store.tables import Series

MOST_MS = 200.0
SERIES = int(os.environ.get("HARMONODE_SCALE_SERIES", "100000"))
FILLED = os.environ.get("HARMONODE_SCALE_DATABASE", "")
TIMES = 5

pytestmark = [
    pytest.mark.skipif(not os.environ.get("HARMONODE_SCALE"), reason="takes some GB and minutes: `make bench-scale`"),
    pytest.mark.timeout(0),
]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    url = FILLED or f"sqlite:///{tmp_path_factory.mktemp('scale') / 'harmonode.sqlite3'}"
    upgrade(url)
    opened = Database(url)
    with opened.read() as session:
        filled = session.scalar(sa.select(sa.func.max(Series.id))) or 0
    if not filled:
        began = time.monotonic()
        fill(opened, SERIES)
        print(f"\nfilled in {time.monotonic() - began:.0f} s")
    yield opened
    opened.close()


@pytest.fixture
def config(tmp_path) -> Config:
    return Config(
        data_dir=tmp_path, destinations=[{"kind": "folder", "name": "pacs", "path": str(tmp_path / "pacs")}],
        retention={"delivered_days": 30, "passed_days": 30},
    )  # fmt: skip


def read(question: Callable[[Any], Any]) -> Callable[[Database, Config], Any]:
    def ask(database: Database, _config: Config) -> Any:
        with database.read() as session:
            return question(session)

    return ask


def arrive(database: Database, _config: Config) -> None:
    """A batch of 100 instances, half of them known, is looked up and written; rolled back, to be measured again."""
    sender = Sender("CT1", "HARMONODE", "10.0.0.7")
    with database.read() as session:
        series = session.get_one(Series, 100)
    uids = [f"{series.series_instance_uid}.{n}" for n in range(SLICES - 50, SLICES + 50)]
    batch = [
        Arrival(series.study_instance_uid, series.series_instance_uid, uid, "1.2", "1.2", uid, 1, "0" * 64, NOW, sender)
        for uid in uids
    ]
    with pytest.raises(ZeroDivisionError), database.write() as session:
        index(session, batch)
        raise ZeroDivisionError


class NoQueue:
    def enqueue(self, session: Any, job: Any) -> None:
        pass


YEAR = NOW - timedelta(days=365)
QUESTIONS: dict[str, Callable[[Database, Config], Any]] = {
    "series, the newest": read(pages.series_page),
    "series, a page in the middle": read(lambda s: pages.series_page(s, before=f"{YEAR.isoformat()}|1")),
    "series done": read(lambda s: pages.series_page(s, states=[State.DONE])),
    "series in trouble": read(lambda s: pages.series_page(s, states=[State.WAITING, State.FAILED, State.REFUSED])),
    "series done, passed or cancelled": read(
        lambda s: pages.series_page(s, states=[State.DONE, State.PASSED, State.CANCELLED])
    ),
    "series by rule and sender": read(lambda s: pages.series_page(s, rule="lung", calling_ae_title="CT4")),
    "series by rule, sender and state": read(
        lambda s: pages.series_page(s, rule="lung", calling_ae_title="CT1", states=[State.FAILED])
    ),
    "series by a part of a UID": read(lambda s: pages.series_page(s, uid="79190001")),
    "series since a year": read(lambda s: pages.series_page(s, since=YEAR, states=[State.DONE])),
    "states counted": read(pages.states),
    "audit, the newest": read(pages.audit_page),
    "audit, a page in the middle": read(lambda s: pages.audit_page(s, before="300000")),
    "audit by series": read(lambda s: pages.audit_page(s, series_instance_uid=s.get_one(Series, 500).series_instance_uid)),
    "audit by event": read(lambda s: pages.audit_page(s, event="confirmation")),
    "audit by event and time": read(lambda s: pages.audit_page(s, event="check", since=YEAR, until=YEAR + timedelta(9))),
    "audit by time": read(lambda s: pages.audit_page(s, since=YEAR, until=YEAR + timedelta(days=1))),
    "audit by a common word": read(lambda s: pages.audit_page(s, text="arrived from")),
    "audit by a UID": read(lambda s: pages.audit_page(s, text=s.get_one(Series, 501).series_instance_uid)),
    "audit by words, event and time": read(
        lambda s: pages.audit_page(s, text="derivation", event="derivation", until=YEAR)
    ),
    "audit by words that are nowhere": read(lambda s: pages.audit_page(s, text="nowhere at all")),
    "the overview": lambda database, config: read(lambda s: overview(s, config, now=NOW))(database, config),
    "rules in force": read(load.in_force),
    "100 instances arrive": arrive,
    "complete sweep, nothing due": lambda database, config: complete.sweep(
        config, database, config.spool_dir, NOW - timedelta(days=1)
    ),
    "select sweep": lambda database, config: select.sweep(config, database, NoQueue()),
    "retention, nothing due": lambda database, config: retention.due(config, database, NOW - timedelta(days=80)),
}  # fmt: skip


def test_no_question_takes_long(database: Database, config: Config):
    print(f"\n{'question':<40}{'median ms':>10}{'first ms':>10}{'CPU ms':>8}")
    slow = {}
    for question, ask in QUESTIONS.items():
        took, worked = [], []
        for _ in range(TIMES):
            began, cpu = time.perf_counter(), time.process_time()
            ask(database, config)
            took.append(1000 * (time.perf_counter() - began))
            worked.append(1000 * (time.process_time() - cpu))
        print(f"{question:<40}{statistics.median(took):>10.1f}{took[0]:>10.1f}{statistics.median(worked):>8.1f}")
        if statistics.median(took) > MOST_MS:
            slow[question] = round(statistics.median(took))
    assert slow == {}


def test_a_replay_over_thirty_days(database: Database):
    began = time.perf_counter()
    with database.read() as session:
        rule = load.loaded(load.find(session, "lung")).rule
        found = replay(past_series(session, NOW - timedelta(days=30)), on_trial([], [rule]), ["lung"])
    took = time.perf_counter() - began
    print(
        f"\nreplay of {found.looked_at} series in {took:.1f} s, {1000 * took / max(found.looked_at, 1):.2f} ms a series"
    )
    assert found.looked_at > 0


def test_the_whole_trail_is_verified_in_bounded_memory(database: Database):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    with database.read() as session:
        count, flaws = audit.verify(session)
    took = time.perf_counter() - began
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"\nverified {count} records in {took:.0f} s, {count / took:.0f} records/s, {grown_mb:.0f} MB more memory")
    assert flaws == []
    assert grown_mb < 200


def test_how_large_it_is(database: Database):
    if database.engine.dialect.name != "sqlite":
        pytest.skip("sizes are told by SQLite's dbstat")
    with database.engine.connect() as connection:
        sizes = dict(connection.exec_driver_sql("SELECT name, sum(pgsize) FROM dbstat GROUP BY name").all())
        tables = dict(connection.exec_driver_sql("SELECT name, tbl_name FROM sqlite_master WHERE type = 'index'").all())
        rows = {
            name: connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one()
            for name in ("series", "instance", "derived_instance", "job", "audit_record")
        }
    print(f"\n{'table or index':<50}{'MB':>9}{'bytes a row':>13}")
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        count = rows.get(tables.get(name, name)) or (rows["audit_record"] if name.startswith("audit_text") else 0)
        if size > 1 << 20:
            print(f"{name:<50}{size / 1e6:>9.1f}{size / count if count else 0:>13.1f}")
    print(json.dumps({"rows": rows, "total_MB": round(sum(sizes.values()) / 1e6), "at": datetime.now(UTC).isoformat()}))
    assert sum(sizes.values()) > 0
