"""When a series is complete: it has been quiet long enough, or holds as many instances as a trusted peer counts.

A sweep looks only at what the database and the spool hold, so a restart changes nothing, and it may run as often as one
likes. What it finds malformed is refused, and the offending files are kept aside in the quarantine as well.

Only a count that a peer tells shortens the quiet time. Contiguous slices of a released association do not: they say
nothing of what is missing at the ends, and many senders open an association for each instance.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
import structlog
from pydicom import Dataset
from sqlalchemy.orm import Session

from node import audit
from node.audit import Event
from node.config import Complete, Config, CountSource
from node.dicom.facts import examine
from node.dicom.flaws import Flaw
from node.dicom.headers import read_header
from node.errors import ErrorKind, HarmonodeError, InvalidObject
from node.journey import State
from node.quiet import Quiet
from node.series import Sender, SeriesFacts
from node.store import quarantine
from node.store.durable import PRIVATE
from node.store.quarantine import Kept
from node.store.session import Database
from node.store.tables import DerivedInstance, Instance, Series

_log = structlog.get_logger(__name__)

AskCount = Callable[[CountSource, str, str], int | None]
"""(source, Study Instance UID, Series Instance UID) -> Number of Series Related Instances (0020,1209); None: unknown."""

_FLAWS_TOLD = 3


@dataclass(frozen=True, slots=True)
class _Member:
    """One instance of a series, and its file."""

    sop_instance_uid: str
    path: str  # relative to the spool


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A series that is being received, as it stood when the sweep looked."""

    id: int
    study_instance_uid: str
    series_instance_uid: str
    sender: Sender
    instance_count: int
    expected_count: int | None
    last_arrival_at: datetime


@dataclass(frozen=True, slots=True)
class _Finding:
    """What the files of a series say."""

    facts: SeriesFacts | None  # None where not every header could be read
    flaws: tuple[Flaw, ...]
    members: tuple[_Member, ...]  # Flaw.index points into it


@dataclass(slots=True)
class Memory:
    """What a sweep hands on to the next one of the same process; without it nothing is lost but time."""

    quiet: Quiet = field(default_factory=Quiet)
    looks: dict[_Waiting, _Finding] = field(default_factory=dict)  # of series as they stand
    due_in_s: float | None = None  # until the quiet time of the next series is over; None where none waits for that


def sweep(
    config: Config,
    database: Database,
    spool_root: Path,
    now: datetime | None = None,
    ask_count: AskCount | None = None,
    *,
    memory: Memory | None = None,
) -> int:
    """Move every series that is due to COMPLETE, or to REFUSED where it is malformed; returns how many moved.

    `memory` is what earlier sweeps of this process saw; without, the wall clock is trusted, and the files are looked at
    when the quiet time is over.
    """
    now = now or datetime.now(UTC)
    counter = _Counter(config.complete, ask_count)
    moved = 0
    receiving = _receiving(database)
    stand = {one.id: ((one.instance_count, one.last_arrival_at), one.last_arrival_at) for one in receiving}
    memory = memory or Memory()
    quiet_for = memory.quiet.look(stand, now)
    memory.looks = {one: memory.looks[one] for one in receiving if one in memory.looks}
    not_due: list[_Waiting] = []
    for waiting in receiving:
        quiet_s = quiet_for[waiting.id]
        if quiet_s < _due_s(config.complete, waiting):
            not_due.append(waiting)
            continue
        expected = counter.ask(waiting, quiet_s)
        if expected != waiting.expected_count:
            _note_expected(database, waiting.id, expected)
        if quiet_s < config.complete.quiet_s and expected != waiting.instance_count:
            continue
        try:
            finding = memory.looks.get(waiting) or _look(database, spool_root, waiting)
            counted = replace(waiting, expected_count=expected)
            moved += _settle(config, database, spool_root, counted, finding, quiet_s=quiet_s)
        except OSError as error:
            _log.error("a series waits: its files cannot be read", series=waiting.series_instance_uid, error=str(error))
        except sa.exc.DBAPIError:
            raise  # the database is locked, full or away, for every series alike
        except Exception:  # noqa: BLE001 - one that cannot be looked at must not stop the others
            _log.exception("a series waits: it could not be looked at", series=waiting.series_instance_uid)
    began = time.monotonic()
    _look_ahead(config.complete, database, spool_root, memory, {one: quiet_for[one.id] for one in not_due})
    remaining = [_due_s(config.complete, one) - quiet_for[one.id] for one in not_due]
    memory.due_in_s = max(min(remaining) - (time.monotonic() - began), 0.0) if remaining else None
    return moved


def _look_ahead(
    settings: Complete, database: Database, spool_root: Path, memory: Memory, quiet_for: Mapping[_Waiting, float]
) -> None:
    """Look at the files of one series that has been quiet for half of its time: it then moves as soon as that is over.

    One a sweep, so that no series that is due waits for long; it is for nothing where another instance comes.
    """
    for waiting, quiet_s in quiet_for.items():
        if waiting not in memory.looks and quiet_s >= _due_s(settings, waiting) / 2:
            with suppress(Exception):  # what is wrong is told when it is due
                memory.looks[waiting] = _look(database, spool_root, waiting)
            return


