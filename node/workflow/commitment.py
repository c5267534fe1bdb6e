"""Storage commitment of a destination, within the step that confirms (PS3.4 annex J).

The report may come at once, minutes later or never: the worker does not wait for it, and the step is done again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import uuid4

import sqlalchemy as sa
import structlog
from pydicom.uid import CTImageStorage, EnhancedSRStorage

from node.audit import Event
from node.commit import note_report
from node.config import DimseDestination
from node.dicom.commitment import MENDED_BY_SENDING, Request, told
from node.errors import OperatorError, TransientError
from node.store.tables import Commitment
from node.workflow.work import Later, Work

log = structlog.get_logger(__name__)

_PATIENCE_S = 2.0  # most answer within a moment
_LOOK_S = 0.1
_LEAST_DELAY_S, LONGEST_DELAY_S = 2.0, 60.0


def committed(
    work: Work, destination: DimseDestination, expected: Mapping[str, Sequence[str]], short: dict[str, str]
) -> int | None:
    """To how many instances the destination commits itself, which is all of them; None: it is to be asked by C-FIND.

    Raises:
        Later: it has not reported yet.
        TransientError: some are missing there, so that sending them again may help; put into `short`.
        OperatorError: it refuses to commit itself, or does not report, and that is for a person.
    """
    name = destination.name
    try:
        asked = _asked(work, name) or _ask(work, destination, expected)
    except OperatorError as error:
        _instead(work, destination, f"{name} cannot be asked for storage commitment: {error}")
        return None
    asked = _wait(work, asked)
    if asked.reported_at is None:
        waited_s = _waited_s(work, asked)
        if waited_s >= destination.commitment_timeout_s:
            _forget(work, asked)
            _instead(work, destination, f"{name} has not reported on storage commitment for {waited_s:.0f} s")
            return None
        delay_s = min(_delay_s(waited_s), destination.commitment_timeout_s)
        raise Later(f"{name} was asked to commit itself to storage, and has not reported yet", delay_s)
    if asked.failed:
        raise _refused(work, asked, asked.failed, short)
    return len(asked.instances)


def _asked(work: Work, name: str) -> Commitment | None:
    """The request that stands; one of which it is not known whether it was taken is forgotten, and made anew."""
    query = sa.select(Commitment).where(Commitment.job_id == work.job_id, Commitment.destination == name)
    with work.transaction() as held:
        rows = held.session.scalars(query.order_by(Commitment.asked_at.desc())).all()
        standing = [row for row in rows if row.asked_at is not None or row.reported_at is not None]
        for row in rows:
            if row not in standing[:1]:
                held.session.delete(row)
    return standing[0] if standing else None


def _ask(work: Work, destination: DimseDestination, expected: Mapping[str, Sequence[str]]) -> Commitment:
    """The request is in the database before it is on the wire: the report may be the faster one."""
    uid = f"2.25.{uuid4().int}"
    with work.transaction() as held:
        derived_uid = held.job.derived_series_uid
        instances = {
            uid: str(CTImageStorage if series_uid == derived_uid else EnhancedSRStorage)
            for series_uid, uids in expected.items()
            for uid in uids
        }
        held.session.add(
            Commitment(transaction_uid=uid, job_id=work.job_id, destination=destination.name, instances=instances)
        )
    report = work.context.steps.commit(destination, Request(uid, instances))
    with work.transaction() as held:
        row = held.session.get_one(Commitment, uid)
        row.asked_at = datetime.now(UTC)
        said = f"{destination.name} is asked to commit itself to the storage of {len(instances)} instances"
        held.record(Event.COMMITMENT, said, {"destination": destination.name, "transaction_uid": uid})
        if report is not None and report.transaction_uid == uid and row.reported_at is None:
            note_report(held.session, row, report, actor=held.actor)
    return row


def _wait(work: Work, asked: Commitment) -> Commitment:
    """A moment for the report, which another process writes."""
    until = time.monotonic() + _PATIENCE_S
    while asked.reported_at is None and time.monotonic() < until:
        time.sleep(_LOOK_S)
        with work.look() as held:
            asked = held.session.get_one(Commitment, asked.transaction_uid)
    return asked


def _waited_s(work: Work, asked: Commitment) -> float:
    """How long the report has been waited for: since the last look, no longer than twice what was meant.

    So a clock that is set forward ends no patience, one that is set back prolongs none, and the time in which the node
    was down, so that nobody could report, does not count.
    """
    now = datetime.now(UTC)
    with work.transaction() as held:
        row = held.session.get_one(Commitment, asked.transaction_uid)
        since_s = (now - (row.looked_at or row.asked_at or now)).total_seconds()
        meant_s = _PATIENCE_S if row.looked_at is None else _PATIENCE_S + _delay_s(row.waited_s)
        row.waited_s += math.ceil(min(since_s, 2 * meant_s) if since_s > 0 else meant_s)
        row.looked_at = now
        return row.waited_s


def _delay_s(waited_s: float) -> float:
    """How long to wait until the next look."""
    return min(max(waited_s / 2, _LEAST_DELAY_S), LONGEST_DELAY_S)


def _refused(
    work: Work, asked: Commitment, failed: Mapping[str, int], short: dict[str, str]
) -> TransientError | OperatorError:
    """What it does not commit itself to; asked again next time, for the reasons may pass."""
    name, count = asked.destination, len(asked.instances)
    said = f"{name} does not commit itself to {len(failed)} of {count} instances: {told(failed)}"
    _forget(work, asked)
    if not MENDED_BY_SENDING.issuperset(failed.values()):
        return OperatorError(said)
    short[name] = f"{name} {count - len(failed)} of {count} instances (missing {told(failed, most=1)})"
    return TransientError(said)


def _forget(work: Work, asked: Commitment) -> None:
    """The next time, after a person's retry too, it is asked anew."""
    with work.transaction() as held:
        held.session.delete(held.session.get_one(Commitment, asked.transaction_uid))


def _instead(work: Work, destination: DimseDestination, why: str) -> None:
    """By C-FIND, where the configuration allows that; else a person decides."""
    if destination.commitment_fallback == "wait":
        raise OperatorError(why)
    log.warning("no storage commitment, the destination is asked by C-FIND", destination=destination.name, why=why)
    with work.transaction() as held:
        held.record(Event.COMMITMENT, f"{why}; it is asked by C-FIND", {"destination": destination.name})
