"""A study's series, one after the other: what the source has, what is missing here, what came."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import sqlalchemy as sa
import structlog

from node import audit
from node.audit import Event
from node.config import Config, DicomwebSource, DimseSource, OrthancSource
from node.dicom.elements import Identity
from node.dicom.part10 import FileMeta
from node.dicom.retrieve import Sink
from node.dicom.uids import is_valid
from node.errors import HarmonodeError, OperatorError, PermanentError, TransientError
from node.pull import dicomweb, dimse, orthanc
from node.pull.route import Offered, Route
from node.receive import Indexer, Intake, Outcome, Status
from node.receive.intake import Readable
from node.series import Sender
from node.store.incoming import Incoming, SpoolFull
from node.store.session import Database
from node.store.spool import Spool
from node.store.tables import Series

_log = structlog.get_logger(__name__)

_AGAIN = "run the same command again: it asks only for what is missing"
_COUNT_EVERY_S = 1.0
_COUNT_WAIT_S = 10.0  # how long another process may take to index what came

Progress = Callable[[str, int, int], None]
"""(Series Instance UID, instances here, instances in all)."""


@dataclass(frozen=True, slots=True)
class Missing:
    """An instance that the source has and that is not here."""

    sop_instance_uid: str
    reason: str


@dataclass(frozen=True, slots=True)
class Pulled:
    """One series after a pull."""

    series_instance_uid: str
    count: int  # instances, as the source lists them
    here_before: int
    came: int
    missing: tuple[Missing, ...] = ()
    left: str = ""  # why it was not asked for at all

    def __str__(self) -> str:
        if self.left:
            return f"Series {self.series_instance_uid} is left where it is: {self.left}."
        told = f"Series {self.series_instance_uid}: {self.came} of {self.count} instances came"
        before = f", {self.here_before} were here before" if self.here_before else ""
        if not self.missing:
            return f"{told}{before}."
        first = self.missing[0]
        return (
            f"{told}{before}; {len(self.missing)} are missing, the first is {first.sop_instance_uid}: {first.reason}; "
            f"{_AGAIN}."
        )


def pull(
    config: Config,
    database: Database,
    source_name: str,
    study_instance_uid: str,
    series_instance_uid: str = "",
    *,
    actor: str = "node",
    progress: Progress = lambda *_: None,
) -> Iterator[Pulled]:
    """Bring a study, or one series of it, into the spool; what became of each series, as soon as it is known.

    Raises:
        ConfigError: there is no such source.
        OperatorError: the source does not have the study or series, does not know us, or the spool is full.
        TransientError: the source does not answer. What had come by then is kept, and not asked for again.
    """
    source = config.source(source_name)
    for uid in filter(None, (study_instance_uid, series_instance_uid)):
        if not is_valid(uid):
            raise PermanentError(f"{uid!r} is not a UID: nothing was asked")
    spool = Spool(config.spool_dir, config.receive.disk_reserve_mb << 20)
    indexer = Indexer(database)
    indexer.start()
    work = _Pull(database, spool, Intake(spool, indexer.put), progress)
    try:
        with _open(source, config, database) as route:
            for offered in _offered(route, study_instance_uid, series_instance_uid):
                if offered.modality not in ("", "CT") and not series_instance_uid:
                    left = f"it is {offered.modality}, and the node processes CT"
                    yield Pulled(offered.series_instance_uid, offered.count or 0, 0, 0, left=left)
                    continue
                done = work.series(route, study_instance_uid, offered)
                _witness(database, study_instance_uid, done, source_name, actor)
                yield done
    except HarmonodeError as error:
        kind = _ERRORS.get(type(error), PermanentError)
        raise kind(f"source {source_name!r}: {work.standing()}{error}; {_AGAIN}") from error
    finally:
        indexer.stop()
        work.count_at_the_end()


def _open(
    source: DimseSource | DicomwebSource | OrthancSource, config: Config, database: Database
) -> AbstractContextManager[Route]:
    if isinstance(source, DimseSource):
        return dimse.open_route(source, config, database)
    if isinstance(source, DicomwebSource):
        return dicomweb.open_route(source, config.receive.ae_title)
    return orthanc.open_route(source, config.receive.ae_title)


_ERRORS: dict[type[HarmonodeError], type[HarmonodeError]] = {
    TransientError: TransientError,
    OperatorError: OperatorError,
}


def _offered(route: Route, study: str, series: str) -> Sequence[Offered]:
    every = route.series(study)
    if not every:
        raise OperatorError(f"it has no study {study}, or does not show it to us")
    wanted = [one for one in every if series in ("", one.series_instance_uid)]
    if not wanted:
        known = ", ".join(one.series_instance_uid for one in every)
        raise OperatorError(f"its study {study} has no series {series}; there are: {known}")
    return wanted


class _Pull:
    """The series that is being pulled, and the hands that take its objects."""

    def __init__(self, database: Database, spool: Spool, intake: Intake, progress: Progress) -> None:
        self._database, self._spool, self._intake, self._progress = database, spool, intake, progress
        self._counts: dict[tuple[str, str], int] = {}  # what the source counts, and the database does not know yet
        self._counted_at = 0.0
        self._refused: dict[str, str] = {}
        self._now: tuple[str, str, Sequence[str]] = ("", "", ())
        self._here = 0

    def series(self, route: Route, study: str, offered: Offered) -> Pulled:
        """Fetch what is missing of one series."""
        uid = offered.series_instance_uid
        listed = list(dict.fromkeys(route.instances(study, uid)))
        if offered.count is not None and offered.count != len(listed):
            _log.warning(
                "the source counts otherwise than it lists", series=uid, counts=offered.count, lists=len(listed)
            )
        missing = self._missing(study, uid, listed)
        before = self._here = len(listed) - len(missing)
        self._now, self._refused = (study, uid, listed), {}
        self._counts[study, uid] = max(offered.count or 0, len(listed))
        self._progress(uid, before, len(listed))
        if missing:
            route.fetch(study, uid, missing, whole=before == 0, hands=self)
        left = self._missing(study, uid, listed)
        reason = "the source lists it and did not send it"
        self._count()
        return Pulled(
            uid,
            len(listed),
            before,
            len(missing) - len(left),
            tuple(Missing(one, self._refused.get(one, reason)) for one in left),
        )

    def file(self, file: Readable, sender: Sender) -> Outcome:
        """As route.Hands."""
        outcome = self._intake.accept(file, sender)
        self._note(outcome)
        return outcome

    def open(self, meta: FileMeta) -> Sink:
        """As route.Hands."""
        try:
            return _Object(self._intake, self._intake.open(meta), self._note)
        except SpoolFull as error:
            self._note(self._intake.full(error, meta))
            raise

    def arrived(self) -> None:
        """As route.Hands."""
        study, uid, listed = self._now
        self._here = len(listed) - len(self._missing(study, uid, listed))
        self._tell()

    def standing(self) -> str:
        """What of the series that is being pulled is still missing, as the beginning of a message."""
        study, uid, listed = self._now
        left = self._missing(study, uid, listed)
        return (
            f"{len(left)} of {len(listed)} instances of series {uid} are missing, the first is {left[0]}: "
            if left
            else ""
        )

    def count_at_the_end(self) -> None:
        """Tell the database the last counts, once it has indexed what came."""
        until = time.monotonic() + _COUNT_WAIT_S
        self._count()
        while self._counts and time.monotonic() < until:
            time.sleep(0.1)
            self._count()
        for study, uid in self._counts:
            _log.warning("nothing of a series was indexed; its quiet time will decide", study=study, series=uid)

    def _note(self, outcome: Outcome) -> None:
        uid = outcome.identity.sop_instance_uid if outcome.identity else ""
        if outcome.status is Status.OUT_OF_RESOURCES:
            raise OperatorError(f"instance {uid or 'of unknown UID'}: {outcome.comment}; make room")
        if outcome.status is Status.SUCCESS:
            self._here += 1
        else:
            self._refused[uid] = f"it was refused and kept aside: {outcome.comment}"
        self._tell()

    def _tell(self) -> None:
        _, uid, listed = self._now
        self._progress(uid, self._here, len(listed))
        if time.monotonic() - self._counted_at >= _COUNT_EVERY_S:
            self._count()

    def _missing(self, study: str, series: str, listed: Sequence[str]) -> list[str]:
        return [uid for uid in listed if not self._spool.path_of(Identity("", uid, study, series)).exists()]

    def _count(self) -> None:
        """Tell the database how many instances the series should have, as soon as it knows the series."""
        self._counted_at = time.monotonic()
        for (study, uid), count in list(self._counts.items()):
            of_it = (Series.study_instance_uid == study, Series.series_instance_uid == uid)
            try:
                with self._database.write() as session:
                    done = session.execute(sa.update(Series).where(*of_it).values(expected_count=count))
            except sa.exc.OperationalError as error:
                _log.warning("the database takes no count; it is tried again", series=uid, error=str(error.orig))
                return
            if done.rowcount:  # type: ignore[attr-defined]
                del self._counts[study, uid]


class _Object:
    """One object on its way into the spool, as retrieve.Sink."""

    def __init__(self, intake: Intake, incoming: Incoming, note: Callable[[Outcome], None]) -> None:
        self._intake, self._incoming, self._note = intake, incoming, note
        self.write, self.discard = incoming.write, incoming.discard

    def finish(self) -> int:
        outcome = self._intake.finish(self._incoming)
        self._note(outcome)
        return int(outcome.status)


def _witness(database: Database, study: str, done: Pulled, source: str, actor: str) -> None:
    named = Series(study_instance_uid=study, series_instance_uid=done.series_instance_uid)  # its row may come later
    detail = {
        "source": source,
        "instances": done.count,
        "came": done.came,
        "here_before": done.here_before,
        "missing": [one.sop_instance_uid for one in done.missing],
    }
    with database.write() as session:
        audit.record(session, Event.PULL, f"from {source!r}: {done}", actor=actor, series=named, detail=detail)
