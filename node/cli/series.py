"""`harmonode series`: what came, where it stands, and why."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa
import typer
from rich.markup import escape
from rich.table import Table
from sqlalchemy.orm import Session

from node.cli.context import JSON, actor, database, out, print_json, uid_column
from node.errors import PermanentError
from node.journey import ACTIVE, State
from node.queue import Queue
from node.store.pages import series_page
from node.store.tables import AuditRecord, Delivery, Job, Rule, Series
from node.workflow import cancel, retry, start_now

series_app = typer.Typer(no_args_is_help=True, help="The series on their journey through the node.")

_STYLE = {State.DONE: "green", State.FAILED: "red", State.REFUSED: "red", State.WAITING: "yellow", State.PASSED: "dim"}

UID = Annotated[
    str,
    typer.Argument(
        help="The Series Instance UID, or its last characters where they suffice. "
        "STUDY_UID/SERIES_UID where two studies have it."
    ),
]


def register(app: typer.Typer) -> None:
    app.add_typer(series_app, name="series")


@series_app.command("list", epilog="Example: harmonode series list --state waiting")
def list_command(  # noqa: PLR0917 - one argument an option
    ctx: typer.Context,
    state: Annotated[list[State] | None, typer.Option(help="Only series in this state, or in one of several.")] = None,
    rule: Annotated[str | None, typer.Option(help="Only series that this rule selected.", metavar="NAME")] = None,
    sender: Annotated[str | None, typer.Option("--from", help="Only from this AE title.", metavar="TITLE")] = None,
    uid: Annotated[
        str, typer.Option(help="Only with this part of a Study or Series Instance UID.", metavar="PART")
    ] = "",
    limit: Annotated[int, typer.Option(help="The newest so many.", min=1)] = 50,
    as_json: JSON = False,
) -> None:
    """The newest series, newest first."""
    with database(ctx) as opened, opened.read() as session:
        page = series_page(session, states=state or (), rule=rule, calling_ae_title=sender, uid=uid, limit=limit)
        rows = [summary(session, series) for series in page.rows]
    if as_json:
        print_json(rows)
        return
    table = Table(uid_column(), "state", "slices", "progress", "from", "rule", "why", box=None, pad_edge=False)
    for row in rows:
        style = _STYLE.get(State(row["state"]), "cyan")
        table.add_row(
            row["series_instance_uid"], f"[{style}]{row['state']}[/]",
            f"{row['instance_count']}{' (removed)' if row['removed_at'] else ''}",
            row["progress"] or "", escape(row["calling_ae_title"]), row["rule_name"] or "", escape(row["reason"] or ""),
        )  # fmt: skip
    out.print(table)


@series_app.command("show", epilog="Example: harmonode series show 1.3.6.1.4.1.14519.5.2.1.6655.2359.3")
def show_command(ctx: typer.Context, uid: UID, as_json: JSON = False) -> None:
    """One series: its journey, its jobs, its deliveries and its audit records."""
    with database(ctx) as opened, opened.read() as session:
        series = find(session, uid)
        shown = summary(session, series)
        shown["journey"] = [
            {"at": row.at.isoformat(), "event": row.event, "actor": row.actor, "message": row.message}
            for row in session.scalars(
                sa.select(AuditRecord)
                .where(AuditRecord.series_instance_uid == series.series_instance_uid)
                .order_by(AuditRecord.seq)
            )
        ]
        shown["jobs"] = [_job(session, job) for job in series.jobs]
        shown["explanation"] = series.explanation
    if as_json:
        print_json(shown)
        return
    for name in (
        "series_instance_uid",
        "study_instance_uid",
        "state",
        "reason",
        "instance_count",
        "rule_name",
        "progress",
    ):
        out.print(f"[bold]{name.replace('_', ' ')}[/]: {escape(str(shown[name])) if shown[name] is not None else '-'}")
    if shown["removed_at"]:
        out.print(f"[bold]files[/]: left the disk at {shown['removed_at'][:19].replace('T', ' ')} (UTC)")
    for job in shown["jobs"]:
        out.print(
            f"[bold]job {job['round']}[/]: by rule {job['rule']}{job['rule_since']}, plugin {job['plugin']}, priority "
            f"{job['priority']}, attempt {job['attempt']}, derived series {job['derived_series_uid'] or '-'}"
        )
        if job["starts_at"]:
            out.print(f"  not before {job['starts_at'][:16].replace('T', ' ')} UTC")
        for delivery in job["deliveries"]:
            out.print(
                f"  {delivery['destination']}: sent {delivery['sent_count']}, confirmed {delivery['confirmed_count']}"
            )
    table = Table("time (UTC)", "event", "actor", "what happened", box=None, pad_edge=False)
    for step in shown["journey"]:
        table.add_row(step["at"][:19].replace("T", " "), step["event"], step["actor"], escape(step["message"]))
    out.print(table)


@series_app.command("retry", epilog="Example: harmonode series retry 1.3.6.1.4.1.14519.5.2.1.6655.2359.3")
def retry_command(ctx: typer.Context, uid: UID) -> None:
    """Try again a series that waits, failed, was refused, passed over or cancelled."""
    with database(ctx) as opened:
        queue = Queue(opened)
        try:
            with opened.write() as session:
                series = find(session, uid)
                retry(session, queue, series, actor())
            out.print(f"Series {series.series_instance_uid} is {series.state}: {escape(series.reason or '')}")
        finally:
            queue.close()


@series_app.command("start-now", epilog="Example: harmonode series start-now 1.3.6.1.4.1.14519.5.2.1.6655.2359.3")
def start_now_command(ctx: typer.Context, uid: UID) -> None:
    """Start a queued series as soon as a worker is free: before all others, and outside the hours of its rule."""
    with database(ctx) as opened:
        queue = Queue(opened)
        try:
            with opened.write() as session:
                series = find(session, uid)
                start_now(session, queue, series, actor())
            out.print(f"Series {series.series_instance_uid} starts as soon as a worker is free.")
        finally:
            queue.close()


@series_app.command("cancel", epilog="Example: harmonode series cancel 1.3.6.1.4.1.14519.5.2.1.6655.2359.3")
def cancel_command(ctx: typer.Context, uid: UID) -> None:
    """Stop a series where it stands. Nothing received is deleted; `series retry` takes it up again."""
    with database(ctx) as opened:
        queue = Queue(opened)
        try:
            with opened.write() as session:
                series = find(session, uid)
                job = cancel(session, series, actor())
            if job:
                queue.cancel(job)
            out.print(f"Series {series.series_instance_uid} is cancelled; its instances are kept.")
        finally:
            queue.close()


def find(session: Session, uid: str) -> Series:
    """The series of that UID, or the only one whose UID ends so; `study/series` where two studies have it.

    Raises:
        PermanentError: there is none, or more than one.
    """
    study_uid, _, series_uid = uid.rpartition("/")
    query = sa.select(Series).where(Series.study_instance_uid == study_uid) if study_uid else sa.select(Series)
    ending = sa.select(Series.id).where(Series.series_instance_uid.endswith(series_uid, autoescape=True))
    found = (
        session.scalars(query.where(Series.series_instance_uid == series_uid)).all()
        or session.scalars(query.where(Series.id.in_(ending)).limit(2)).all()
    )
    if not found:
        raise PermanentError(f"no series {uid} is known; `harmonode series list` shows what is")
    if len({series.series_instance_uid for series in found}) > 1:
        raise PermanentError(f"more than one series answers to {uid}: give more of the UID")
    if len(found) > 1:
        choices = " or ".join(f"{series.study_instance_uid}/{series.series_instance_uid}" for series in found)
        raise PermanentError(f"{len(found)} studies have the series {uid}: give {choices}")
    return found[0]


def summary(session: Session, series: Series) -> dict[str, Any]:
    """One series in a line."""
    job = session.scalars(sa.select(Job).where(Job.series_id == series.id).order_by(Job.round.desc()).limit(1)).first()
    working = job is not None and State(series.state) in ACTIVE and job.progress_total
    return {
        "series_instance_uid": series.series_instance_uid,
        "study_instance_uid": series.study_instance_uid,
        "state": series.state,
        "state_since": series.state_since.isoformat(),
        "reason": series.reason,
        "error_kind": series.error_kind,
        "instance_count": series.instance_count,
        "removed_at": series.removed_at.isoformat() if series.removed_at else None,
        "calling_ae_title": series.calling_ae_title,
        "rule_name": series.rule_name,
        "progress": f"{job.progress_done} of {job.progress_total}" if job and working else None,
        "derived_series_uid": job.derived_series_uid if job else None,
    }


def _rule_since(session: Session, job: Job) -> str:
    """What became of the rule since it selected the job, which keeps to the version of then."""
    newest = session.scalar(sa.select(Rule).where(Rule.name == job.rule_name).order_by(Rule.version.desc()).limit(1))
    if newest is None or newest.version == job.rule_version:
        return ""
    return " (removed since)" if newest.removed else f" (version {newest.version} is in force since)"


def _job(session: Session, job: Job) -> dict[str, Any]:
    deliveries = session.scalars(sa.select(Delivery).where(Delivery.job_id == job.id)).all()
    return {
        "id": job.id,
        "round": job.round,
        "rule": f"{job.rule_name} version {job.rule_version}",
        "rule_since": _rule_since(session, job),
        "priority": job.priority,
        "starts_at": job.starts_at.isoformat() if job.starts_at else None,
        "late": job.late,
        "plugin": job.plugin,
        "parameters": job.parameters,
        "attempt": job.attempt,
        "derived_series_uid": job.derived_series_uid,
        "measurement": job.measurement,
        "verdict": job.verdict,
        "report": job.report,
        "deliveries": [
            {"destination": d.destination, "sent_count": d.sent_count, "confirmed_count": d.confirmed_count}
            for d in deliveries
        ],
    }
