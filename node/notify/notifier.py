"""The thread that looks, compares and tells. Stages never wait for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
import structlog

from node import audit
from node.audit import Event, verify
from node.config import Config
from node.notify import notices, outbox
from node.notify.channels import Channel, channels
from node.notify.watch import Problem, chain, problems
from node.store import leases
from node.store.session import Database
from node.store.tables import AuditRecord

log = structlog.get_logger(__name__)

_LOOK_S = 15.0
_LEASE, _LEASE_S = "sweep:notify", 300.0
_LEAVE_S = 2.0


class Notifier:
    """Looks every few seconds; on several machines one does."""

    def __init__(self, config: Config, database: Database, ways: Sequence[Channel] | None = None) -> None:
        self._config, self._database = config, database
        self._channels = channels(config) if ways is None else ways
        self._flaws: list[str] = []
        self._awake_since: datetime | None = None
        self._verified_at: datetime | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notify", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What is not delivered yet lies in the outbox, for the next run."""
        self._stopping.set()
        self._thread.join(_LEAVE_S)

    def _run(self) -> None:
        while not self._stopping.wait(_LOOK_S):
            try:
                self.turn(datetime.now(UTC))
            except Exception:
                log.exception("what needs a person could not be looked at, it is looked at again")

    def turn(self, now: datetime) -> None:
        """Look, put what is new into the outbox, and deliver what is due."""
        with self._database.write() as session:
            if not leases.acquire(session, _LEASE, now, _LEASE_S):
                return
        self._awake_since = self._awake_since or now
        try:
            found = [*self._look(now), *chain(self._chain(now))]
            with self._database.write() as session:
                letters = notices.compare(session, found, self._config.notify, now)
                outbox.put(session, letters, [channel.name for channel in self._channels], now)
            for letter in letters:
                log.warning("needs a person" if letter.count else "all clear", kind=letter.kind, told=letter.subject)
            outbox.deliver(self._database, self._channels, now)
        finally:
            with self._database.write() as session:
                leases.release(session, _LEASE)

    def _look(self, now: datetime) -> list[Problem]:
        with self._database.read() as session:
            return problems(session, self._config, now, self._awake_since or now)

    def _chain(self, now: datetime) -> list[str]:
        """What is wrong with the audit trail; it is walked at the start, and then every so many hours."""
        every = timedelta(hours=self._config.notify.verify_hours)
        if self._verified_at is not None and now - self._verified_at < every:
            return self._flaws
        with self._database.read() as session:
            flaws = [flaw.what for flaw in verify(session)[1]]
        self._verified_at, self._flaws = now, flaws
        if flaws:
            self._alarm(flaws)
        return flaws

    def _alarm(self, flaws: list[str]) -> None:
        """Record that the trail does not hold, once for the same flaws: it will never hold again."""
        with self._database.write() as session:
            last = session.scalar(
                sa.select(AuditRecord)
                .where(AuditRecord.event == str(Event.ALERT), AuditRecord.actor == "notify")
                .order_by(AuditRecord.seq.desc())
                .limit(1)
            )
            told = flaws[:100]
            if last is None or last.detail.get("flaws") != told:
                message = f"the audit trail does not hold, {len(flaws)} flaws: {'; '.join(told[:3])}"
                audit.record(session, Event.ALERT, message, actor="notify", detail={"flaws": told})
