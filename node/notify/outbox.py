"""Letters lie in the database, one row a channel, until the channel has taken them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from node.notify.channels import FAULTS, Channel, Letter
from node.store.session import Database
from node.store.tables import Posted

log = structlog.get_logger(__name__)

_FIRST_DELAY_S, _MAX_DELAY_S = 30.0, 3600.0


def put(session: Session, letters: Sequence[Letter], names: Sequence[str], now: datetime) -> None:
    """Leave letters for channels. What one still holds of the same kind is replaced: a person wants the newest, once."""
    session.execute(sa.delete(Posted).where(Posted.channel.not_in(names)))  # that is configured no more
    for letter in letters:
        for name in names:
            session.execute(sa.delete(Posted).where(Posted.channel == name, Posted.kind == letter.kind))
            session.add(Posted(channel=name, kind=letter.kind, letter=letter.to_json(), tries=0, next_at=now))


def deliver(database: Database, channels: Sequence[Channel], now: datetime) -> int:
    """Send what is due; returns how much was taken. A channel that takes nothing is asked again later, and later."""
    taken = 0
    for channel in channels:
        with database.read() as session:
            # None is put off for so long: the clock was set back since.
            never = Posted.next_at > now + timedelta(seconds=2 * _MAX_DELAY_S)
            is_due = Posted.channel == channel.name, sa.or_(Posted.next_at <= now, never)
            due = session.scalars(sa.select(Posted).where(*is_due).order_by(Posted.id)).all()
        for row in due:
            try:
                channel.send(Letter.from_json(row.letter))
            except FAULTS as error:
                _later(database, channel, row, error, now)
                break
            taken += 1
            with database.write() as session:
                session.execute(sa.delete(Posted).where(Posted.id == row.id))
    return taken


def _later(database: Database, channel: Channel, row: Posted, error: Exception, now: datetime) -> None:
    """All that the channel still has waits: it is the channel that is down."""
    tries = row.tries + 1
    ceiling_s = min(_FIRST_DELAY_S * 2 ** min(tries - 1, 10), _MAX_DELAY_S)
    delay_s = random.uniform(ceiling_s / 2, ceiling_s)  # noqa: S311
    # Without the answer's own text: a mail server may repeat what it was sent.
    tell = log.warning if tries == 1 else log.info
    tell(
        "a notification was not taken",
        channel=channel.name,
        tries=tries,
        again_in_s=round(delay_s),
        reason=_told(error),
    )
    with database.write() as session:
        session.execute(
            sa.update(Posted)
            .where(Posted.channel == channel.name)
            .values(tries=tries, next_at=now + timedelta(seconds=delay_s))
        )


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
