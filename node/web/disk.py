"""The disk: what is free, what takes the space, and what may leave it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from node import retention
from node.overview import disk_of
from node.store import watermark
from node.web.auth import Person, require
from node.web.pages import render
from node.web.roles import Role
from node.web.site import Site

router = APIRouter()

_COUNTED_FOR_S = 300.0


class Sizes:
    """What each folder of the node takes; counted anew when it is asked for and some minutes old."""

    def __init__(self, folders: dict[str, Path]) -> None:
        self._folders = folders
        self._lock = threading.Lock()
        self._counted: dict[str, int] = {}
        self._at = 0.0

    def now(self) -> dict[str, int]:
        """Bytes by folder."""
        with self._lock:
            if not self._at or time.monotonic() - self._at > _COUNTED_FOR_S:
                self._counted = {name: sum(_sizes(folder)) for name, folder in self._folders.items()}
                self._at = time.monotonic()
            return self._counted


@router.get("/disk")
def disk_page(request: Request, person: Annotated[Person, Depends(require(Role.VIEWER))]) -> Response:
    """Free space against the marks, sizes of the folders, what retention will remove next."""
    site: Site = request.app.state.site
    due = retention.due(site.config, site.database, datetime.now(UTC))
    context = {
        "person": person,
        "disk": disk_of(site.config),
        "space": watermark.look(site.config),
        "sizes": request.app.state.sizes.now(),
        "due": due[:20],
        "due_count": len(due),
        "due_bytes": sum(going.size_bytes for going in due),
        "unconfirmed": retention.unconfirmed(site.config, site.database, datetime.now(UTC)),
    }
    return render(request, "disk.html", context)


def folders_of(site: Site) -> dict[str, Path]:
    """The folders of `data_dir`, by what people call them."""
    config = site.config
    return {"received": config.spool_dir, "derived": config.derived_dir, "kept aside": config.quarantine_dir}


def _sizes(folder: Path) -> Iterator[int]:
    for place, _folders, files in os.walk(folder):
        for file in files:
            try:
                yield (Path(place) / file).stat().st_size
            except FileNotFoundError:  # it left meanwhile
                continue
