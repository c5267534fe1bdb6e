"""A running node and its rules: a change takes effect without a restart, and no job is lost by it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from node.cli import app
from node.journey import State
from node.rules import load
from node.store.tables import Job, Series


@pytest.mark.slow
def test_a_change_takes_effect_at_once_and_what_is_queued_keeps_its_version(start_node, data: Path, tmp_path: Path):
    now = datetime.now(UTC)
    later = "-".join(f"{now + timedelta(hours=hours):%H:%M}" for hours in (2, 4))
    node = start_node(
        destinations=[{"kind": "folder", "name": "out", "path": str(tmp_path / "out")}], complete={"quiet_s": 1}
    )
    node.only_rule(plugin="identity", when={"zone": "UTC", "windows": [{"hours": later}]})

    def harmonode(*words: str) -> str:
        return CliRunner().invoke(app, ["--config", str(node.file), *words], catch_exceptions=False).output

    def some(folder: str) -> list[Path]:
        return sorted((data / "chest" / folder).glob("*.dcm"))[:6]

    node.store(some("lung-dx-a0002-b70f"))
    (first,) = node.wait(lambda: [one for one in node.series() if one.state == State.QUEUED], "a queued series")
    assert first.reason.startswith("waits until ")

    with node.database.write() as session:
        rule = load.loaded(load.find(session, "test")).rule
        load.save(session, rule.model_copy(update={"when": None}), author="user:ann", why="by day too")

    node.store(some("lung-dx-a0002-b40f"))
    second = node.wait(
        lambda: next((one for one in node.series() if one.id != first.id and one.state == State.DONE), None),
        "the second series delivered",
    )
    assert node.one(sa.select(Series.state).where(Series.id == first.id)) == State.QUEUED
    shown = harmonode("series", "show", first.series_instance_uid)
    assert "by rule test version 1 (version 2 is in force since)" in shown
    assert "not before " in shown

    harmonode("series", "start-now", first.series_instance_uid)
    assert [State(one.state) for one in node.wait_for_rest(2)] == [State.DONE, State.DONE]
    versions = {row.id: node.one(sa.select(Job.rule_version).where(Job.series_id == row.id)) for row in (first, second)}
    assert versions == {first.id: 1, second.id: 2}
    node.verify_audit()
