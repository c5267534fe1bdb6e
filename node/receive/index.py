"""The database follows the spool: arrivals are written in batches, off the path of the C-STORE response.

The spool is the truth of what was received; what the database has not taken is indexed by `reconcile` at the next start.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from node import audit
from node.audit import Event
from node.errors import InvalidObject
from node.journey import State
from node.series import Arrival, Sender
from node.store.quarantine import Kept, note
from node.store.session import Database, DatabaseGone, after_commit
from node.store.spool import Spool
from node.store.tables import AuditRecord, Instance, Quarantined, Series

_log = structlog.get_logger(__name__)

BATCH = 500  # items a transaction
BATCH_WAIT_S = 0.2  # how long a batch waits for more
_FIRST_DELAY_S, _MAX_DELAY_S = 0.5, 30.0

AT_REST = frozenset(
    {State.COMPLETE, State.PASSED, State.REFUSED, State.DONE, State.FAILED}
)  # a new instance reopens the series; one that is worked on takes it in a later round, one that a person stopped stays
# Locked, full, away: passes by itself. Deleted: the node ends, and the next start finds the arrivals in the spool.
_PASSES = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError, DatabaseGone)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An association or an object that was refused and of which nothing is kept."""

    message: str
    detail: dict[str, Any] = field(default_factory=dict)


Item = Arrival | Kept | Refusal
T = TypeVar("T")


def index(session: Session, items: Sequence[Item]) -> None:
    """Write a batch within the caller's transaction. Idempotent for arrivals and for what is kept aside."""
    series: dict[tuple[str, str], list[Arrival]] = {}
    for item in items:
        if isinstance(item, Arrival):
            series.setdefault((item.study_instance_uid, item.series_instance_uid), []).append(item)
    for arrivals in series.values():
        _index_series(session, arrivals)
    for item in items:
        if isinstance(item, Kept):
            _index_kept(session, item)
        elif isinstance(item, Refusal):
            audit.record(session, Event.REFUSAL, item.message, detail=item.detail)


def _index_series(session: Session, arrivals: Sequence[Arrival]) -> None:
    # Of two in one batch the one that made the file counts.
    by_uid = {arrival.sop_instance_uid: arrival for arrival in sorted(arrivals, key=lambda one: not one.again)}
    series = _find(session, arrivals[0].study_instance_uid, arrivals[0].series_instance_uid)
    known: dict[str, Instance] = {}
    if series is not None:
        query = sa.select(Instance).where(Instance.series_id == series.id, Instance.sop_instance_uid.in_(by_uid))
        known = {instance.sop_instance_uid: instance for instance in session.scalars(query)}
    fresh = [arrival for uid, arrival in by_uid.items() if uid not in known or _made_a_file(arrival, known[uid])]
    if not fresh:
        return
    returned = all(row.removed_at for row in known.values()) and {a.sop_instance_uid for a in fresh} <= known.keys()
    latest = max(fresh, key=lambda arrival: arrival.received_at)
    if series is None:
        series = _open(session, min(arrival.received_at for arrival in fresh), latest)
    new = [
        {"series_id": series.id, "sop_instance_uid": arrival.sop_instance_uid, **_columns(arrival)}
        for arrival in fresh
        if arrival.sop_instance_uid not in known
    ]
    if new:  # in one statement: an object for each row would keep those who receive from the interpreter
        session.execute(sa.insert(Instance), new)
    for arrival in fresh:
        if (row := known.get(arrival.sop_instance_uid)) is not None:
            for name, value in _columns(arrival).items():
                setattr(row, name, value)
    series.instance_count += len(new)
    series.last_arrival_at = max(series.last_arrival_at, latest.received_at)
    series.calling_ae_title = latest.sender.calling_ae_title
    series.called_ae_title = latest.sender.called_ae_title
    series.address = latest.sender.address
    series.removed_at = None
    _witness(session, series, fresh, latest.sender, returned=returned)


def _made_a_file(arrival: Arrival, row: Instance) -> bool:
    """Whether an instance that is known has a new file: its old one had left the spool, or vanished from it."""
    if row.removed_at is not None:
        return arrival.received_at > row.removed_at
    return not (arrival.again or row.received_at == arrival.received_at)


def _open(session: Session, first_arrival_at: datetime, latest: Arrival) -> Series:
    series = Series(
        study_instance_uid=latest.study_instance_uid,
        series_instance_uid=latest.series_instance_uid,
        state=str(State.RECEIVING),
        state_since=datetime.now(UTC),
        first_arrival_at=first_arrival_at,
        last_arrival_at=latest.received_at,
        instance_count=0,
        calling_ae_title=latest.sender.calling_ae_title,
        called_ae_title=latest.sender.called_ae_title,
        address=latest.sender.address,
    )
    session.add(series)
    session.flush()
    return series


