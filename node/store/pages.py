"""Lists a page at a time, by key: the last row of a page tells where the next begins, so page 1000 costs what page 1 does.

Each query is answered from an index (tests/store/test_plans.py holds that), however many rows there are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Session

from node.journey import State
from node.store.tables import AuditRecord, Series

T = TypeVar("T")
_CLOCK_ERROR = timedelta(days=1)  # how far the node's clock may have been wrong for a search by time to be exact
_READ_ONE_BY_ONE = 5000  # records, some 50 ms of Postgres'


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows, the newest first, and where to go on."""

    rows: tuple[T, ...]
    next: str | None  # `before` of the next page; None at the end


def series_page(
    session: Session,
    *,
    states: Collection[State] = (),
    rule: str | None = None,
    calling_ae_title: str | None = None,
    uid: str | None = None,
    since: datetime | None = None,
    before: str | None = None,
    limit: int = 50,
) -> Page[Series]:
    """The series whose last instance arrived last, first.

    `states`: any of these; none named: all. `uid`: a part of the Study or Series Instance UID. `before`: `Page.next`.
    """
    conditions: list[sa.ColumnElement[bool]] = []
    if rule is not None:
        conditions.append(Series.rule_name == rule)
    if calling_ae_title is not None:
        conditions.append(Series.calling_ae_title == calling_ae_title)
    if uid:
        conditions.append(Series.id.in_(ids_like(uid)))
    if since is not None:
        conditions.append(Series.last_arrival_at >= since)
    if before is not None:
        at, _, last = before.partition("|")
        conditions.append(sa.tuple_(Series.last_arrival_at, Series.id) < (datetime.fromisoformat(at), int(last)))
    query = newest(states, Series.last_arrival_at, limit + 1, *conditions)
    rows = session.scalars(query).all()
    last_row = rows[limit - 1] if len(rows) > limit else None
    return Page(tuple(rows[:limit]), f"{last_row.last_arrival_at.isoformat()}|{last_row.id}" if last_row else None)


def newest(
    states: Collection[State], at: InstrumentedAttribute[datetime], limit: int, *conditions: sa.ColumnElement[bool]
) -> sa.Select[Series]:
    """The series in any of these states (none named: in any) with the latest time `at`, the latest first.

    An index gives the newest of one state, not of several; so each state gives its newest, and of these we take ours.
    """

    def ids(*more: sa.ColumnElement[bool]) -> sa.Select[int]:
        return sa.select(Series.id).where(*conditions, *more).order_by(at.desc(), Series.id.desc()).limit(limit)

    query = sa.select(Series).order_by(at.desc(), Series.id.desc()).limit(limit)
    if not states:
        return query.where(*conditions)
    if len(states) == 1:
        return query.where(*conditions, Series.state == str(next(iter(states))))
    each = [sa.select(ids(Series.state == str(state)).subquery().c.id) for state in states]
    return query.where(Series.id.in_(sa.union_all(*each)))


def ids_like(uid: str) -> sa.Select[int]:
    """Rows of the series of which a part of a UID is known: an index holds all that is compared."""
    return sa.select(Series.id).where(
        sa.or_(
            Series.series_instance_uid.contains(uid, autoescape=True),
            Series.study_instance_uid.contains(uid, autoescape=True),
        )
    )


def states(session: Session) -> dict[State, int]:
    """How many series are in each state; 0 where there are none."""
    counted = session.execute(sa.select(Series.state, sa.func.count()).group_by(Series.state))
    found = {State(state): count for state, count in counted}
    return {state: found.get(state, 0) for state in State}


