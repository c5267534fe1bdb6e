"""Server-sent events: pages learn that something changed, and fetch what they show anew."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Annotated

import sqlalchemy as sa
import structlog
from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from node.journey import State
from node.store.session import Database
from node.store.tables import AuditHead, Job, Series
from node.web.auth import Forbidden, NotAuthenticated, Person, Throttled, identify, require
from node.web.roles import Role

_log = structlog.get_logger(__name__)

router = APIRouter()

PATH = "/events"
LOOK_S = 1.0  # how often the database is asked, however many pages are open
TICK_S = 20.0  # a page is fetched anew so often though nothing changed, for it tells how long ago things were


class Pulse:
    """What the database looks like in a few numbers that change when a page would; asked once for all who listen."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._at, self._seen = 0.0, ""

    def now(self) -> str:
        """The same text as long as nothing changed."""
        with self._lock:
            if time.monotonic() - self._at >= LOOK_S / 2:
                self._seen, self._at = self._look(), time.monotonic()
            return self._seen

    def _look(self) -> str:
        progress = sa.select(sa.func.count(), sa.func.sum(Job.progress_done)).where(Job.finished_at.is_(None))
        arriving = sa.select(sa.func.count(), sa.func.sum(Series.instance_count)).where(
            Series.state == str(State.RECEIVING)
        )
        with self._database.read() as session:
            head = session.scalar(sa.select(AuditHead.seq))
            return "/".join(map(str, (head, *session.execute(progress).one(), *session.execute(arriving).one())))


@router.get(PATH)
async def events(request: Request, _person: Annotated[Person, Depends(require(Role.VIEWER))]) -> StreamingResponse:
    """`now` whenever something changed."""
    return StreamingResponse(
        _stream(request), media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )  # fmt: skip


async def _stream(request: Request) -> AsyncIterator[str]:
    pulse: Pulse = request.app.state.pulse
    closing: threading.Event = request.app.state.closing
    seen, told_at = "", 0.0
    while not closing.is_set() and not await request.is_disconnected():
        try:
            now = await run_in_threadpool(pulse.now)
        except sa.exc.SQLAlchemyError as error:  # it is told by the page itself, and asked again
            _log.warning("the database cannot be asked for changes", error=str(error))
            now = seen
        if now != seen or time.monotonic() - told_at > TICK_S:
            if told_at and not await _still_in(request):
                return
            yield f"event: now\ndata: {now}\n\n"
            seen, told_at = now, time.monotonic()
        await asyncio.sleep(LOOK_S)


async def _still_in(request: Request) -> bool:
    try:
        await identify(request)
    except (NotAuthenticated, Forbidden, Throttled):
        return False
    return True
