"""`/healthz` and `/readyz`: for supervisors, balancers and monitors, without a token and without anything to know."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus

import sqlalchemy as sa
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from node.store import leases, watermark
from node.store.watermark import Level
from node.web.site import Site

router = APIRouter()


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(request: Request) -> JSONResponse:
    """Whether the node can do its work: 200, or 503 with the reasons."""
    checks = {name: {"ok": not wrong, "reason": wrong} for name, wrong in _checks(request.app.state.site)}
    ready = all(check["ok"] for check in checks.values())
    return JSONResponse(
        {"ready": ready, "checks": checks}, HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
    )  # fmt: skip


def _checks(site: Site) -> Iterator[tuple[str, str]]:
    """Each part with what is wrong with it; nothing where it is well."""
    now = datetime.now(UTC)
    try:
        with site.database.read() as session:
            # Leases with a colon are those of sweeps.
            workers = {name for name in leases.alive(session, now) if ":" not in name}
    except (sa.exc.SQLAlchemyError, OSError):
        yield "database", "it cannot be read"
        yield "workers", "unknown, for the database cannot be read"
    else:
        yield "database", ""
        yield "workers", "" if workers else "no worker is alive: what arrives is received and waits"
    space = watermark.look(site.config)
    full = f"{space.free_mb} MiB are free, under the reserve: every store is refused"
    yield "disk", full if space.level is Level.STOP else ""
    for name, probe in site.probes.items():
        yield name, probe()
