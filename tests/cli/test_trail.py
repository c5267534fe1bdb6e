"""`harmonode series`, `audit` and `db`, on a database of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml
from typer.testing import CliRunner, Result

from node import audit
from node.audit import Event
from node.cli import app
from node.errors import HarmonodeError
from node.journey import State
from node.store.session import Database
from node.store.tables import Series

Run = Callable[..., Result]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"data_dir": str(tmp_path / "data")}))
    return file


@pytest.fixture
def run(config: Path) -> Run:
    def invoke(*words: str) -> Result:
        result = CliRunner().invoke(app, ["--config", str(config), *words])
        if isinstance(result.exception, HarmonodeError):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def two_series(run: Run, tmp_path: Path) -> Database:
    assert run("db", "upgrade").exit_code == 0
    database = Database(f"sqlite:///{tmp_path / 'data' / 'harmonode.sqlite3'}")
    now = datetime.now(UTC)
    with database.write() as session:
        for number in (1, 2):
            series = Series(
                study_instance_uid="1.2.3", series_instance_uid=f"1.2.3.{number}4", state=State.RECEIVING,
                state_since=now, first_arrival_at=now, last_arrival_at=now, instance_count=30 + number,
                calling_ae_title="CT", called_ae_title="HARMONODE", address="127.0.0.1",
            )  # fmt: skip
            session.add(series)
            audit.record(session, Event.ARRIVAL, f"{series.instance_count} instances arrived", series=series)
        audit.move(session, series, State.REFUSED, Event.REFUSAL, "two patients")
    yield database
    database.close()


def test_the_upgrade_says_where_the_database_is(run: Run):
    assert "migration 0" in run("db", "upgrade").output


def test_a_command_on_an_old_database_asks_for_the_upgrade(run: Run):
    with pytest.raises(HarmonodeError, match="harmonode db upgrade"):
        run("series", "list")


def test_the_list_tells_state_and_reason(run: Run, two_series: Database):
    rows = json.loads(run("series", "list", "--json").output)
    assert [(row["series_instance_uid"], row["state"], row["reason"], row["instance_count"]) for row in rows] == [
        ("1.2.3.14", "receiving", None, 31),
        ("1.2.3.24", "refused", "two patients", 32),
    ]
    refused = json.loads(run("series", "list", "--state", "refused", "--json").output)
    assert [row["series_instance_uid"] for row in refused] == ["1.2.3.24"]
    assert "two patients" in run("series", "list").output


def test_a_series_is_found_by_the_end_of_its_uid(run: Run, two_series: Database):
    shown = json.loads(run("series", "show", "24", "--json").output)
    assert shown["series_instance_uid"] == "1.2.3.24"
    assert [step["event"] for step in shown["journey"]] == ["arrival", "refusal"]
    assert "two patients" in run("series", "show", "1.2.3.24").output
    with pytest.raises(HarmonodeError, match="more than one"):
        run("series", "show", "4")
    with pytest.raises(HarmonodeError, match=r"no series 9\.9"):
        run("series", "show", "9.9")


def test_a_person_cancels_and_retries(run: Run, two_series: Database):
    assert run("series", "cancel", "14").exit_code == 0
    with two_series.read() as session:
        assert session.scalars(sa.select(Series.state).order_by(Series.id)).all() == ["cancelled", "refused"]
    with pytest.raises(HarmonodeError, match="cancelled and cannot become cancelled"):
        run("series", "cancel", "14")
    assert run("series", "retry", "24").exit_code == 0
    with two_series.read() as session:
        assert session.scalars(sa.select(Series.state).order_by(Series.id)).all() == ["cancelled", "receiving"]
        assert audit.verify(session)[1] == []
    actors = {row["actor"] for row in json.loads(run("audit", "list", "--json").output)}
    assert any(actor.startswith("user:") for actor in actors)


def test_the_trail_is_listed_and_verified(run: Run, two_series: Database):
    rows = json.loads(run("audit", "list", "--json").output)
    assert [row["seq"] for row in rows] == [1, 2, 3]
    only = json.loads(run("audit", "list", "--series", "1.2.3.24", "--event", "refusal", "--json").output)
    assert [row["message"] for row in only] == ["two patients"]
    assert json.loads(run("audit", "verify", "--json").output) == {"records": 3, "intact": True, "flaws": []}
    with two_series.write() as session:
        session.execute(sa.text("DROP TRIGGER audit_record_no_update"))
        session.execute(sa.text("UPDATE audit_record SET message = 'one patient' WHERE seq = 3"))
    result = run("audit", "verify")
    assert result.exit_code == 1
    assert "record 3 was changed" in result.output
