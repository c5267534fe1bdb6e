"""`harmonode series`, `audit` and `db`, on a database of their own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
import structlog
import yaml
from typer.testing import CliRunner, Result

from node import audit
from node.audit import Event
from node.cli import app, main
from node.cli.context import actor
from node.errors import HarmonodeError
from node.journey import State
from node.store.session import Database, upgrade
from node.store.tables import AuditCursor, Series

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
def two_series(tmp_path: Path) -> Database:
    url = f"sqlite:///{tmp_path / 'data' / 'harmonode.sqlite3'}"
    upgrade(url)  # not `db upgrade`, which brings the shipped rules and their audit records
    database = Database(url)
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


def test_a_command_on_an_old_database_asks_for_the_upgrade(run: Run, tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "harmonode.sqlite3").touch()
    with pytest.raises(HarmonodeError, match=r"at migration none, the node needs .* run `harmonode db upgrade`"):
        run("series", "list")


def test_the_list_tells_state_and_reason(run: Run, two_series: Database):
    rows = json.loads(run("series", "list", "--json").output)
    assert [(row["series_instance_uid"], row["state"], row["reason"], row["instance_count"]) for row in rows] == [
        ("1.2.3.24", "refused", "two patients", 32),
        ("1.2.3.14", "receiving", None, 31),
    ]
    refused = json.loads(run("series", "list", "--state", "refused", "--json").output)
    assert [row["series_instance_uid"] for row in refused] == ["1.2.3.24"]
    assert "two patients" in run("series", "list").output
    for asked, found in ((("--from", "CT", "--uid", "3.14"), 1), (("--from", "MR"), 0), (("--rule", "lung"), 0)):
        assert len(json.loads(run("series", "list", *asked, "--json").output)) == found
    some = json.loads(run("audit", "list", "--since", "1h", "--text", "31 instan", "--json").output)
    assert [row["message"] for row in some] == ["31 instances arrived"]


def test_a_series_is_found_by_the_end_of_its_uid(run: Run, two_series: Database):
    shown = json.loads(run("series", "show", "24", "--json").output)
    assert shown["series_instance_uid"] == "1.2.3.24"
    assert [step["event"] for step in shown["journey"]] == ["arrival", "refusal"]
    assert "two patients" in run("series", "show", "1.2.3.24").output
    with pytest.raises(HarmonodeError, match="more than one"):
        run("series", "show", "4")
    with pytest.raises(HarmonodeError, match=r"no series 9\.9"):
        run("series", "show", "9.9")


def test_a_series_that_two_studies_have_is_named_with_its_study(run: Run, two_series: Database):
    with two_series.write() as session:
        session.execute(
            sa.update(Series).where(Series.id == 2).values(study_instance_uid="9.8", series_instance_uid="1.2.3.14")
        )
    with pytest.raises(HarmonodeError, match=r"give 1\.2\.3/1\.2\.3\.14 or 9\.8/1\.2\.3\.14"):
        run("series", "show", "1.2.3.14")
    shown = json.loads(run("series", "show", "9.8/1.2.3.14", "--json").output)
    assert (shown["study_instance_uid"], shown["state"]) == ("9.8", "refused")


@pytest.mark.parametrize("words", [("series", "list"), ("audit", "verify"), ("rules", "list")])
def test_a_command_makes_no_database_where_there_is_none(run: Run, tmp_path: Path, words: tuple[str, ...]):
    with pytest.raises(HarmonodeError, match=r"there is no database at .*harmonode\.sqlite3"):
        run(*words)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:////proc/nothing/harmonode.sqlite3", "there is no database at /proc/nothing/harmonode.sqlite3"),
        ("sqlite:////etc/hostname", "the database cannot be used: file is not a database"),
        ("nonsense", "the database cannot be used: Could not parse SQLAlchemy URL"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_clear_line(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str, says: str
):
    monkeypatch.setenv("HARMONODE_DATABASE_URL", url)
    assert as_a_program(monkeypatch, "--config", str(config), "series", "list") == 1
    told = capsys.readouterr().err
    assert f"error (operator): {says}" in told
    assert "Traceback" not in told


def test_nothing_but_json_goes_to_standard_output(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "notes.txt").write_text("no DICOM")
    (tmp_path / "slice.dcm").symlink_to(next((data / "phantom" / "head-ub").glob("*.dcm")))
    monkeypatch.chdir(tmp_path)
    assert as_a_program(monkeypatch, "rules", "test", str(tmp_path), "--json") == 0
    told = capsys.readouterr()
    assert len(json.loads(told.out)) == 1
    assert "notes.txt" in told.err


def as_a_program(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run the command as the shell does; its exit status."""
    monkeypatch.setattr("sys.argv", ["harmonode", *words])
    try:
        with pytest.raises(SystemExit) as stopped:
            main()
    finally:
        structlog.reset_defaults()
    return int(stopped.value.code or 0)


def test_who_acts_is_known_even_where_the_user_has_no_name(monkeypatch: pytest.MonkeyPatch):
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert re.fullmatch(r"user:\d+", actor())


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


def test_audit_servers_tells_what_waits(tmp_path: Path, two_series: Database):
    file = tmp_path / "servers.yaml"
    servers = [{"name": name, "host": "h"} for name in ("repository", "fresh")]
    file.write_text(yaml.safe_dump({"data_dir": str(tmp_path / "data"), "audit": {"servers": servers}}))
    with two_series.write() as session:
        before = audit.record(session, Event.START, "the node started").seq - 1
        session.add(
            AuditCursor(server="repository", seq=before, down_since=datetime.now(UTC), reason="[Errno 111] refused")
        )
        audit.record(session, Event.MEASUREMENT, "of no concern there")
    two_series.close()
    told = CliRunner().invoke(app, ["--config", str(file), "audit", "servers"]).output
    assert re.search(r"repository\s+1\s+never\s+down since .*\[Errno 111\] refused", told), told
    assert re.search(r"fresh\s+0\s+never\s+takes messages", told), told
    as_json = json.loads(CliRunner().invoke(app, ["--config", str(file), "audit", "servers", "--json"]).output)
    assert [one["waiting"] for one in as_json] == [1, 0]