def _columns(arrival: Arrival) -> dict[str, Any]:
    return {
        "sop_class_uid": arrival.sop_class_uid,
        "transfer_syntax_uid": arrival.transfer_syntax_uid,
        "path": arrival.path,
        "size_bytes": arrival.size_bytes,
        "sha256": arrival.sha256,
        "received_at": arrival.received_at,
        "calling_ae_title": arrival.sender.calling_ae_title,
        "removed_at": None,
    }


def _witness(session: Session, series: Series, fresh: Sequence[Arrival], sender: Sender, *, returned: bool) -> None:
    """`returned`: all of them were known, and had left the disk. A series that is delivered needs no more work then."""
    count = f"{len(fresh)} instance{'s' if len(fresh) > 1 else ''}"
    message = f"{count} arrived from {sender.calling_ae_title or 'unknown'} at {sender.address or 'unknown'}"
    detail = {
        "calling_ae_title": sender.calling_ae_title,
        "address": sender.address,
        "instances": [{"sop_instance_uid": arrival.sop_instance_uid, "sha256": arrival.sha256} for arrival in fresh],
    }
    state = State(series.state)
    if returned:
        message += ", known already and removed since: kept again"
    if returned and state is State.DONE:
        audit.record(session, Event.ARRIVAL, message, series=series, detail=detail)
    elif state in AT_REST:
        message += f" for a series that was {state}; it receives again"
        audit.move(session, series, State.RECEIVING, Event.ARRIVAL, message, detail=detail)
    else:
        audit.record(session, Event.ARRIVAL, message, series=series, detail=detail)
    told = {"series": series.series_instance_uid, "count": len(fresh), "state": series.state}
    after_commit(session, lambda: _log.info("instances indexed", **told))


def _index_kept(session: Session, kept: Kept) -> None:
    note(session, kept)
    series = None
    if kept.study_instance_uid and kept.series_instance_uid:
        series = _find(session, kept.study_instance_uid, kept.series_instance_uid)
    audit.record(
        session,
        Event(kept.event),
        f"instance {kept.sop_instance_uid or 'of unknown UID'} from {kept.sender.calling_ae_title} at "
        f"{kept.sender.address} refused and kept aside: {kept.reason}",
        series=series,
        detail={"quarantine": kept.path, "sop_instance_uid": kept.sop_instance_uid},
    )


def _find(session: Session, study_instance_uid: str, series_instance_uid: str) -> Series | None:
    return session.scalar(
        sa.select(Series).where(
            Series.study_instance_uid == study_instance_uid, Series.series_instance_uid == series_instance_uid
        )
    )


class Indexer:
    """A thread that takes items from a queue and writes them. A database that is locked or away is tried again."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._left = 0
        self._thread = threading.Thread(target=self._run, name="indexer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, item: Item) -> None:
        """Never blocks and never fails."""
        self._queue.put(item)

    def stop(self, timeout_s: float = 10.0) -> None:
        """Write what is queued, then end. What the database does not take in time, the next start finds in the spool."""
        self._stopping.set()
        self._queue.put(None)
        self._thread.join(timeout_s)
        if self._left or self._thread.is_alive():
            _log.warning("stopped before the database took every arrival; the next start indexes them", left=self._left)

    def _run(self) -> None:
        more = True
        while more:
            batch, more = self._gather()
            if batch and not self._write(batch):
                return

    def _gather(self) -> tuple[list[Item], bool]:
        """The next batch, and whether there may be more after it."""
        batch: list[Item] = []
        item = self._queue.get()
        if self._queue.qsize() < BATCH:
            self._stopping.wait(BATCH_WAIT_S)  # not woken for each: who receives needs the interpreter
        while item is not None:
            batch.append(item)
            if len(batch) == BATCH or self._queue.empty():
                return batch, True
            item = self._queue.get()
        return batch, False

    def _write(self, batch: Sequence[Item]) -> bool:
        """Write a batch, however long it takes; False where the node stops before the database takes it."""
        delay_s = _FIRST_DELAY_S
        while True:
            try:
                with self._database.write() as session:
                    index(session, batch)
            except _PASSES as error:
                _log.warning(
                    "the database takes no arrivals; they are safe in the spool, and it is tried again",
                    waiting=len(batch),
                    delay_s=delay_s,
                    error=str(error.orig if isinstance(error, sa.exc.DBAPIError) else error),
                )
                if self._stopping.wait(delay_s):
                    self._left = len(batch) + self._queue.qsize() - 1  # without the None that `stop` put
                    return False
                delay_s = min(2 * delay_s, _MAX_DELAY_S)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one item, the others are written
                if len(batch) == 1:
                    _log.error("cannot be indexed; the next start tries again", item=batch[0], error=repr(error))
                    return True
                return all(self._write([item]) for item in batch)
            else:
                return True


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What `reconcile` found."""

    indexed: int  # files of the spool that the database did not know
    damaged: int  # files of the spool that could not be read; now in the quarantine
    vanished: int  # rows whose file is gone
    kept: int  # objects of the quarantine that the database did not know
    removed: int = 0  # rows whose file was removed, which a database restored from a backup does not know


