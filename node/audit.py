"""The audit trail: append-only, hash-chained records, and the moves of a series that they witness."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from node.errors import ErrorKind, PermanentError
from node.journey import TROUBLE, State, may_move
from node.store.session import after_commit
from node.store.tables import AuditHead, AuditRecord, Series

_AT_A_TIME = 1000
GENESIS = "0" * 64

_log = structlog.get_logger(__name__)


class Event(StrEnum):
    """What an audit record is about."""

    START = "start"  # the node or a worker started
    STOP = "stop"
    CONFIGURATION = "configuration"  # a rule or the configuration changed
    ARRIVAL = "arrival"  # instances became durable and were indexed
    PULL = "pull"  # a series was fetched from an archive
    CONFLICT = "conflict"  # an instance came again with other bytes
    QUARANTINE = "quarantine"  # bytes were kept aside
    REFUSAL = "refusal"  # an association or an object was refused
    COMPLETE = "complete"
    DECISION = "decision"  # what the rules said
    MEASUREMENT = "measurement"
    HARMONIZATION = "harmonization"
    CHECK = "check"  # the guard's verdict
    DERIVATION = "derivation"
    TRANSMISSION = "transmission"
    CONFIRMATION = "confirmation"
    COMMITMENT = "commitment"  # storage commitment was asked for or reported on
    RETRY = "retry"
    FAILURE = "failure"
    CANCELLATION = "cancellation"
    AUTHENTICATION = "authentication"  # a person or a program came in, was turned away, or left
    ALERT = "alert"  # of security: a token made or revoked, guessing that was stopped
    RETENTION = "retention"  # files left the disk
    DISK = "disk"  # the free space came to another level
    ACCESS = "access"  # instances were read by a person or a program
    CLOCK = "clock"  # the machine's wall clock was set
    REPOSITORY = "repository"  # an audit server went, or is back


def record(
    session: Session,
    event: Event,
    message: str,
    *,
    actor: str = "node",
    series: Series | None = None,
    detail: Mapping[str, Any] | None = None,
) -> AuditRecord:
    """Append one record within the caller's write transaction (`Database.write`)."""
    head = session.get(AuditHead, 1)
    if head is None:
        head = AuditHead(id=1, seq=0, hash=GENESIS)
        session.add(head)
    else:
        session.refresh(head)
    row = AuditRecord(
        seq=head.seq + 1,
        at=datetime.now(UTC),
        event=str(event),
        actor=actor,
        study_instance_uid=series.study_instance_uid if series else None,
        series_instance_uid=series.series_instance_uid if series else None,
        message=message,
        detail=dict(detail or {}),
        previous_hash=head.hash,
    )
    row.hash = chain_hash(row)
    head.seq, head.hash = row.seq, row.hash
    session.add(row)
    session.flush()
    return row


def move(
    session: Session,
    series: Series,
    state: State,
    event: Event,
    reason: str,
    *,
    actor: str = "node",
    kind: ErrorKind | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Move a series to another state and say why, in one transaction.

    Raises:
        PermanentError: the journey has no such transition.
    """
    here = State(series.state)
    if not may_move(here, state):
        raise PermanentError(f"series {series.series_instance_uid} is {here} and cannot become {state}: {reason}")
    series.state, series.state_since = str(state), datetime.now(UTC)
    series.reason, series.error_kind = reason, str(kind) if kind else None
    record(
        session,
        event,
        reason,
        actor=actor,
        series=series,
        detail={"from": str(here), "to": str(state), **(detail or {})},
    )
    told = {"series": series.series_instance_uid, "was": str(here), "now": str(state), "reason": reason}
    tell = _log.warning if state in TROUBLE else _log.info
    after_commit(session, lambda: tell("series moved", **told))


def chain_hash(row: AuditRecord | sa.Row[Any]) -> str:
    """SHA-256 over the previous hash and every field, as canonical JSON."""
    fields = {
        "seq": row.seq,
        "at": row.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "event": row.event,
        "actor": row.actor,
        "study": row.study_instance_uid,
        "series": row.series_instance_uid,
        "message": row.message,
        "detail": row.detail,
    }
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(f"{row.previous_hash}\n{text}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Flaw:
    """A place where the chain does not hold."""

    seq: int
    what: str


def verify(session: Session, progress: Callable[[int, int], object] | None = None) -> tuple[int, list[Flaw]]:
    """Walk the whole chain; returns how many records were read, and every flaw: changed, missing or reordered.

    It holds a thousand records at a time, and names a thousand flaws at most, for where one is replaced all after it
    are. `progress` gets how many records are read, of how many, every now and then.
    """
    flaws = _Flaws()
    head = session.get(AuditHead, 1)
    last, last_hash = (head.seq, head.hash) if head else (0, GENESIS)
    expected, previous, count = 1, GENESIS, 0
    for row in _all(session):
        if progress and count % _AT_A_TIME == 0:
            progress(count, last)
        count += 1
        if row.seq != expected:
            missing = f"record {expected}" if row.seq == expected + 1 else f"records {expected} to {row.seq - 1}"
            flaws.add(expected, f"{missing} missing before record {row.seq}")
        elif row.previous_hash != previous:
            flaws.add(row.seq, f"record {row.seq} does not follow record {row.seq - 1}: reordered or replaced")
        if row.hash != chain_hash(row):
            flaws.add(row.seq, f"record {row.seq} was changed after it was written")
        expected, previous = row.seq + 1, row.hash
    if expected - 1 < last:
        flaws.add(expected, f"records {expected} to {last} are missing at the end")
    elif (expected - 1, previous) != (last, last_hash):
        flaws.add(expected - 1, f"the last record {expected - 1} is not the one written last ({last})")
    return count, flaws.told()


class _Flaws:
    """The first thousand flaws, and how many there are."""

    def __init__(self) -> None:
        self._first: list[Flaw] = []
        self._more, self._last = 0, 0

    def add(self, seq: int, what: str) -> None:
        if len(self._first) < _AT_A_TIME:
            self._first.append(Flaw(seq, what))
        else:
            self._more, self._last = self._more + 1, seq

    def told(self) -> list[Flaw]:
        return (
            [*self._first, Flaw(self._last, f"and {self._more} more flaws up to here")] if self._more else self._first
        )


def _all(session: Session) -> Iterator[sa.Row[Any]]:
    query = sa.select(*AuditRecord.__table__.columns).order_by(AuditRecord.seq)
    yield from session.execute(query.execution_options(yield_per=_AT_A_TIME))