class _Counter:
    """Asks count sources, each that fails only once a sweep."""

    def __init__(self, settings: Complete, ask: AskCount | None) -> None:
        self._settings, self._ask = settings, ask
        self._silent: set[CountSource] = set()

    def ask(self, waiting: _Waiting, quiet_s: float) -> int | None:
        """How many instances the series should have, as far as anyone knows."""
        source = _source_of(self._settings, waiting.sender.calling_ae_title)
        known = waiting.expected_count
        # A count that we have not reached was told before; it is asked for again before the series is given up as it is.
        short = known is not None and waiting.instance_count < known and quiet_s < self._settings.quiet_s
        if source is None or self._ask is None or source in self._silent or short:
            return known
        try:
            told = self._ask(source, waiting.study_instance_uid, waiting.series_instance_uid)
        except Exception as error:  # noqa: BLE001 - a peer may answer anything; the quiet time decides then
            self._silent.add(source)
            what = str(error) if isinstance(error, HarmonodeError) else repr(error)
            _log.warning("a count source does not answer", ae_title=source.ae_title, error=what)
            return known
        return told or known


def _source_of(settings: Complete, calling_ae_title: str) -> CountSource | None:
    return next((one for one in settings.count_sources if one.calling_ae_title == calling_ae_title), None)


def _due_s(settings: Complete, waiting: _Waiting) -> float:
    """How long it must be quiet, for that to be enough or for a count to end the quiet time."""
    may_be_counted = (
        waiting.expected_count is not None or _source_of(settings, waiting.sender.calling_ae_title) is not None
    )
    return min(settings.quiet_s, settings.quiet_when_counted_s) if may_be_counted else settings.quiet_s


def _receiving(database: Database) -> list[_Waiting]:
    query = (
        sa.select(Series)
        .where(Series.state == str(State.RECEIVING), Series.instance_count > 0)
        .order_by(Series.last_arrival_at, Series.id)
    )
    with database.read() as session:
        return [
            _Waiting(
                id=row.id,
                study_instance_uid=row.study_instance_uid,
                series_instance_uid=row.series_instance_uid,
                sender=Sender(row.calling_ae_title, row.called_ae_title, row.address),
                instance_count=row.instance_count,
                expected_count=row.expected_count,
                last_arrival_at=row.last_arrival_at,
            )
            for row in session.scalars(query)
        ]


def _note_expected(database: Database, series_id: int, expected: int | None) -> None:
    with database.write() as session:
        session.execute(sa.update(Series).where(Series.id == series_id).values(expected_count=expected))


def _settle(
    config: Config, database: Database, spool_root: Path, waiting: _Waiting, finding: _Finding, *, quiet_s: float
) -> bool:
    """Move the series as its files say, unless an instance has come since they were looked at."""
    if _refuse_late(database, waiting):
        return True
    kept = _keep_aside(config, spool_root, waiting, finding)
    with database.write() as session:
        series = session.get_one(Series, waiting.id)
        then = (waiting.instance_count, waiting.last_arrival_at)
        if series.state != str(State.RECEIVING) or (series.instance_count, series.last_arrival_at) != then:
            return False
        malformed = [*map(str, finding.flaws), *_in_another_study(session, series)]
        facts = finding.facts and _with_expected(finding.facts, waiting)
        if facts:
            series.facts = replace(facts, malformed=tuple(malformed)).to_json()
        if not malformed:
            reason = f"complete with {_instances(waiting.instance_count)}: {_why(waiting, quiet_s)}"
            audit.move(session, series, State.COMPLETE, Event.COMPLETE, reason, detail=_detail(waiting, facts))
            return True
        _note_kept(session, series, kept)
        told = "; ".join(malformed[:_FLAWS_TOLD])
        more = f"; and {len(malformed) - _FLAWS_TOLD} more" if len(malformed) > _FLAWS_TOLD else ""
        reason = f"malformed: {told}{more}. The series is kept and not processed"
        detail = {**_detail(waiting, facts), "malformed": malformed}
        audit.move(session, series, State.REFUSED, Event.REFUSAL, reason, kind=ErrorKind.PERMANENT, detail=detail)
        return True


def _refuse_late(database: Database, waiting: _Waiting) -> bool:
    """What comes after the rest has left the disk cannot be processed alone."""
    gone = sa.select(sa.func.count()).where(Instance.series_id == waiting.id, Instance.removed_at.is_not(None))
    with database.read() as session:
        if not session.scalar(gone):
            return False
    with database.write() as session:
        series = session.get_one(Series, waiting.id)
        count = session.scalar(gone) or 0
        if not count or series.state != str(State.RECEIVING):
            return False
        reason = (
            f"{count} of {_instances(series.instance_count)} had left the disk (retention) before the last came: what "
            "is there is kept and not processed. Send the whole series again, and it is"
        )
        detail = {"removed": count, "instances": series.instance_count}
        audit.move(session, series, State.REFUSED, Event.REFUSAL, reason, kind=ErrorKind.PERMANENT, detail=detail)
    return True


