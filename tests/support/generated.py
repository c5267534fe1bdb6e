"""A database as years of traffic leave it, made by bulk inserts: for the plans of queries and for `make bench-scale`.

Three series in ten are harmonized and delivered, the others passed; a few wait, fail or are refused. Files of all but the
newest twentieth have left the disk. Facts and explanations are those of the shipped rules, so rows are of a true size.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import sqlalchemy as sa

from node import audit
from node.rules import load
from node.rules.match import InForce, decide
from node.series import SeriesFacts, TagValues
from node.store.session import Database
from node.store.tables import AuditHead, AuditRecord, Delivery, Job, Series

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
SLICES = 200
SELECTED = 3  # of ten
SENDERS = ("CT1", "CT2", "CT3", "PACS")
_MANY = 2000  # rows a statement
_FACTS = SeriesFacts(
    "", "", "CT1", "HARMONODE", SLICES, "axial", 0.0, 1.25, True, 250.0,
    {
        **{f"{word}{n}": TagValues((f"value {n}",)) for word in ("Text", "Code") for n in range(25)},
        "Modality": TagValues(("CT",)),
        "ImageType": TagValues((("ORIGINAL", "PRIMARY", "AXIAL"),)),
        "SliceThickness": TagValues((1.25,)),
        "BodyPartExamined": TagValues(("CHEST",)),
        "ProtocolName": TagValues(("5.1 CHEST routine",)),
        "StationName": TagValues(("CT99",)),
    },
)  # fmt: skip


def fill(database: Database, series: int, slices: int = SLICES) -> None:
    """So many series with so many instances each, over the two years before `NOW`, and the trail of them."""
    if database.engine.dialect.name == "sqlite":  # it need not survive a power cut, and is larger than a cache
        database.close()
        sa.event.listen(database.engine, "connect", _in_haste)
    with database.write() as session:
        load.seed(session)
        rules = load.in_force(session)
    rows = _Rows(series, slices, rules)
    for table, source in (
        (Series, rows.series()),
        (Job, rows.jobs()),
        (Delivery, rows.deliveries()),
        (AuditRecord, rows.records(database)),
    ):
        # JSON comes as text: most of it is the same in all rows, and writing it again and again takes the time.
        columns = table.__table__.columns
        written = sa.Text() if database.engine.dialect.name == "sqlite" else _WrittenJson()
        insert = sa.insert(sa.table(table.__tablename__, *(_plain(column, written) for column in columns)))
        usual = {column.name: column.default.arg for column in columns if column.default is not None}
        while batch := [{**usual, **row} for row in islice(source, _MANY)]:
            with database.write() as session:
                session.execute(insert, batch)
    with database.write() as session:
        session.execute(sa.update(AuditHead).values(seq=rows.seq, hash=rows.hash))
    _instances(database, series, slices)
    if database.engine.dialect.name == "sqlite":
        sa.event.remove(database.engine, "connect", _in_haste)
        database.close()


def _in_haste(connection: Any, _record: Any) -> None:
    for pragma in ("journal_mode=DELETE", "synchronous=OFF", "journal_mode=OFF", "cache_size=-2000000"):
        connection.execute(f"PRAGMA {pragma}")


class _WrittenJson(sa.TypeDecorator[str]):
    """JSON that is text already, for Postgres, which wants to be told."""

    impl = sa.Text
    cache_ok = True

    def bind_expression(self, bindvalue: sa.BindParameter[str]) -> sa.ColumnElement[Any]:
        return bindvalue.op("::")(sa.literal_column("json"))


def _plain(column: sa.Column[Any], written: sa.types.TypeEngine[Any]) -> sa.ColumnClause[Any]:
    return sa.column(column.name, written if isinstance(column.type, sa.JSON) else column.type)


def _json(data: Any) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class _Rows:
    """The rows of the smaller tables, one series after the other."""

    def __init__(self, series: int, slices: int, rules: list[InForce]) -> None:
        self.count, self.slices, self.seq, self.hash = series, slices, 0, audit.GENESIS
        thick = replace(_FACTS, tags={**_FACTS.tags, "SliceThickness": TagValues((8.0,))})
        self.known = {
            chosen: (_json(facts.to_json()), _json((said := decide(rules, facts)).to_json()), said.reason)
            for chosen, facts in ((True, _FACTS), (False, thick))
        }

    def at(self, index: int) -> datetime:
        return NOW - timedelta(days=730) * ((self.count - index) / self.count)

    def series(self) -> Iterator[dict[str, Any]]:
        for index in range(self.count):
            selected, there, at = _selected(index), index > self.count * 0.95, self.at(index)
            facts, explanation, reason = self.known[selected]
            newest = index >= self.count - 40
            state = "done" if selected else ("refused", "failed", "waiting")[index % 3] if index % 50 == 7 else "passed"
            yield {
                "id": index + 1, "study_instance_uid": f"{_uid(index // 3)}.1", "series_instance_uid": _uid(index),
                "state": ("receiving", "complete", "queued", "sending")[index % 4] if newest else state,
                "state_since": at + timedelta(minutes=5), "first_arrival_at": at,
                "last_arrival_at": at + timedelta(minutes=1), "instance_count": self.slices, "expected_count": None,
                "calling_ae_title": SENDERS[index % len(SENDERS)], "called_ae_title": "HARMONODE", "address": "10.0.0.7",
                "facts": facts, "explanation": explanation, "rule_name": "lung" if selected else None,
                "reason": reason, "error_kind": None, "removed_at": None if there else at,
            }  # fmt: skip

    def jobs(self) -> Iterator[dict[str, Any]]:
        curve = [round(index / 97, 6) for index in range(64)]
        measurement = _json({"mtf": curve, "nps": curve})
        report = _json({"before": curve, "after": curve, "target": curve})
        for index in filter(_selected, range(self.count)):
            at = self.at(index)
            yield {
                "id": f"{index:032x}", "series_id": index + 1, "round": 1, "rule_name": "lung", "rule_version": 1,
                "plugin": "ct_harmonizer", "parameters": "{}", "destinations": '["pacs"]', "priority": 0, "attempt": 0,
                "tries": 0, "takeovers": 0, "executor_id": "worker-0", "progress_done": self.slices,
                "progress_total": self.slices, "late": "harmonize", "measurement": measurement,
                "report": report, "method": '{"name": "x"}',
                "derived_series_uid": f"{_uid(index)}.9", "created_at": at, "started_at": at,
                "finished_at": at + timedelta(minutes=4) if index < self.count - 40 else None,
            }  # fmt: skip

    def deliveries(self) -> Iterator[dict[str, Any]]:
        for index in filter(_selected, range(self.count)):
            at, done = self.at(index), index < self.count - 40
            yield {
                "job_id": f"{index:032x}", "destination": "pacs", "sent_at": at, "sent_count": self.slices, "sends": 1, "reports": 0,
                "confirmed_at": at if done else None, "confirmed_count": self.slices if done else None,
            }  # fmt: skip

    def records(self, database: Database) -> Iterator[dict[str, Any]]:
        """A sound chain after what is there: each series in three batches, then what became of it."""
        with database.read() as session:
            head = session.get_one(AuditHead, 1)
            self.seq, self.hash = head.seq, head.hash
        for index in range(self.count):
            uid, at = _uid(index), self.at(index)
            for part in range(3):
                members = range(part * self.slices // 3, (part + 1) * self.slices // 3)
                told = ",".join(f'{{"sha256":"{n:064x}","sop_instance_uid":"{uid}.{n}"}}' for n in members)
                said = f"{len(members)} instances arrived from {SENDERS[index % 4]} at 10.0.0.7"
                yield self._record(index, at, "arrival", said, f'{{"instances":[{told}]}}')
            yield self._record(index, at, "complete", f"complete with {self.slices} instances: quiet for 30 s", "{}")
            selected = _selected(index)
            _facts, explanation, reason = self.known[selected]
            yield self._record(index, at, "decision", reason, f'{{"explanation":{explanation}}}')
            for event in (
                "measurement",
                "harmonization",
                "check",
                "derivation",
                "transmission",
                "confirmation",
            ) * selected:
                yield self._record(index, at, event, f"{event} of the series {uid}.9 by worker-0", '{"round":1}')

    def _record(self, index: int, at: datetime, event: str, message: str, detail: str) -> dict[str, Any]:
        """One row of the chain; `detail` is canonical JSON, so it is hashed as it stands (audit.chain_hash)."""
        self.seq += 1
        study, series = f"{_uid(index // 3)}.1", _uid(index)
        head = f'{{"actor":"node","at":"{at.isoformat(timespec="microseconds")}","detail":{detail},"event":"{event}"'
        tail = f'"message":{_json(message)},"seq":{self.seq},"series":"{series}","study":"{study}"}}'
        previous = self.hash
        self.hash = hashlib.sha256(f"{previous}\n{head},{tail}".encode()).hexdigest()
        return {
            "seq": self.seq, "at": at, "event": event, "actor": "node", "study_instance_uid": study,
            "series_instance_uid": series, "message": message, "detail": detail, "previous_hash": previous,
            "hash": self.hash,
        }  # fmt: skip


def _selected(index: int) -> bool:
    return index % 10 < SELECTED


def _uid(index: int) -> str:
    return f"1.3.6.1.4.1.14519.5.2.1.{index % 977}.{10**16 + index * 7919}"


def _instances(database: Database, series: int, slices: int) -> None:
    """The rows of instances, by the database itself: they are most of it."""
    there = "CASE WHEN s.removed_at IS NULL THEN NULL ELSE s.last_arrival_at END"
    if database.engine.dialect.name == "sqlite":
        numbers, key = (
            f"(WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {slices - 1}) SELECT i FROM n)",
            "printf('%032x', s.id * 1000 + n.i)",
        )
        sha = "printf('%064x', s.id * 7919 + n.i)"
    else:
        numbers, key = f"(SELECT generate_series(0, {slices - 1}) AS i)", "md5((s.id * 1000 + n.i)::text)"
        sha = f"{key} || {key}"
    columns = "series_id, sop_instance_uid, sop_class_uid, transfer_syntax_uid, path, size_bytes, sha256, received_at, calling_ae_title, round, removed_at"
    for first in range(1, series + 1, 5000):
        some = f"s.id BETWEEN {first} AND {first + 4999}"
        with database.write() as session:
            session.execute(
                sa.text(
                    f"INSERT INTO instance ({columns}) SELECT s.id, s.series_instance_uid || '.' || n.i, "
                    "'1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.1', 'ab/' || "
                    f"{key} || '/' || {key} || '.dcm', 526458, {sha}, s.last_arrival_at, s.calling_ae_title, 1, {there} "
                    f"FROM series s CROSS JOIN {numbers} n WHERE {some}"
                )
            )
            session.execute(
                sa.text(
                    "INSERT INTO derived_instance (job_id, source_instance_id, sop_instance_uid, path, sha256) "
                    "SELECT j.id, i.id, '2.25.' || i.sop_instance_uid, j.id || '/' || i.id || '.dcm', i.sha256 "
                    f"FROM series s JOIN job j ON j.series_id = s.id JOIN instance i ON i.series_id = s.id WHERE {some}"
                )
            )
