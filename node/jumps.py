"""Jumps of the wall clock: seen while the node runs and when it starts again, kept in the audit trail, taken off ages.

What must not wait for ever, nor be over too soon, is measured by the machine's own clock (CLOCK_BOOTTIME), which nobody
sets and which every process of the machine shares. What is dated in the database has the wall clock's time alone: where
that was set forward meanwhile, it only seems older than it is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from node import audit
from node.audit import Event
from node.store.tables import AuditRecord

_log = structlog.get_logger(__name__)

LEAST_S = 2.0  # less is what NTP mends in passing
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_STARTS = 20  # so many starts of nodes on other machines may lie between two of this one


def since_boot_s() -> float:
    """The machine's own clock, in seconds; it goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def ahead_s() -> float:
    """How far the wall clock is ahead of the machine's own."""
    return time.time() - since_boot_s()


class Watch:
    """Sees the wall clock jump, from one look to the next."""

    def __init__(self) -> None:
        self._ahead_s = ahead_s()

    def moved_s(self) -> float:
        """By how much it was set forward, or back where negative; 0 where it goes as it should.

        Call `seen` once that is dealt with; else the next look tells of it again.
        """
        moved_s = ahead_s() - self._ahead_s
        return moved_s if abs(moved_s) > LEAST_S else 0.0

    def seen(self, moved_s: float) -> None:
        self._ahead_s += moved_s


def reading() -> dict[str, Any]:
    """Both clocks as they stand, for the record of a start: what is otherwise at the next start was a jump."""
    return {"boot": boot(), "ahead_s": round(ahead_s(), 3)}


def witness(session: Session, moved_s: float) -> None:
    """Record a jump, in the caller's write transaction."""
    now = datetime.now(UTC)
    way = "forward" if moved_s > 0 else "back"
    said = f"the clock was set {way} by {timedelta(seconds=round(abs(moved_s)))}"
    if moved_s > 0:
        said += ": what was there before it stays on the disk for as much longer"
    _log.warning(said)
    audit.record(session, Event.CLOCK, said, detail={"moved_s": moved_s, "to": now.isoformat(), "clock": reading()})


def witness_start(session: Session) -> None:
    """Record the jump that came while no node ran, which can be told as long as the machine was not started anew."""
    query = sa.select(AuditRecord.detail).where(
        AuditRecord.event.in_([str(Event.START), str(Event.CLOCK)]), AuditRecord.actor == "node"
    )
    for detail in session.scalars(query.order_by(AuditRecord.seq.desc()).limit(_STARTS)):
        last = detail.get("clock", {})
        if last.get("boot") == boot():
            moved_s = ahead_s() - last["ahead_s"]
            if abs(moved_s) > LEAST_S:
                witness(session, moved_s)
            return


def before(session: Session, cutoff: datetime) -> datetime:
    """The date before which a thing must be dated, to be as old in truth as what is dated `cutoff` seems."""
    for to, forward in _forward(session):
        if cutoff < to:
            cutoff -= forward
    return cutoff


def _forward(session: Session) -> Iterator[tuple[datetime, timedelta]]:
    """Jumps forward, the newest first: to when, by how much. What was taken back since counts no more."""
    back = timedelta()
    query = sa.select(AuditRecord.detail).where(AuditRecord.event == str(Event.CLOCK)).order_by(AuditRecord.seq.desc())
    for detail in session.scalars(query):
        moved = timedelta(seconds=detail["moved_s"])
        if moved < timedelta():
            back -= moved
            continue
        taken = min(back, moved)
        back -= taken
        if moved > taken:
            yield datetime.fromisoformat(detail["to"]) - taken, moved - taken


def boot() -> str:
    """The running of the machine's kernel, by which clocks of two starts can be compared; empty where it has no name."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