def _look(database: Database, spool_root: Path, waiting: _Waiting) -> _Finding:
    with database.read() as session:
        query = sa.select(Instance.sop_instance_uid, Instance.path).where(Instance.series_id == waiting.id)
        members = tuple(_Member(uid, path) for uid, path in session.execute(query.order_by(Instance.id)))
        ours = sa.select(DerivedInstance.sop_instance_uid).join(
            Instance, Instance.sop_instance_uid == DerivedInstance.sop_instance_uid
        )
        made_here = frozenset(session.scalars(ours.where(Instance.series_id == waiting.id)))
    headers: list[Dataset] = []
    flaws: list[Flaw] = []
    for index, member in enumerate(members):
        try:
            headers.append(read_header(spool_root / member.path))
        except InvalidObject as error:
            flaws.append(Flaw(index, error.reason, member.sop_instance_uid))
        except FileNotFoundError:
            flaws.append(Flaw(index, "its file is gone from the spool", member.sop_instance_uid))
    if flaws:
        return _Finding(None, tuple(flaws), members)
    try:
        examined = examine(
            headers, waiting.sender.calling_ae_title, waiting.sender.called_ae_title, made_here.__contains__
        )
    except Exception as error:  # noqa: BLE001 - a series that we cannot make sense of must not stop the others
        _log.exception("a series could not be examined", series=waiting.series_instance_uid)
        reason = f"the headers of its series cannot be made sense of: {type(error).__name__}, see the log"
        return _Finding(None, (Flaw(0, reason, members[0].sop_instance_uid),), members)
    return _Finding(examined.facts, examined.flaws, members)


def _with_expected(facts: SeriesFacts, waiting: _Waiting) -> SeriesFacts:
    """A series that has fewer instances than were counted is never a candidate."""
    expected = waiting.expected_count
    if expected is None or waiting.instance_count >= expected:
        return facts
    reason = f"incomplete: {waiting.instance_count} of {expected} instances came"
    return replace(facts, never=(*facts.never, reason))


def _in_another_study(session: Session, series: Series) -> Sequence[str]:
    """One Series Instance UID in two studies: one of them is another patient's, or mislabelled."""
    query = sa.select(Series.study_instance_uid).where(
        Series.series_instance_uid == series.series_instance_uid, Series.id != series.id
    )
    return [
        f"Series Instance UID {series.series_instance_uid} came in study {series.study_instance_uid} and in study {other}"
        for other in session.scalars(query)
    ]


def _keep_aside(config: Config, spool_root: Path, waiting: _Waiting, finding: _Finding) -> list[Kept]:
    """The offending files into the quarantine too, once each; the spool keeps its own."""
    folder = quarantine.Quarantine(config.quarantine_dir)
    reasons: dict[int, list[str]] = {}
    for flaw in finding.flaws:
        reasons.setdefault(flaw.index, []).append(flaw.reason)
    kept = []
    for index, of_it in reasons.items():
        member = finding.members[index]
        if (spool_root / member.path).exists():
            kept.append(
                folder.keep_aside(
                    _second_name(spool_root / member.path, config.quarantine_dir),
                    "; ".join(of_it),
                    waiting.sender,
                    study_instance_uid=waiting.study_instance_uid,
                    series_instance_uid=waiting.series_instance_uid,
                    sop_instance_uid=member.sop_instance_uid,
                )
            )
    return kept


def _second_name(path: Path, folder: Path) -> Path:
    """Another name of the file, for the quarantine to move; a copy where it lies on another disk."""
    folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    second = folder / f"{path.stem}.part"
    second.unlink(missing_ok=True)  # left by a sweep that was killed
    try:
        os.link(path, second)
    except OSError:
        shutil.copyfile(path, second)
    return second


def _note_kept(session: Session, series: Series, kept: Sequence[Kept]) -> None:
    for one in kept:
        if not quarantine.note(session, one):
            continue
        message = f"instance {one.sop_instance_uid} kept aside: {one.reason}"
        detail = {"quarantine": one.path, "sop_instance_uid": one.sop_instance_uid}
        audit.record(session, Event.QUARANTINE, message, series=series, detail=detail)


def _why(waiting: _Waiting, quiet_s: float) -> str:
    expected = waiting.expected_count
    if expected == waiting.instance_count:
        return "as many as its sender's archive counts"
    counted = "" if expected is None else f", though {expected} were counted"
    return f"quiet for {quiet_s:.0f} s{counted}"


def _detail(waiting: _Waiting, facts: SeriesFacts | None) -> dict[str, object]:
    never = list(facts.never) if facts else []
    return {"instances": waiting.instance_count, "expected": waiting.expected_count, "never": never}


def _instances(count: int) -> str:
    return "1 instance" if count == 1 else f"{count} instances"
