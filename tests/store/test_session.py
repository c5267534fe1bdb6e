"""The database: migrations make exactly the tables of the model; writers never read what is stale."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from node.errors import OperatorError
from node.store.session import Database, DatabaseGone, migrations_dir, require_current, revision
from node.store.tables import AuditHead, Base


def test_the_migrations_make_the_tables_of_the_model(database: Database):
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found = compare_metadata(context, Base.metadata)
    # The index of words is tables of FTS5's own, which no class maps.
    assert [one for one in found if not (one[0] == "remove_table" and one[1].name.startswith("audit_text"))] == []


def test_a_new_database_is_at_the_newest_migration(database: Database):
    settings = AlembicConfig()
    settings.set_main_option("script_location", str(migrations_dir()))
    assert revision(database) == (newest := ScriptDirectory.from_config(settings).get_current_head(), newest)
    require_current(database)


def test_an_old_database_asks_for_the_upgrade(tmp_path: Path):
    database = Database(f"sqlite:///{tmp_path / 'new' / 'x.sqlite3'}")
    with pytest.raises(OperatorError, match=r"migration none.*harmonode db upgrade"):
        require_current(database)
    database.close()


def test_two_nodes_may_upgrade_at_once(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'x.sqlite3'}"
    program = "import sys; from node.store.session import upgrade; upgrade(sys.argv[1])"
    nodes = [
        subprocess.Popen([sys.executable, "-c", program, url], stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    assert [node.communicate(timeout=60)[1] for node in nodes] == ["", "", ""]
    database = Database(url)
    require_current(database)
    database.close()


def test_writers_take_turns(database: Database):
    with database.write() as session:
        session.add(AuditHead(id=1, seq=0, hash=""))

    def count() -> None:
        for _ in range(50):
            with database.write() as session:
                head = session.get_one(AuditHead, 1)
                head.seq += 1

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        assert session.get_one(AuditHead, 1).seq == 200


def test_an_error_rolls_back(database: Database):
    with pytest.raises(ZeroDivisionError), database.write() as session:
        session.add(AuditHead(id=1, seq=1, hash="x"))
        session.flush()
        1 / 0  # noqa: B018
    with database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(AuditHead)) == 0


@pytest.mark.parametrize("there", [False, True], ids=["deleted", "replaced"])
def test_a_file_that_goes_under_a_running_process_is_noticed(tmp_path: Path, database: Database, there: bool):
    file = tmp_path / "harmonode.sqlite3"
    with database.read() as session:
        session.execute(sa.text("SELECT 1"))
    copy = file.read_bytes()
    file.unlink()
    if there:
        file.write_bytes(copy)
    for use in (database.read, database.write):
        with pytest.raises(DatabaseGone, match="replaced" if there else "deleted"), use():
            pass


def test_what_runs_for_long_does_not_hold_what_it_needs_once():
    """Each process would hold Alembic, GDCM and the concepts of Structured Reports for ever."""
    script = "import sys, node.service, node.derive; print(*sys.modules, sep='\\n')"
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert {"alembic", "pydicom.sr.codedict", "_gdcm"}.isdisjoint(ran.stdout.split())
