"""Questions about jobs that more than one stage asks."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from node.store.tables import Delivery, Job


def delivered(session: Session, job: Job) -> bool:
    """Whether the job reached its end: every destination confirmed what it derived."""
    if job.derived_series_uid is None or job.finished_at is None:
        return False
    confirmed = sa.select(Delivery.destination).where(Delivery.job_id == job.id, Delivery.confirmed_at.is_not(None))
    return set(session.scalars(confirmed)) >= set(job.destinations)
