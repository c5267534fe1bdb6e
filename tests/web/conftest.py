"""The web interface on a free port, over a database of its own; and ways in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Depends

from node.config import Config
from node.queue import Queue
from node.store.session import Database
from node.web import tokens
from node.web.app import create_app
from node.web.auth import Person, require
from node.web.echoes import Echoes
from node.web.roles import Role
from node.web.server import Server
from node.web.site import Site, signing_key


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
