"""Select: each complete series meets the rules, and leaves with a job, or with the reason why not.

A decision, its audit record, the job and its place in the queue are one transaction: all of it is there, or none.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Protocol
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.orm import Session

from node import plugin
from node.audit import Event, move
from node.config import Config
from node.errors import ErrorKind, OperatorError, RuleError
from node.journey import State
from node.rules.load import loaded, stored
from node.rules.match import InForce, decide
from node.rules.when import opens_later, waiting
from node.series import SeriesFacts
from node.store.jobs import delivered
from node.store.session import Database
from node.store.tables import DerivedInstance, Instance, Job, Series


class Enqueues(Protocol):
    """A queue of jobs that takes part in the caller's transaction."""

    def enqueue(self, session: Session, job: Job) -> None: ...


def sweep(config: Config, database: Database, queue: Enqueues) -> int:
    """Decide on every complete series; returns on how many it was decided.

    Each series is a transaction of its own. A series for which a rule or the configuration cannot be followed waits for
    a person (`harmonode series retry`), with the reason. Whatever else goes wrong with one is raised once the others
    are decided on; it stays complete, for the next sweep.
    """
    with database.read() as session:
        waiting = session.scalars(
            sa.select(Series.id).where(Series.state == str(State.COMPLETE)).order_by(Series.last_arrival_at, Series.id)
        ).all()
    done, failed = 0, None
    for series_id in waiting:
        try:
            done += _select(config, database, queue, series_id)
        except sa.exc.DBAPIError:
            raise  # the database is locked, full or away, for every series alike
        except Exception as error:  # noqa: BLE001 - one that cannot be decided on must not stop the others
            failed = failed or error
    if failed is not None:
        raise failed
    return done


def _select(config: Config, database: Database, queue: Enqueues, series_id: int) -> bool:
    with database.write() as session:
        series = session.get_one(Series, series_id)
        if series.state != State.COMPLETE:  # an instance came, or another node was faster
            return False
        try:
            _decide(session, config, queue, series)
        except OperatorError as error:
            move(
                session,
                series,
                State.WAITING,
                Event.FAILURE,
                f"{error}; mend that, then `harmonode series retry {series.series_instance_uid}`",
                kind=ErrorKind.OPERATOR,
                detail={"explanation": series.explanation},
            )
        return True


def _decide(session: Session, config: Config, queue: Enqueues, series: Series) -> None:
    """
    Raises:
        OperatorError: what was decided cannot be followed; nothing but the explanation is written yet.
    """
    if series.facts is None:
        raise OperatorError(f"series {series.series_instance_uid} is complete, and nothing is known of it")
    facts = SeriesFacts.from_json(series.facts)
    if (more := _instances(session, series) - facts.number_of_slices) > 0:
        said = f"{more} more instances came since the series was looked at: it is looked at again"
        move(session, series, State.RECEIVING, Event.ARRIVAL, said)
        return
    earlier = _earlier(session, series)
    if earlier is not None and not facts.never:
        _take_late(session, config, queue, series, earlier)
        return
    rules = [] if facts.never else _enabled(session)
    decision = decide(rules, facts)
    series.explanation, series.rule_name = decision.to_json(), decision.chosen
    if decision.chosen is None:
        detail = {"explanation": series.explanation}
        move(session, series, State.PASSED, Event.DECISION, decision.reason, detail=detail)
        return
    chosen = next(entry for entry in rules if entry.rule.name == decision.chosen)
    _queue(session, config, queue, series, _first_round(chosen, config), decision.reason)


def _instances(session: Session, series: Series) -> int:
    count = sa.select(sa.func.count()).select_from(Instance).where(Instance.series_id == series.id)
    return session.scalar(count) or 0


def _enabled(session: Session) -> list[InForce]:
    try:
        return [loaded(row) for row in stored(session) if row.enabled]
    except RuleError as error:
        raise OperatorError(f"no series can be selected while {error}") from error


def _earlier(session: Session, series: Series) -> Job | None:
    """The last job that derived instances of this series: late instances follow it, whatever the rules say by now."""
    return session.scalar(
        sa.select(Job)
        .where(Job.series_id == series.id, sa.exists().where(DerivedInstance.job_id == Job.id))
        .order_by(Job.round.desc())
        .limit(1)
    )


