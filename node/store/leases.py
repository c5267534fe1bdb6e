"""Who is alive: a process renews its lease; whose lease has lapsed is taken for dead.

A clock that is set back would leave the leases of the dead in force until it has caught up. So a lease holds only while
it ends no later than a lease taken now could, with as much again for machines whose clocks differ.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from node.store.tables import Lease


def renew(session: Session, executor_id: str, now: datetime, seconds: float) -> None:
    """Take or prolong the lease of a process, for so many seconds from now."""
    session.merge(Lease(executor_id=executor_id, renewed_at=now, expires_at=now + timedelta(seconds=seconds)))


def release(session: Session, executor_id: str) -> None:
    """End a lease early: the process stops and says so."""
    session.execute(sa.delete(Lease).where(Lease.executor_id == executor_id))


def alive(session: Session, now: datetime) -> set[str]:
    """The processes whose lease holds."""
    return {lease.executor_id for lease in session.scalars(sa.select(Lease)) if _holds(lease, now)}


def lapsed(session: Session, now: datetime) -> set[str]:
    """The processes that neither renewed their lease in time nor released it."""
    return {lease.executor_id for lease in session.scalars(sa.select(Lease)) if not _holds(lease, now)}


def acquire(session: Session, name: str, now: datetime, seconds: float) -> bool:
    """Take a lease that only one process may hold, such as the right to run a sweep; False where another holds it."""
    held = session.get(Lease, name)
    if held is not None and _holds(held, now):
        return False
    renew(session, name, now, seconds)
    return True


def _holds(lease: Lease, now: datetime) -> bool:
    return now < lease.expires_at <= now + 2 * (lease.expires_at - lease.renewed_at)
