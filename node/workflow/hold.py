"""A job and its series within one transaction: moved on, or brought to rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from node import audit
from node.audit import Event
from node.errors import ErrorKind
from node.journey import State
from node.store.tables import Instance, Job, Series

_REOPENS = frozenset({State.DONE, State.FAILED, State.REFUSED})


@dataclass(frozen=True, slots=True)
class Hold:
    """What a worker holds while a transaction lasts."""

    session: Session
    job: Job
    series: Series
    actor: str  # the worker, for the audit trail

    def move(self, state: State, event: Event, reason: str, detail: Mapping[str, Any] | None = None) -> None:
        """Move the series on; the next step starts with its tries and its progress at nought."""
        audit.move(self.session, self.series, state, event, reason, actor=self.actor, detail=detail)
        self.job.tries = self.job.progress_done = self.job.progress_total = 0

    def record(self, event: Event, message: str, detail: Mapping[str, Any] | None = None) -> None:
        """Say what happened where the series stays in its state."""
        audit.record(self.session, event, message, actor=self.actor, series=self.series, detail=detail)

    def rest(
        self,
        state: State,
        event: Event,
        reason: str,
        *,
        kind: ErrorKind | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """End the job in this state. Instances that came meanwhile open the series again for another round."""
        audit.move(self.session, self.series, state, event, reason, actor=self.actor, kind=kind, detail=detail)
        self.job.finished_at = datetime.now(UTC)
        late = self.session.scalar(
            sa.select(sa.func.count()).where(Instance.series_id == self.series.id, Instance.round.is_(None))
        )
        if late and state in _REOPENS:
            said = f"{late} instances came while the series was processed; they make another round"
            audit.move(self.session, self.series, State.RECEIVING, Event.ARRIVAL, said, actor=self.actor)