def _take_late(session: Session, config: Config, queue: Enqueues, series: Series, earlier: Job) -> None:
    """What the rule of the earlier round, in the version of then, says of late instances."""
    late = session.scalar(
        sa.select(sa.func.count()).where(Instance.series_id == series.id, Instance.round.is_(None))
    )  # fmt: skip
    if not late or earlier.late == "harmonize":
        _queue(session, config, queue, series, _next_round(earlier), _late(earlier))
        return
    uid, rule = series.series_instance_uid, f"rule {earlier.rule_name} (version {earlier.rule_version})"
    count = "1 late instance" if late == 1 else f"{late} late instances"
    detail = {"late": late, "policy": earlier.late, "round": earlier.round, "rule": earlier.rule_name}
    if earlier.late == "wait":
        said = (
            f"{count} came after the derived series {earlier.derived_series_uid} was made, and {rule} leaves it to a "
            f"person: `harmonode series retry {uid}` adds to it what is late, `harmonode series cancel {uid}` leaves it"
        )
        move(session, series, State.WAITING, Event.DECISION, said, kind=ErrorKind.OPERATOR, detail=detail)
        return
    said = f"{count} left out of the derived series {earlier.derived_series_uid}, as {rule} says; nothing is deleted"
    if delivered(session, earlier):
        move(session, series, State.DONE, Event.DECISION, said, detail=detail)
    else:
        said += f". Round {earlier.round} is not delivered: `harmonode series retry {uid}` takes it up"
        move(session, series, State.WAITING, Event.DECISION, said, kind=ErrorKind.OPERATOR, detail=detail)


def _first_round(chosen: InForce, config: Config) -> Job:
    rule = chosen.rule
    return Job(
        rule_name=rule.name,
        rule_version=chosen.version,
        plugin=rule.plugin,
        parameters=rule.parameters,
        destinations=list(rule.destinations) or [destination.name for destination in config.destinations],
        priority=rule.priority,
        window=rule.when.model_dump(mode="json") if rule.when else None,
        late=rule.late,
    )


def _next_round(earlier: Job) -> Job:
    """Late instances belong into the series that was derived already: all is done as it was then."""
    return Job(
        rule_name=earlier.rule_name,
        rule_version=earlier.rule_version,
        plugin=earlier.plugin,
        parameters=earlier.parameters,
        destinations=earlier.destinations,
        priority=earlier.priority,
        window=earlier.window,
        late=earlier.late,
        measurement=earlier.measurement,
        method=earlier.method,
    )


def _late(earlier: Job) -> str:
    return (
        f"late instances go where round {earlier.round} went: by rule {earlier.rule_name} "
        f"(version {earlier.rule_version}), with the measurement made then"
    )


def _queue(  # noqa: PLR0917
    session: Session, config: Config, queue: Enqueues, series: Series, job: Job, reason: str
) -> None:
    """
    Raises:
        OperatorError: the job could not be done; nothing is written.
    """
    _possible(job, [destination.name for destination in config.destinations], plugin.available())
    last = session.scalar(sa.select(sa.func.max(Job.round)).where(Job.series_id == series.id)) or 0
    job.id, job.series_id, job.round, job.created_at = uuid4().hex, series.id, last + 1, datetime.now(UTC)
    job.starts_at = opens_later(job.window, job.created_at)
    if job.starts_at is not None:
        reason = f"{waiting(job.window, job.starts_at, series.series_instance_uid)}. {reason}"
    session.add(job)
    session.execute(
        sa.update(Instance).where(Instance.series_id == series.id, Instance.round.is_(None)).values(round=job.round)
    )
    detail = {
        "job": job.id,
        "round": job.round,
        "rule": job.rule_name,
        "rule_version": job.rule_version,
        "plugin": job.plugin,
        "parameters": job.parameters,
        "destinations": job.destinations,
        "starts_at": job.starts_at.isoformat() if job.starts_at else None,
        "explanation": series.explanation,
    }
    move(session, series, State.QUEUED, Event.DECISION, reason, detail=detail)
    queue.enqueue(session, job)


def _possible(job: Job, destinations: Collection[str], plugins: Collection[str]) -> None:
    """Whether the job can be done with what is configured and installed; the worker checks the parameters."""
    selected = f"rule {job.rule_name!r} selects the series, but"
    if job.plugin not in plugins:
        raise OperatorError(f"{selected} no plugin {job.plugin!r} is installed; there are: {', '.join(plugins)}")
    if unknown := [name for name in job.destinations if name not in destinations]:
        known = ", ".join(destinations) or "none"
        raise OperatorError(f"{selected} no destination {', '.join(unknown)} is configured; there are: {known}")
    if not job.destinations:
        raise OperatorError(f"{selected} no destination is configured: add one under destinations in config.yaml")
