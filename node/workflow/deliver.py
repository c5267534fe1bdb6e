"""The steps that deliver the derived series: send, confirm. Destinations do not wait for each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import sqlalchemy as sa
import structlog

from node.audit import Event
from node.config import Config, DimseDestination
from node.errors import ConfigError, OperatorError, TransientError
from node.journey import State
from node.store.tables import Delivery, StructuredReport
from node.workflow.commitment import committed
from node.workflow.derived import made
from node.workflow.errors import first_to_mend
from node.workflow.hold import Hold
from node.workflow.work import AnyDestination, Later, Progress, Stopped, Work

log = structlog.get_logger(__name__)

POLLS_S = (0.0, 0.5, 1.0, 2.0)  # a destination may take a moment until it counts what it took
_TRIES_BEFORE_RESEND = 3


def send(work: Work) -> None:
    """Send to each destination what it was not sent before."""
    with work.look() as held:
        destinations = list(held.job.destinations)
        unsent = {name: paths for name in destinations if (paths := _unsent(work, held, name))}
    progress = work.progress(sum(map(len, unsent.values())))
    errors: list[Exception] = []
    before = 0
    for name, paths in unsent.items():
        _each(errors, partial(_send_to, work, name, paths, partial(_count_on, progress, before)))
        before += len(paths)
    if errors:
        _confirm_sent(work)
        raise first_to_mend(errors)
    said = (
        f"was sent to {', '.join(destinations)}" if destinations else "is sent nowhere: the rule names no destination"
    )
    with work.transaction() as held:
        held.move(State.CONFIRMING, Event.TRANSMISSION, f"the derived series {said}", {"destinations": destinations})


def confirm(work: Work) -> None:
    """Ask each destination how many instances of the derived series it holds; too few are sent once more."""
    with work.look() as held:
        destinations = list(held.job.destinations)
        expected = [one.sop_instance_uid for one in made(held.session, held.job, held.series)]
        open_at = [name for name in destinations if _delivery(held, name).confirmed_at is None]
    errors: list[Exception] = []
    short: dict[str, str] = {}
    for name in open_at:
        _each(errors, partial(_confirm_at, work, name, expected, short))
    if short and _send_again(work, short):
        return
    if failed := [error for error in errors if not isinstance(error, Later)]:
        raise first_to_mend(failed)
    if waiting := [error for error in errors if isinstance(error, Later)]:
        raise min(waiting, key=lambda later: later.delay_s)
    how = f"is delivered to {', '.join(destinations)}" if destinations else "is made, and sent nowhere"
    with work.transaction() as held:
        derived_uid = held.job.derived_series_uid
        held.rest(
            State.DONE,
            Event.CONFIRMATION,
            f"the derived series {derived_uid} of {len(expected)} instances {how}",
            detail={"derived_series_uid": derived_uid, "instances": len(expected), "destinations": destinations},
        )


def _confirm_sent(work: Work) -> None:
    """Ask where all was sent, though another destination failed: the series may rest before it comes to confirming.

    What goes wrong here is no more than told: it is asked again when the other destination is mended.
    """
    with work.look() as held:
        expected = [one.sop_instance_uid for one in made(held.session, held.job, held.series)]
        deliveries = [_delivery(held, name) for name in held.job.destinations]
    errors: list[Exception] = []
    for delivery in deliveries:
        if delivery.sent_at is not None and delivery.confirmed_at is None:
            _each(errors, partial(_confirm_at, work, delivery.destination, expected, {}))
    for error in errors:
        log.warning("a destination could not confirm what it was sent", job=work.job_id, reason=str(error))


def _each(errors: list[Exception], deliver: Callable[[], None]) -> None:
    """Do one destination's part; what goes wrong there is kept for when the others are done."""
    try:
        deliver()
    except Stopped:
        raise
    except Exception as error:  # noqa: BLE001
        errors.append(error)


def _count_on(progress: Progress, before: int, sent: int) -> None:
    """Progress over all destinations."""
    progress(before + sent)


def _send_to(work: Work, name: str, paths: list[Path], progress: Callable[[int], None]) -> None:
    with work.transaction() as held:
        report = _report(held, name, work.context.config)
        reports = 0 if report is None else paths.count(work.context.config.derived_dir / report.path)
        said = f"{len(paths)} instances begin to be sent to {name}"
        detail = {"destination": name, "instances": len(paths), "reports": reports}
        held.record(Event.TRANSMISSION, said, {**detail, "begins": True})
    work.context.steps.send(_destination(work, name), paths, progress)
    with work.transaction() as held:
        delivery = _delivery(held, name)
        delivery.sent_at, delivery.sent_count, delivery.reports = datetime.now(UTC), len(paths), reports
        delivery.sends += 1
        held.session.add(delivery)
        held.record(
            Event.TRANSMISSION,
            f"{len(paths)} instances were sent to {name}",
            {**detail, "derived_series_uid": held.job.derived_series_uid},
        )


