"""Audit records as lines for people: arrivals in a row, which come many to a series, are told in one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from node.audit import Event
from node.store.tables import AuditRecord


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a trail."""

    seq: str  # "4", or "4-12" of several
    at: datetime  # of the last
    event: str
    actor: str
    message: str
    arrived: int = 0  # instances, where it is of arrivals alone


def condensed(records: Iterable[AuditRecord]) -> list[Line]:
    """Lines of records that are given in their order, the newest line first."""
    lines: list[Line] = []
    for record in records:
        count = len(record.detail.get("instances", ())) if record.event == Event.ARRIVAL and _plain(record) else 0
        line = Line(str(record.seq), record.at, record.event, record.actor, record.message, count)
        last = lines[-1] if lines else None
        if last and count and last.arrived and _sender(last) == _sender(line):
            total, first = last.arrived + count, last.seq.partition("-")[0]
            message = f"{total} instances arrived{_sender(line)}"
            lines[-1] = replace(line, seq=f"{first}-{record.seq}", message=message, arrived=total)
        else:
            lines.append(line)
    return lines[::-1]


def _plain(record: AuditRecord) -> bool:
    return "to" not in record.detail


def _sender(line: Line) -> str:
    return line.message.partition("arrived")[2]