def reconcile(database: Database, spool: Spool) -> Reconciled:
    """Make the database know what the spool and the quarantine hold, and notice what has vanished. At start.

    Only files without a row are opened, so a start costs a directory walk.
    """
    with database.read() as session:
        rows = set(session.scalars(sa.select(Instance.path).where(Instance.removed_at.is_(None))))
        kept_rows = set(session.scalars(sa.select(Quarantined.path)))
    files = set(spool.walk())
    found: list[Item] = []
    for path in sorted(files - rows):
        try:
            found.append(spool.read(path))
        except InvalidObject as error:
            nobody = Sender("", "", "spool")
            reason = f"damaged in the spool: {error.reason}"
            found.append(
                spool.quarantine.keep_aside(spool.root / path, reason, nobody, sop_instance_uid=error.sop_instance_uid)
            )
    damaged = sum(isinstance(item, Kept) for item in found)
    known_kept = [kept for kept in spool.quarantine.walk() if kept.path not in kept_rows and kept not in found]
    for batch in _chunks([*found, *known_kept], BATCH):
        with database.write() as session:
            index(session, batch)
    gone = sorted(rows - files)
    removed = [path for path in gone if spool.was_removed(path)]
    vanished = sorted(set(gone).difference(removed))
    with database.write() as session:
        _note_removed(session, removed)
        _note_vanished(session, vanished)
        # Nobody could send while the node was down: quiet time starts anew.
        now = datetime.now(UTC)
        session.execute(sa.update(Series).where(Series.state == str(State.RECEIVING)).values(last_arrival_at=now))
    done = Reconciled(len(found) - damaged, damaged, len(vanished), len(known_kept), len(removed))
    if any(getattr(done, name) for name in done.__slots__):
        _log.warning("the database and the spool differed", **{name: getattr(done, name) for name in done.__slots__})
    return done


def _by_series(session: Session, paths: Sequence[str]) -> dict[Series, list[Instance]]:
    found: dict[Series, list[Instance]] = {}
    there = sa.select(Instance).where(Instance.removed_at.is_(None))  # for which alone there is an index by path
    for chunk in _chunks(paths, BATCH):
        for instance in session.scalars(there.where(Instance.path.in_(chunk))):
            found.setdefault(instance.series, []).append(instance)
    return found


def _note_removed(session: Session, paths: Sequence[str]) -> None:
    now = datetime.now(UTC)
    for series, instances in _by_series(session, paths).items():
        for instance in instances:
            instance.removed_at = now
        session.flush()
        left = sa.select(Instance.id).where(Instance.series_id == series.id, Instance.removed_at.is_(None)).limit(1)
        series.removed_at = None if session.scalar(left) else now
        message = f"{len(instances)} instances had been removed from the disk, and the database did not know it"
        audit.record(session, Event.RETENTION, message, series=series, detail={"instances": len(instances)})


def _note_vanished(session: Session, paths: Sequence[str]) -> None:
    for series, instances in _by_series(session, paths).items():
        query = sa.select(AuditRecord.detail).where(
            AuditRecord.event == str(Event.FAILURE), AuditRecord.series_instance_uid == series.series_instance_uid
        )
        told = {path for detail in session.scalars(query) for path in detail.get("vanished", ())}
        untold = [instance for instance in instances if instance.path not in told]
        if not untold:
            continue
        detail = {
            "vanished": [instance.path for instance in untold],
            "sop_instance_uids": [instance.sop_instance_uid for instance in untold],
        }
        message = (
            f"{len(untold)} of {series.instance_count} instances have vanished from the spool, the first is "
            f"{untold[0].sop_instance_uid}: send them again"
        )
        if State(series.state) in (State.RECEIVING, State.COMPLETE):
            audit.move(session, series, State.REFUSED, Event.FAILURE, message, detail=detail)
        else:
            audit.record(session, Event.FAILURE, message, series=series, detail=detail)


def _chunks(items: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
