"""The derive step, and what the derived series holds by now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from node.audit import Event
from node.dicom.headers import as_read
from node.dicom.uids import derived_instance_uid, derived_series_uid
from node.dicom.values import uid_of
from node.errors import PermanentError
from node.journey import State
from node.plugin import Measurement, Method
from node.store.tables import Delivery, DerivedInstance, Instance, Job, Series, StructuredReport
from node.workflow.compute import harmonized_volume
from node.workflow.hold import Hold
from node.workflow.work import DerivedFile, Work, WrittenReport

log = structlog.get_logger(__name__)


def series_uid(job: Job, series: Series) -> str:
    """Series Instance UID (0020,000E) of the derived series, known once the method is."""
    method = Method.from_json(job.method or {})
    return derived_series_uid(series.series_instance_uid, method.name, method.version, method.fingerprint)


def made(session: Session, job: Job, series: Series) -> list[DerivedInstance]:
    """What the derived series holds, over all rounds; not what another version of the method made before."""
    method = Method.from_json(job.method or {})
    rows = session.execute(
        sa.select(DerivedInstance, Instance.sop_instance_uid)
        .join(Job, Job.id == DerivedInstance.job_id)
        .join(Instance, Instance.id == DerivedInstance.source_instance_id)
        .where(Job.series_id == series.id)
        .order_by(DerivedInstance.id)
    ).all()
    return [
        derived
        for derived, source_uid in rows
        if derived.sop_instance_uid == derived_instance_uid(source_uid, method.name, method.version, method.fingerprint)
    ]


def lacking(session: Session, job: Job, series: Series) -> dict[str, int]:
    """Sources up to this round that the derived series does not hold yet: SOP Instance UID -> row.

    As a rule those of this round. More, where an earlier round failed or was made by another version of the method.
    """
    done = {one.source_instance_id for one in made(session, job, series)}
    sources = session.execute(
        sa.select(Instance.sop_instance_uid, Instance.id).where(
            Instance.series_id == series.id, Instance.round <= job.round
        )
    )
    return {uid: row for uid, row in sources if row not in done}


def derive(work: Work) -> None:
    """Write the instances that are lacking; they are known here before anyone can send them back to us."""
    context = work.context
    with work.look() as held:
        method = Method.from_json(held.job.method or {})
        measurement = Measurement.from_json(held.job.measurement or {})
        sources = lacking(held.session, held.job, held.series)
        made_at = _made_at(held.session, held.job, held.series)
    derived: Sequence[DerivedFile] = ()
    if sources:
        harmonized = harmonized_volume(work)
        only = None if len(sources) == len(work.loaded.paths) else set(sources)
        derived = context.steps.derive(
            work.loaded, harmonized, method, measurement, context.config.derive, work.folder, only, made_at
        )
    if {one.source_sop_instance_uid for one in derived} != set(sources):
        raise PermanentError(f"{len(sources)} instances were to be derived, and {len(derived)} were: none is sent")
    report = _report(work, method, measurement) if derived else None
    with work.transaction() as held:
        _require_new(held.session, [one.sop_instance_uid for one in derived])
        derived_uid = series_uid(held.job, held.series)
        if held.job.derived_series_uid not in {None, derived_uid}:
            # Made anew by another version of the method: what the destinations were sent was another series.
            held.session.execute(sa.delete(Delivery).where(Delivery.job_id == held.job.id))
        held.job.derived_series_uid = derived_uid
        rows = [
            {
                "job_id": held.job.id,
                "source_instance_id": sources[one.source_sop_instance_uid],
                "sop_instance_uid": one.sop_instance_uid,
                "path": f"{held.job.id}/{one.path.name}",
                "sha256": one.sha256,
            }
            for one in derived
        ]
        if rows:
            held.session.execute(sa.insert(DerivedInstance), rows)
        if report is not None:
            _keep(held, report)
        held.move(
            State.SENDING,
            Event.DERIVATION,
            f"{len(derived)} instances of the derived series {derived_uid} were made",
            {"derived_series_uid": derived_uid, "sha256": {one.sop_instance_uid: one.sha256 for one in derived}},
        )
    work.harmonized = None  # as large as the decoded series, and its content is derived now


def _report(work: Work, method: Method, measurement: Measurement) -> WrittenReport | None:
    """The figures as a Structured Report. One that cannot be made is told of, and keeps no image from its way."""
    write = work.context.steps.report
    if write is None:
        return None
    with work.look() as held:
        report, verdict = held.job.report or {}, held.job.verdict or {}
        number, made_at = held.job.round, held.job.started_at or datetime.now(UTC)
    sources = [uid_of(source) or "" for source in work.loaded.sources]
    derived = [derived_instance_uid(uid, method.name, method.version, method.fingerprint) for uid in sources]
    first, settings = as_read(work.loaded.sources[0]), work.context.config.derive
    try:
        return write(
            first, sources, derived, measurement, report, verdict, method, settings, work.folder, number, made_at
        )
    except Exception as error:
        log.exception("the structured report could not be made", job=work.job_id)
        with work.transaction() as held:
            said = f"no structured report could be made: {type(error).__name__}: {error}; the series goes on without"
            held.record(Event.DERIVATION, said, {"report": None})
        return None


def _keep(held: Hold, report: WrittenReport) -> None:
    held.session.execute(sa.delete(StructuredReport).where(StructuredReport.job_id == held.job.id))
    held.session.add(
        StructuredReport(
            job_id=held.job.id,
            series_instance_uid=report.series_instance_uid,
            sop_instance_uid=report.sop_instance_uid,
            path=f"{held.job.id}/{report.path.name}",
            sha256=report.sha256,
        )
    )


def _require_new(session: Session, sop_instance_uids: Sequence[str]) -> None:
    """A source that was received in two series or studies gives the same derived UID, which must not be used twice."""
    known = session.execute(
        sa.select(DerivedInstance.sop_instance_uid, Series.series_instance_uid, Series.study_instance_uid)
        .join(Job, Job.id == DerivedInstance.job_id)
        .join(Series, Series.id == Job.series_id)
        .where(DerivedInstance.sop_instance_uid.in_(sop_instance_uids))
        .limit(1)
    ).first()
    if known:
        raise PermanentError(
            f"the same source instances were received before, as series {known[1]} of study {known[2]}, and harmonized "
            f"there: SOP Instance UID {known[0]} would exist twice; nothing is sent of this series"
        )


def _made_at(session: Session, job: Job, series: Series) -> datetime:
    """When the derived series was first made: its Series Date and Time must be one in all rounds and on every retry."""
    first = session.scalar(
        sa.select(Job.started_at)
        .where(Job.series_id == series.id, Job.derived_series_uid == series_uid(job, series))
        .order_by(Job.round)
        .limit(1)
    )
    return first or job.started_at or datetime.now(UTC)
