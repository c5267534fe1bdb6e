"""What the composition root does itself: it witnesses the configuration, and supervises workers."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest
import sqlalchemy as sa

from node import service
from node.config import Config
from node.store.session import Database
from node.store.tables import AuditRecord


def test_a_worker_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(service, "_RESTART_DELAY_S", 0.01)
    worker, reached = service.Worker("worker-0", None), threading.Event()
    starts: list[float] = []
    real = service.subprocess.Popen

    def popen(command: list[str], **arguments: object) -> object:
        starts.append(0)
        if len(starts) == 1:
            raise OSError(12, "Cannot allocate memory")
        reached.set()
        return real([sys.executable, "-c", "input()"], **arguments)

    monkeypatch.setattr(service.subprocess, "Popen", popen)
    worker.start()
    assert reached.wait(5)
    worker.stop()
    assert len(starts) == 2


def start_with(database: Database, **settings: Any) -> None:
    with database.write() as session:
        service.witness_start(session, Config.model_validate(settings))


def configuration_events(database: Database) -> list[AuditRecord]:
    with database.read() as session:
        query = sa.select(AuditRecord).where(AuditRecord.event == "configuration").order_by(AuditRecord.seq)
        return list(session.scalars(query))


def test_a_start_with_another_configuration_says_what_changed(database: Database):
    folder = {"kind": "folder", "name": "out", "path": "/srv/out"}
    start_with(database, destinations=[folder])
    start_with(database, destinations=[folder])
    assert configuration_events(database) == []
    start_with(database, receive={"port": 11113}, destinations=[{**folder, "path": "/srv/new"}])
    (event,) = configuration_events(database)
    assert event.detail["changed"] == {
        "destinations.out.path": ["/srv/out", "/srv/new"],
        "receive.port": [11112, 11113],
    }
    assert "receive.port was 11112, is 11113" in event.message


def test_no_secret_is_witnessed(database: Database):
    start_with(
        database,
        database_url="postgresql+psycopg://harmonode:open-sesame@db/harmonode",
        destinations=[
            {"kind": "orthanc", "name": "a", "url": "http://me:open-sesame@pacs", "password": "open-sesame"},
            {"kind": "stow", "name": "b", "url": "http://pacs", "token": "open-sesame"},
        ],
    )
    with database.read() as session:
        (start,) = session.scalars(sa.select(AuditRecord))
    assert "open-sesame" not in f"{start.message}{start.detail}"
    assert start.detail["configuration"]["destinations.a.url"] == "http://pacs"