def audit_page(
    session: Session,
    *,
    series_instance_uid: str | None = None,
    event: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    text: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> Page[AuditRecord]:
    """The audit records written last, first.

    `event`: a value of `audit.Event`. `since`, `until`: exact while the clock was never wrong by more than a day.
    `text`: words of the message or the actor, all of them, each whole or its beginning. `before`: `Page.next`.
    """
    first = 0
    last = int(before) - 1 if before is not None else session.scalar(sa.select(sa.func.max(AuditRecord.seq))) or 0
    # Times follow each other as the records do but for a clock that was set: one surely outside bounds the search.
    if since is not None:
        surely = sa.select(AuditRecord.seq).where(AuditRecord.at < since - _CLOCK_ERROR).order_by(AuditRecord.at.desc())
        first = session.scalar(surely.limit(1)) or 0
    if until is not None:
        surely = sa.select(AuditRecord.seq).where(AuditRecord.at > until + _CLOCK_ERROR).order_by(AuditRecord.at)
        last = min(last, session.scalar(surely.limit(1)) or last)
    # Numbers first, then the rows of the page alone: a row is kilobytes, and to sort by it moves all of them.
    query = sa.select(AuditRecord.seq).where(AuditRecord.seq.between(first, last))
    if series_instance_uid is not None:
        query = query.where(AuditRecord.series_instance_uid == series_instance_uid)
    if event is not None:
        query = query.where(AuditRecord.event == str(event))
    if since is not None:
        query = query.where(AuditRecord.at >= since)
    if until is not None:
        query = query.where(AuditRecord.at <= until)
    if text:
        numbers = _with_words(session, query, text, last, limit + 1)
    else:
        numbers = session.scalars(query.order_by(AuditRecord.seq.desc()).limit(limit + 1)).all()
    rows = session.scalars(
        sa.select(AuditRecord).where(AuditRecord.seq.in_(numbers)).order_by(AuditRecord.seq.desc())
    ).all()
    return Page(tuple(rows[:limit]), str(rows[limit - 1].seq) if len(rows) > limit else None)


def _with_words(session: Session, query: sa.Select[int], text: str, last: int, limit: int) -> Sequence[int]:
    """The newest of the records in which the words stand; the database's own index of words tells (see the migration)."""
    words = [f'"{word}"*' for word in text.replace('"', " ").replace("\0", " ").split() if _has_letter(word)]
    if not words:
        return ()
    if session.get_bind().dialect.name == "sqlite":
        found = sa.table("audit_text", sa.column("rowid", sa.Integer), sa.column("audit_text"))
        query = query.join(found, found.c.rowid == AuditRecord.seq).where(found.c.rowid <= last)
        # By the order of the word index, so that it is read no further than the page goes.
        query = query.where(found.c.audit_text.match(" ".join(words))).order_by(found.c.rowid.desc())
        return session.scalars(query.limit(limit)).all()
    asked = " & ".join(f"'{word[1:-2].replace(chr(39), ' ').replace(chr(92), ' ')}':*" for word in words)
    # Postgres takes the beginning of a common word for rare and a whole UID for common, so it is not left to choose (OFFSET
    # keeps the parts apart): the newest records are read one by one, where a common word is soon found often enough;
    # all others are asked of the index, which then has few to name.
    newest = query.add_columns(AuditRecord.message, AuditRecord.actor).where(AuditRecord.seq > last - _READ_ONE_BY_ONE)
    near = newest.order_by(AuditRecord.seq.desc()).offset(0).subquery()
    found_near = sa.select(near.c.seq).where(_says(near.c.message, near.c.actor, asked))
    numbers = list(session.scalars(found_near.order_by(near.c.seq.desc()).limit(limit)))
    if len(numbers) < limit:
        older = query.where(
            AuditRecord.seq <= last - _READ_ONE_BY_ONE, _says(AuditRecord.message, AuditRecord.actor, asked)
        )
        far = older.offset(0).subquery()
        numbers += session.scalars(sa.select(far.c.seq).order_by(far.c.seq.desc()).limit(limit - len(numbers)))
    return numbers


def _says(
    message: sa.ColumnElement[str] | InstrumentedAttribute[str],
    actor: sa.ColumnElement[str] | InstrumentedAttribute[str],
    asked: str,
) -> sa.ColumnElement[bool]:
    """Whether a record has the words, as the index of the migration has them."""
    simple: sa.ColumnClause[str] = sa.literal_column("'simple'")
    words: sa.ColumnElement[Any] = sa.func.to_tsvector(simple, message + sa.literal_column("' '") + actor)
    return words.bool_op("@@")(sa.func.to_tsquery(simple, asked))


def _has_letter(word: str) -> bool:
    return any(letter.isalnum() for letter in word)
