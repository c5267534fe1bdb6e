"""Who read what, for the audit trail: a series by a person or a program once an hour, for a viewer asks slice by slice."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from fastapi import Request

from node.audit import Event, record
from node.store.tables import Series
from node.web.auth import Person, address_of, require
from node.web.dicomweb.held import Held
from node.web.roles import Role
from node.web.site import Site

_TOLD_AGAIN_S = 3600.0
_REMEMBERED = 100_000

_reader = require(Role.VIEWER)
_told: dict[tuple[str, str, str], float] = {}
_lock = threading.Lock()


async def reader(request: Request) -> Person:
    """A dependency: who asks may read, and is known to `witness`."""
    person = await _reader(request)
    request.state.person = person
    return person


def witness(request: Request, found: Iterable[Held]) -> None:
    """Record that instances are read."""
    site: Site = request.app.state.site
    person: Person = request.state.person
    for series in {(one.source_id, one.series_instance_uid) for one in found}:
        if not _is_news((site.database.url, person.actor, f"{series[0]}/{series[1]}")):
            continue
        with site.database.write() as session:
            message = f"{person.name} at {address_of(request)} reads series {series[1]} by DICOMweb"
            detail = {"series_instance_uid": series[1], "address": address_of(request)}
            record(
                session, Event.ACCESS, message, actor=person.actor, series=session.get(Series, series[0]), detail=detail
            )


def _is_news(what: tuple[str, str, str]) -> bool:
    now = time.monotonic()
    with _lock:
        if now - _told.get(what, now - _TOLD_AGAIN_S) < _TOLD_AGAIN_S:
            return False
        if len(_told) >= _REMEMBERED:
            _told.clear()
        _told[what] = now
    return True
