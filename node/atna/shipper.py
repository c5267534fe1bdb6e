"""A thread a server: it carries what the trail holds and the server does not have yet."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from node import audit
from node.atna.message import Message
from node.atna.syslog import NOTICE, WARNING, deliver, syslog_message
from node.atna.table import MESSAGES, Teller
from node.audit import Event
from node.config import AuditServer, Config
from node.errors import HarmonodeError
from node.store.session import Database
from node.store.tables import AuditCursor, AuditRecord

log = structlog.get_logger(__name__)

POLL_S = 1.0
_FIRST_DELAY_S, _MAX_DELAY_S = 1.0, 60.0
_BATCH = 100  # records in one session
_LEAVE_S = 5.0


class Shipper:
    """Sends the trail to one server in order, each message at least once; a server that dawdles holds up nobody else."""

    def __init__(self, config: Config, database: Database, server: AuditServer) -> None:
        self._database, self._server, self._teller = database, server, Teller(config)
        self._batch, self._failures = _BATCH, 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"audit to {server.name}", daemon=True)

    def start(self) -> None:
        """Begin where the last run ended; with the start of this run where the server is new."""
        with self._database.write() as session:
            _cursor(session, self._server.name)
        self._thread.start()

    def stop(self) -> None:
        """Carry what is left if the server takes it; what it does not take stays for the next run."""
        self._stopping.set()
        self._thread.join(_LEAVE_S)

    def _run(self) -> None:
        pause_s = 0.0
        while not self._stopping.wait(pause_s):
            pause_s = self._turn_or_wait()
        while not self._failures and self._turn_or_wait() == 0.0:
            pass

    def _turn_or_wait(self) -> float:
        try:
            return self.turn()
        except Exception:
            log.exception("audit messages could not be sent, they are tried again", server=self._server.name)
            self._failures += 1
            return self._delay_s()

    def turn(self) -> float:
        """Send one batch; returns the seconds until the next turn.

        After a failure one record is tried, then twice as many each time: a server that is slow, or dies of too much,
        still gets on.
        """
        name = self._server.name
        with self._database.read() as session:
            cursor = session.get_one(AuditCursor, name)
            # By the number alone: an index on events would be walked from the beginning of the trail.
            records = session.scalars(
                sa.select(AuditRecord).where(AuditRecord.seq > cursor.seq).order_by(AuditRecord.seq).limit(self._batch)
            ).all()
            messages = self._messages(session, records)
        down = cursor.down_since is not None
        if not records and not down:
            return POLL_S
        try:
            if messages or down:
                deliver(self._server, messages)
        except (OSError, HarmonodeError) as error:
            self._failed(error, down)
            return self._delay_s()
        self._failures, more = 0, len(records) == self._batch
        self._batch = min(2 * self._batch, _BATCH)
        seq = records[-1].seq if records else cursor.seq
        if down and not more:
            self._back(seq)
        else:
            with self._database.write() as session:
                _advance(session, name, seq, delivered=bool(messages))
        return 0.0 if more else POLL_S

    def _messages(self, session: Session, records: Sequence[AuditRecord]) -> list[bytes]:
        made = []
        for record in records:
            message = self._message(session, record)
            if message is not None:
                severity = WARNING if message.outcome else NOTICE
                xml = message.to_xml(self._teller.source)
                made.append(syslog_message(xml, record.at, self._teller.host, severity))
        return made

    def _message(self, session: Session, record: AuditRecord) -> Message | None:
        try:
            return self._teller.message(session, record)
        except Exception:  # a record that cannot be told must not hold up all that follow it; the trail has it
            log.exception("an audit record makes no message", server=self._server.name, seq=record.seq)
            return None

    def _failed(self, error: Exception, known: bool) -> None:
        """The outage is recorded when it begins and when it is over, and never in between."""
        self._failures += 1
        self._batch = 1
        server = f"{self._server.name} at {self._server.host}:{self._server.port}"
        said = f"{error}" if isinstance(error, HarmonodeError) else f"{type(error).__name__}: {error}"
        if known:
            log.debug("the audit server is still down", server=server, reason=said)
            return
        log.warning("the audit server does not take messages; they wait in the trail", server=server, reason=said)
        with self._database.write() as session:
            cursor = _cursor(session, self._server.name)
            cursor.down_since, cursor.reason = datetime.now(UTC), said
            message = f"the audit server {server} does not take messages, they wait in the trail: {said}"
            audit.record(session, Event.REPOSITORY, message, detail={"server": self._server.name, "up": False})

    def _back(self, seq: int) -> None:
        """It has all there was."""
        log.info("the audit server is back", server=self._server.name)
        with self._database.write() as session:
            cursor = _cursor(session, self._server.name)
            since = cursor.down_since or datetime.now(UTC)
            _advance(session, self._server.name, seq, delivered=True)
            cursor.down_since = cursor.reason = None
            message = (
                f"the audit server {self._server.name} has all messages again; it did not take any since "
                f"{since:%Y-%m-%d %H:%M:%S} UTC"
            )
            audit.record(session, Event.REPOSITORY, message, detail={"server": self._server.name, "up": True})

    def _delay_s(self) -> float:
        """Exponential, with jitter, without end but never longer than a minute."""
        ceiling_s = min(_FIRST_DELAY_S * 2 ** min(self._failures - 1, 10), _MAX_DELAY_S)
        return random.uniform(ceiling_s / 2, ceiling_s)  # noqa: S311


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the trail has come at a server."""

    server: str
    waiting: int  # records that it has not been told of
    delivered_at: datetime | None
    down_since: datetime | None
    reason: str | None


def standing(session: Session, config: Config) -> list[Standing]:
    """Every server of the configuration; one that no run has known yet has neither got nor missed anything."""
    found = []
    for server in config.audit.servers:
        cursor = session.get(AuditCursor, server.name)
        waiting = 0
        if cursor is not None:
            told = sa.func.sum(sa.case((AuditRecord.event.in_(MESSAGES), 1), else_=0))
            waiting = session.scalar(sa.select(told).where(AuditRecord.seq > cursor.seq)) or 0
        found.append(
            Standing(server.name, waiting, cursor.delivered_at, cursor.down_since, cursor.reason)
            if cursor is not None
            else Standing(server.name, 0, None, None, None)
        )
    return found


def _cursor(session: Session, server: str) -> AuditCursor:
    cursor = session.get(AuditCursor, server)
    if cursor is None:
        started = session.scalar(
            sa.select(sa.func.max(AuditRecord.seq)).where(
                AuditRecord.event == str(Event.START), AuditRecord.actor == "node"
            )
        )
        cursor = AuditCursor(server=server, seq=(started or 1) - 1)
        session.add(cursor)
        session.flush()
    return cursor


def _advance(session: Session, server: str, seq: int, *, delivered: bool) -> None:
    cursor = _cursor(session, server)
    cursor.seq = max(cursor.seq, seq)
    if delivered:
        cursor.delivered_at = datetime.now(UTC)
