"""Engines and sessions: one writer at a time, so that audit rows chain and jobs are taken once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, sessionmaker

from node.errors import OperatorError
from node.store.durable import PRIVATE

if TYPE_CHECKING:
    from alembic.config import Config as AlembicConfig

_AFTER_COMMIT = "harmonode_after_commit"
_WRITE = {"harmonode_write": True}
_POSTGRES_LOCK = 0x6861726D  # any constant: writers take turns as on SQLite, so they chain and never deadlock


class DatabaseGone(OperatorError):
    """The file of the database was deleted or replaced under a running process, which must end: what it writes now is lost."""


class Database:
    """The node's database: `read()` for a consistent look, `write()` for one transaction that commits at its end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = sa.create_engine(url, **_engine_options(url))
        if self.engine.dialect.name == "sqlite":
            Path(self.engine.url.database or "").parent.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
            sa.event.listen(self.engine, "connect", _sqlite_pragmas)
            sa.event.listen(self.engine, "begin", _sqlite_begin)
        self._file, self._inode = sqlite_file(url), 0  # SQLite's file when it was first used
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """What is read belongs to one moment, however long it takes; SQLite's WAL has it so without being asked."""
        self.require_there()
        bind = self.engine
        if bind.dialect.name == "postgresql":  # else each statement would see what was committed before it
            bind = bind.execution_options(isolation_level="REPEATABLE READ")
        with self._sessions(bind=bind) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction. It holds the write lock from its start, so nothing read in it can be stale."""
        self.require_there()
        with self._sessions(bind=self.engine.execution_options(**_WRITE)) as session:
            with session.begin():
                if self.engine.dialect.name == "postgresql":
                    session.execute(sa.select(sa.func.pg_advisory_xact_lock(_POSTGRES_LOCK)))
                yield session
            for call in session.info.pop(_AFTER_COMMIT, ()):
                call()

    def require_there(self) -> None:
        """
        Raises:
            DatabaseGone: the file is another one than at the first use. SQLite would go on writing to the deleted one.
        """
        if self._file is None:
            return
        if not self._inode:
            self.engine.connect().close()  # makes the file; from now on a connection in the pool holds its inode
            self._inode = self._file.stat().st_ino
        try:
            if self._file.stat().st_ino == self._inode:
                return
            what = "replaced by another"
        except FileNotFoundError:
            what = "deleted"
        raise DatabaseGone(
            f"the database {self._file} was {what} under the running node, which ends now. What was received is safe in "
            "the spool. Put the right file back, or start without one: then arrivals are rebuilt from the spool, and "
            "rules, audit trail and history begin anew"
        )

    def close(self) -> None:
        self.engine.dispose()


def after_commit(session: Session, call: Callable[[], object]) -> None:
    """Do something once the transaction of `Database.write` is committed; nothing where it is rolled back."""
    session.info.setdefault(_AFTER_COMMIT, []).append(call)


def _engine_options(url: str) -> dict[str, Any]:
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": 60}}
    return {"pool_pre_ping": True}


def _sqlite_pragmas(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=60000"):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_begin(connection: sa.Connection) -> None:
    write = connection.get_execution_options().get("harmonode_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite database; None for a server's."""
    parsed = sa.make_url(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def migrations_dir() -> Path:
    """Alembic's scripts: beside the packages in a checkout, inside the package in a wheel."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "_migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def _alembic(url: str) -> AlembicConfig:
    from alembic.config import Config as AlembicConfig  # here, as most commands need no migration

    config = AlembicConfig()
    config.set_main_option("script_location", str(migrations_dir()))
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> None:
    """Bring the database to the newest migration; creates it where there is none."""
    database = Database(url)
    current, newest = revision(database)
    database.close()
    if current != newest:
        from alembic import command

        command.upgrade(_alembic(url), "head")


def revision(database: Database) -> tuple[str | None, str]:
    """The migration the database is at, and the newest one: without Alembic, which takes every process 6 MB and 0.2 s."""
    scripts = [path.read_text() for path in (migrations_dir() / "versions").glob("*.py")]
    (newest,) = set(_named("revision", scripts)).difference(_named("down_revision", scripts))
    with database.engine.connect() as connection:
        there = sa.inspect(connection).has_table("alembic_version")
        current = connection.scalar(sa.text("SELECT version_num FROM alembic_version")) if there else None
    return current, newest


def _named(name: str, scripts: list[str]) -> list[str]:
    return [found for script in scripts for found in re.findall(rf'^{name} = "(\w+)"', script, re.MULTILINE)]


def require_current(database: Database) -> None:
    """Raises OperatorError where the database is not at the newest migration."""
    current, head = revision(database)
    if current != head:
        raise OperatorError(
            f"the database is at migration {current or 'none'}, the node needs {head}: run `harmonode db upgrade`"
        )
