"""What has been told of each problem, and so what is to be told now. A row a kind, so that a restart tells nothing twice."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from node.config import Notify
from node.notify.channels import Letter
from node.notify.watch import Problem
from node.store.tables import Notice

_CALM = timedelta(minutes=2)  # a problem is over when it has been gone for so long
_LINES = 10


def compare(session: Session, found: Sequence[Problem], settings: Notify, now: datetime) -> list[Letter]:
    """Hold what is wrong against what has been told, in the caller's write transaction; returns what is to be told."""
    letters = []
    known = {row.kind: row for row in session.scalars(sa.select(Notice))}
    for problem in found:
        notice = known.pop(problem.kind, None)
        if notice is None:
            notice = Notice(kind=problem.kind, since=now, told_at=now, keys=[], told=0)
            session.add(notice)
            what = "begun"
        else:
            what = _what(notice, problem, settings, now)
        notice.gone_since = None
        if what:
            letters.append(_letter(problem, what, notice, settings, now))
            notice.told_at, notice.told = now, len(problem.items)
            notice.keys = [item.key for item in problem.items]
    for notice in known.values():
        notice.gone_since = notice.gone_since or now
        if now - notice.gone_since >= _CALM:
            letters.append(_over(notice, now))
            session.delete(notice)
    return letters


def _what(notice: Notice, problem: Problem, settings: Notify, now: datetime) -> str:
    """Why a problem that has been told of is told of again; empty where it is not."""
    known, count = set(notice.keys), len(problem.items)
    fresh = [item for item in problem.items if item.key not in known]
    quiet = now - notice.told_at
    if fresh and (count >= 2 * notice.told or quiet >= timedelta(minutes=settings.again_min)):
        return "grown"
    return "still" if quiet >= timedelta(hours=settings.reminder_hours) else ""


def _letter(problem: Problem, what: str, notice: Notice, settings: Notify, now: datetime) -> Letter:
    count, known = len(problem.items), set(notice.keys)
    fresh = [item for item in problem.items if item.key not in known]
    subject = problem.summary
    if what == "grown":
        subject += f", {len(fresh)} of them new"
    elif what == "still":
        subject = f"still: {subject}, since {notice.since:%Y-%m-%d %H:%M} UTC"
    base = settings.page_url.rstrip("/")
    lines = [f"{problem.summary}.", ""]
    for item in sorted(problem.items, key=lambda item: item.key in known)[:_LINES]:
        lines.append(f"- {item.what}")
        if settings.reasons and item.reason:
            lines.append(f"  {item.reason}")
        if base and item.path:
            lines.append(f"  {base}/{item.path}")
    if count > _LINES:
        lines.append(f"and {count - _LINES} more")
    if base:
        lines += ["", base]
    return Letter(problem.kind, what, subject, count, tuple(lines), _iso(now))


def _over(notice: Notice, now: datetime) -> Letter:
    gone = notice.gone_since or now
    said = f"over: {notice.kind}, since {notice.since:%Y-%m-%d %H:%M} UTC, is no more"
    return Letter(notice.kind, "over", said, 0, (f"{said}; it was last seen at {gone:%Y-%m-%d %H:%M} UTC.",), _iso(now))


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")
