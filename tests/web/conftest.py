"""The web interface on a free port, over a database of its own; and ways in."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Depends

from node import audit
from node.audit import Event
from node.config import Config
from node.journey import State
from node.queue import Queue, prepare
from node.store.session import Database
from node.store.tables import Series
from node.web import tokens
from node.web.app import create_app
from node.web.auth import Person, require
from node.web.echoes import Echoes
from node.web.roles import Role
from node.web.server import Server
from node.web.site import Site, signing_key

FACTS = {
    "tags": {
        "SeriesDescription": {"values": ["Thorax <b>1.0</b>"], "missing": 0},
        "ConvolutionKernel": {"values": [["Br59f", "3"]], "missing": 0},
    },
    "slice_spacing_mm": 0.7,
    "z_extent_mm": 210.0,
    "malformed": [],
}


@dataclass
class Web:
    """A web interface that runs."""

    site: Site
    server: Server
    database: Database
    stack: ExitStack

    def token(self, role: Role = Role.ADMIN, name: str = "") -> str:
        with self.database.write() as session:
            return tokens.add(session, name or f"the-{role}", role, actor="test")

    def add_series(self, number: int, state: State = State.RECEIVING) -> None:
        """A series of the database that stands in a state."""
        now = datetime.now(UTC)
        with self.database.write() as session:
            series = Series(
                study_instance_uid="1.2.3", series_instance_uid=f"1.2.3.{number}", state=str(state), state_since=now,
                first_arrival_at=now, last_arrival_at=now, instance_count=30, calling_ae_title="CT1",
                called_ae_title="HARMONODE", address="10.0.0.1", facts=FACTS,
            )  # fmt: skip
            session.add(series)
            detail = {"instances": [{}] * 30}
            audit.record(session, Event.ARRIVAL, "30 instances arrived from CT1", series=series, detail=detail)

    def client(self, token: str = "", **headers: str) -> httpx.Client:
        """A program; with a token, one that is known."""
        given = {**headers, **({"Authorization": f"Bearer {token}"} if token else {})}
        return self.stack.enter_context(httpx.Client(base_url=self.server.url, headers=given, timeout=30))

    def browser(self) -> Browser:
        return Browser(self.client(Accept="text/html"))


class Browser:
    """As a browser does: it keeps cookies, and its forms carry their mark."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def mark(self, path: str) -> str:
        text = self.client.get(path).text
        return text.partition('name="csrf" value="')[2].partition('"')[0]

    def log_in(self, token: str, next_path: str = "/", mark: str | None = None) -> httpx.Response:
        given = self.mark("/login") if mark is None else mark
        return self.client.post("/login", data={"csrf": given, "token": token, "next": next_path})


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Path:
    """A database at the newest migration with the queue's tables, to be copied: making one takes a second."""
    file = Path(shutil.copy(migrated, tmp_path_factory.mktemp("template")))
    prepare(f"sqlite:///{file}")
    return file


@pytest.fixture
def database(template: Path, tmp_path: Path) -> Iterator[Database]:
    """An empty database of the test's own."""
    shutil.copyfile(template, tmp_path / template.name)
    opened = Database(f"sqlite:///{tmp_path / template.name}")
    yield opened
    opened.close()


@pytest.fixture
def start_web(tmp_path: Path, database: Database) -> Iterator[Callable[..., Web]]:
    """Starts the web interface with its section of the configuration given."""
    with ExitStack() as stack:

        def start(*routers: APIRouter, **settings: Any) -> Web:
            config = Config.model_validate(
                {"data_dir": tmp_path, "database_url": database.url, "web": {"port": 0, **settings}}
            )
            queue = Queue(database)
            stack.callback(queue.close)
            site = Site(config, database, queue, signing_key(tmp_path), Echoes(config))
            server = Server(config.web)
            server.start(create_app(site, routers))
            stack.callback(server.stop)
            return Web(site, server, database, stack)

        yield start


@pytest.fixture
def web(start_web: Callable[..., Web]) -> Web:
    """A web interface with a route for each role."""
    router = APIRouter()
    for role in Role:

        def show(person: Person = Depends(require(role))) -> dict[str, str]:  # noqa: B008
            return {"name": person.name, "role": person.role}

        router.add_api_route(f"/for/{role}", show, methods=["GET", "POST"])
    return start_web(router)