def _confirm_at(work: Work, name: str, derived: Sequence[str], short: dict[str, str]) -> None:
    destination = _destination(work, name)
    with work.look() as held:
        expected = _expected(held, name, derived)
    count, there = sum(map(len, expected.values())), None
    said = ""
    if isinstance(destination, DimseDestination) and destination.confirm == "commitment":
        there = committed(work, destination, expected, short)
        said = f"commits itself to {there} of {count} instances"
    if there is None:
        there = _count_at(work, destination, expected)
        said = "cannot be asked what it holds" if there is None else f"holds {there} of {count} instances"
    if there is not None and there < count:
        short[name] = f"{name} {there} of {count} instances"
        raise TransientError(f"{name} holds {there} of the {count} instances of the derived series")
    with work.transaction() as held:
        delivery = _delivery(held, name)
        delivery.confirmed_at, delivery.confirmed_count = datetime.now(UTC), there
        held.session.add(delivery)
        held.record(Event.CONFIRMATION, f"{name} {said}", {"destination": name, "held": there, "expected": count})


def _expected(held: Hold, name: str, derived: Sequence[str]) -> dict[str, list[str]]:
    """Series Instance UID -> SOP Instance UIDs of all that a destination was sent: images, and reports on them."""
    expected = {held.job.derived_series_uid or "": list(derived)}
    own = sa.select(StructuredReport.series_instance_uid).where(StructuredReport.job_id == held.job.id)
    sent = held.session.execute(
        sa.select(StructuredReport.series_instance_uid, StructuredReport.sop_instance_uid)
        .join(Delivery, Delivery.job_id == StructuredReport.job_id)
        .where(StructuredReport.series_instance_uid.in_(own), Delivery.destination == name, Delivery.reports > 0)
    )
    for series_uid, uid in sent:
        expected.setdefault(series_uid, []).append(uid)
    return expected


def _count_at(work: Work, destination: AnyDestination, expected: Mapping[str, Sequence[str]]) -> int | None:
    """How many of the instances the destination says it holds, given a moment to count; None where it cannot say."""
    with work.look() as held:
        study_uid = held.series.study_instance_uid
    there = 0
    for pause_s in POLLS_S:
        time.sleep(pause_s)
        there = 0
        for series_uid, uids in expected.items():
            count = work.context.steps.confirm(destination, study_uid, series_uid, uids)
            if count is None:
                return None
            there += count
        if there >= sum(map(len, expected.values())):
            break
    return there


def _send_again(work: Work, short: dict[str, str]) -> bool:
    """Back to sending, once, after some tries to ask; False where it is to be asked again first.

    Raises:
        OperatorError: it was sent twice, and asked as often as is allowed, and still too little is there.
    """
    attempts = work.context.config.process.retry.attempts
    with work.transaction() as held:
        deliveries = [_delivery(held, name) for name in short]
        there = ", ".join(short.values())
        tries = held.job.tries + 1
        if all(delivery.sends > 1 for delivery in deliveries):
            if tries >= attempts:
                raise OperatorError(f"sent twice, and yet there are at {there}: see what the destination says of it")
            return False
        if tries < min(_TRIES_BEFORE_RESEND, attempts):
            return False
        for delivery in deliveries:
            delivery.sent_at = None
        said = f"there are only at {there}: the derived series is sent again"
        held.move(State.SENDING, Event.RETRY, said, {"short": short})
    return True


def _unsent(work: Work, held: Hold, name: str) -> list[Path]:
    """The files that a destination was never sent, in this round or an earlier one; all where it holds too few."""
    delivery = _delivery(held, name)
    if delivery.sent_at is not None:
        return []
    sent = sa.select(Delivery.job_id).where(Delivery.destination == name, Delivery.sent_at.is_not(None))
    sent_by = set() if delivery.sends else set(held.session.scalars(sent))
    files = made(held.session, held.job, held.series)
    paths = [work.context.config.derived_dir / one.path for one in files if one.job_id not in sent_by]
    if gone := sum(not path.exists() for path in paths):
        raise OperatorError(
            f"{gone} of the {len(paths)} derived instances for {name} left the disk: {name} was sent them before, "
            "and must say what became of them"
        )
    report = _report(held, name, work.context.config)
    return [*paths, work.context.config.derived_dir / report.path] if report is not None else paths


def _report(held: Hold, name: str, config: Config) -> StructuredReport | None:
    """The Structured Report of this round, where the destination wants it and there is one."""
    if not any(one.name == name and one.structured_report for one in config.destinations):
        return None
    return held.session.scalar(sa.select(StructuredReport).where(StructuredReport.job_id == held.job.id))


def _delivery(held: Hold, name: str) -> Delivery:
    """How far the job has come at a destination; a new record, for the caller to add, where it has not begun."""
    query = sa.select(Delivery).where(Delivery.job_id == held.job.id, Delivery.destination == name)
    return held.session.scalar(query) or Delivery(
        job_id=held.job.id, destination=name, sent_count=0, reports=0, sends=0
    )


def _destination(work: Work, name: str) -> AnyDestination:
    try:
        return work.context.config.destination(name)
    except ConfigError as error:  # a person can put it back
        raise OperatorError(str(error)) from error
