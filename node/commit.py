"""Storage commitment at the node's own port, PS3.4 annex J.

As provider the node is asked what it holds (N-ACTION) and reports by N-EVENT-REPORT, so that a sender may delete: on the
same association where the sender keeps it open, else on one of its own. It commits to what lies durably in the spool. As
user it takes the reports of destinations, which come minutes later, and twice. Both are rows of the database: a kill
between two steps loses neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from node import audit
from node.audit import Event
from node.config import CommitmentPeer, Config
from node.dicom import scu
from node.dicom.commitment import (
    CLASS_CONFLICT,
    NO_SUCH_INSTANCE,
    PROCESSING_FAILURE,
    PUSH_MODEL,
    Report,
    decode_report,
    decode_request,
    told,
)
from node.errors import HarmonodeError, InvalidObject, OperatorError
from node.store.session import Database
from node.store.tables import Commitment, CommitmentRequest, Instance, Job, Series
from node.tls import client_context

_log = structlog.get_logger(__name__)

_SUCCESS, _NOT_AUTHORISED, _NO_SUCH_TRANSACTION = 0x0000, 0x0124, 0x0112
_FIRST_REPORT = timedelta(seconds=1)  # by then the index knows what was stored just before
_SAME_ASSOCIATION = timedelta(seconds=8)  # for so long after a request its association may have the report
_ITS_ANSWER = timedelta(seconds=30)  # and for so long the peer's answer to it is awaited, at the most
_FIRST_DELAY, _LONGEST_DELAY = timedelta(seconds=5), timedelta(minutes=10)
_MOST_TRIES = 300  # two days of them
_AT_ONCE = 20  # requests a sweep looks at
_ASKED_AT_ONCE = 500  # UIDs in one question to the database

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Verdict:
    """A response."""

    status: int
    comment: str = ""  # Error Comment (0000,0902)
    claim: Claim | None = None  # for the association of the request to report by


class Commitments:
    """What the port is asked and told of storage commitment, and the sweep that reports."""

    def __init__(self, config: Config, database: Database) -> None:
        self._config, self.database = config, database

    def ask(self, calling_ae_title: str, data_set: bytes, *, implicit: bool) -> Verdict:
        """N-ACTION: keep the request; its association answers it, or the sweep. The same again is answered again."""
        try:
            request = decode_request(data_set, implicit=implicit)
            self._peer(calling_ae_title)
        except InvalidObject as error:
            return Verdict(PROCESSING_FAILURE, error.reason)
        except OperatorError as error:
            _log.warning(
                "a request for storage commitment is refused", calling_ae_title=calling_ae_title, why=str(error)
            )
            return Verdict(_NOT_AUTHORISED, str(error))
        now = datetime.now(UTC)
        asked = sa.select(CommitmentRequest).where(
            CommitmentRequest.transaction_uid == request.transaction_uid,
            CommitmentRequest.calling_ae_title == calling_ae_title,
        )
        with self.database.write() as session:
            row = session.scalar(asked) or CommitmentRequest(
                transaction_uid=request.transaction_uid, calling_ae_title=calling_ae_title, asked_at=now
            )
            row.instances, row.tries, row.due_at = dict(request.instances), 0, now + _SAME_ASSOCIATION
            session.add(row)
            session.flush()
            said = f"{calling_ae_title} asks the node to commit itself to {len(request.instances)} instances"
            audit.record(session, Event.COMMITMENT, said, detail={"transaction_uid": request.transaction_uid})
        return Verdict(_SUCCESS, claim=Claim(self, row.id, now, now + _SAME_ASSOCIATION))

    def take_report(self, calling_ae_title: str, data_set: bytes, *, implicit: bool) -> Verdict:
        """N-EVENT-REPORT: what became of a request of ours. A report that comes again changes nothing."""
        try:
            report = decode_report(data_set, implicit=implicit)
        except InvalidObject as error:
            return Verdict(PROCESSING_FAILURE, error.reason)
        with self.database.write() as session:
            row = session.get(Commitment, report.transaction_uid)
            if row is None:
                _log.warning("a report on an unknown transaction", calling_ae_title=calling_ae_title)
                return Verdict(_NO_SUCH_TRANSACTION, "no such transaction")
            if row.reported_at is None:
                note_report(session, row, report, actor=calling_ae_title)
        return Verdict(_SUCCESS)

    def sweep(self, now: datetime | None = None) -> int:
        """Report on every request that is due; returns on how many. One that cannot be told is tried again later."""
        now = now or datetime.now(UTC)
        # None is put off for so long: the clock was set back since.
        never = CommitmentRequest.due_at > now + 2 * _LONGEST_DELAY
        due = sa.select(CommitmentRequest).where(sa.or_(CommitmentRequest.due_at <= now, never))
        due = due.order_by(CommitmentRequest.due_at)
        with self.database.read() as session:
            rows = session.scalars(due.limit(_AT_ONCE)).all()
            reports = [(row, self.judge(session, row)) for row in rows]
        return sum(self._report(row, report, now) for row, report in reports)

    def judge(self, session: Session, row: CommitmentRequest) -> Report:
        """What the node holds of what was asked for: a row of the index, and its file in the spool."""
        held: dict[str, str] = {}
        failed: dict[str, tuple[str, int]] = {}
        uids = list(row.instances)
        found: dict[str, tuple[str, str]] = {}
        for start in range(0, len(uids), _ASKED_AT_ONCE):
            query = sa.select(Instance.sop_instance_uid, Instance.sop_class_uid, Instance.path).where(
                Instance.sop_instance_uid.in_(uids[start : start + _ASKED_AT_ONCE]), Instance.removed_at.is_(None)
            )
            found |= {uid: (sop_class, path) for uid, sop_class, path in session.execute(query)}
        for uid, sop_class in row.instances.items():
            there, path = found.get(uid, ("", ""))
            if not path or not Path(self._config.spool_dir / path).is_file():
                failed[uid] = sop_class, NO_SUCH_INSTANCE
            elif there != sop_class:
                failed[uid] = sop_class, CLASS_CONFLICT
            else:
                held[uid] = sop_class
        return Report(row.transaction_uid, held, failed)

    def _report(self, row: CommitmentRequest, report: Report, now: datetime) -> bool:
        try:
            self._tell(row.calling_ae_title, report)
        except HarmonodeError as error:
            self._put_off(row.id, now, error)
            return False
        with self.database.write() as session:
            _reported(session, session.get_one(CommitmentRequest, row.id), report)
        return True

    def _tell(self, ae_title: str, report: Report) -> None:
        there = self._peer(ae_title)
        tls = client_context(there.tls) if there.tls else None
        peer = scu.Peer(there.ae_title, there.host, there.port, self._config.receive.ae_title, tls=tls)
        with scu.associate_as(scu.Requestor, peer, scu.COMMITMENT_CONTEXTS, [PUSH_MODEL]) as requestor:
            requestor.report(report)

    def _put_off(self, row_id: int, now: datetime, error: HarmonodeError) -> None:
        with self.database.write() as session:
            row = session.get_one(CommitmentRequest, row_id)
            row.tries += 1
            delay = min(_FIRST_DELAY * 2 ** min(row.tries, 16), _LONGEST_DELAY)
            row.due_at = None if row.tries >= _MOST_TRIES else now + delay
            _log.warning("a report on storage commitment could not be delivered", error=str(error), tries=row.tries)
            if row.due_at is None:
                said = f"{row.calling_ae_title} cannot be told what became of its request for commitment: {error}"
                audit.record(session, Event.FAILURE, said, detail={"transaction_uid": row.transaction_uid})

    def _peer(self, ae_title: str) -> CommitmentPeer:
        for peer in self._config.receive.commitment:
            if peer.ae_title == ae_title:
                return peer
        raise OperatorError(f"where {ae_title} is to be told is not configured (receive.commitment)")


class Claim:
    """A request that the association on which it came may report on (PS3.4 section J.3.3). Raises nothing.

    Until it is due it is the association's, then the sweep's: only so is it reported once.
    """

    def __init__(self, commitments: Commitments, row_id: int, asked_at: datetime, due_at: datetime) -> None:
        self._commitments, self._row_id, self._asked_at, self._due_at = commitments, row_id, asked_at, due_at
        self._report: Report | None = None

    def report(self) -> Report | None:
        """All is held, or a moment has passed in which the rest could have been indexed; else None."""
        return self._on_row(self._judged)

    def told(self) -> None:
        """The peer has taken the report."""
        if (report := self._report) is not None:
            self._on_row(lambda session, row: _reported(session, row, report))

    def dropped(self, why: str) -> None:
        """It was not told: the sweep does it, on an association of its own."""
        _log.info("not reported on the association that asked for storage commitment", why=why)
        self._on_row(self._given_back)

    def _given_back(self, _session: Session, row: CommitmentRequest) -> None:
        row.due_at = max(datetime.now(UTC), self._asked_at + _FIRST_REPORT)

    def _judged(self, session: Session, row: CommitmentRequest) -> Report | None:
        now = datetime.now(UTC)
        report = self._commitments.judge(session, row)
        if now >= self._due_at or (report.failed and now < self._asked_at + _FIRST_REPORT):
            return None
        self._report, self._due_at = report, now + _ITS_ANSWER
        row.due_at = self._due_at
        return report

    def _on_row(self, do: Callable[[Session, CommitmentRequest], R]) -> R | None:
        try:
            with self._commitments.database.write() as session:
                row = session.get(CommitmentRequest, self._row_id)
                if row is None or row.due_at != self._due_at:  # reported by the sweep, or asked for anew
                    return None
                return do(session, row)
        except (sa.exc.SQLAlchemyError, HarmonodeError):
            _log.exception("storage commitment: the database does not answer")
            return None


def _reported(session: Session, row: CommitmentRequest, report: Report) -> None:
    failed = report.failures(row.instances)
    row.due_at, row.reported_at, row.failed = None, datetime.now(UTC), dict(failed)
    said = f"{row.calling_ae_title} was told that the node commits itself to {len(report.held)} instances"
    detail = {"transaction_uid": row.transaction_uid, "failed": failed}
    audit.record(session, Event.COMMITMENT, f"{said}{f', not to {told(failed)}' if failed else ''}", detail=detail)


def note_report(session: Session, row: Commitment, report: Report, *, actor: str) -> None:
    """Keep a destination's report on a request of ours, in the caller's write transaction."""
    failed: Mapping[str, int] = report.failures(row.instances)
    row.reported_at, row.failed = datetime.now(UTC), dict(failed)
    series = session.scalar(sa.select(Series).join(Job, Job.series_id == Series.id).where(Job.id == row.job_id))
    count = len(row.instances) - len(failed)
    said = f"{row.destination} commits itself to {count} of {len(row.instances)} instances"
    detail = {"destination": row.destination, "transaction_uid": row.transaction_uid, "failed": failed}
    message = f"{said}{f', not to {told(failed)}' if failed else ''}"
    audit.record(session, Event.COMMITMENT, message, actor=actor, series=series, detail=detail)
