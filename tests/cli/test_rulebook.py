"""`harmonode rules history`, `diff` and `replay`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
import typer

from node.cli.since import moment
from node.errors import RuleError
from node.rules import load
from node.series import SeriesFacts, TagValues
from node.store.tables import Series

NOW = datetime.now(UTC)
THICK = "{name: thick, match: {tag: SliceThickness, between: [5, null]}, plugin: identity, enabled: false}"


def facts(uid: str, mm: float) -> SeriesFacts:
    tags = {"SliceThickness": TagValues((mm,)), "ProtocolName": TagValues(("Thorax [1]",))}
    return SeriesFacts("1.2", uid, "CT1", "H", 30, "axial", 0.0, mm, True, 90.0, tags)


def test_history_and_diff(rules, database):
    with database.write() as session:
        load.set_enabled(session, "lung", enabled=False, author="user:ann", why="service [on] Monday")
    shown = rules("history", "lung").output
    assert shown.index("version 2") < shown.index("version 1")
    assert "disabled by user:ann: service [on] Monday" in shown
    assert "-enabled: true" in shown
    assert [one["version"] for one in json.loads(rules("history", "lung", "--json").output)] == [2, 1]
    assert "+enabled: false" in rules("diff", "lung", "1").output
    assert "-enabled: false" in rules("diff", "lung", "2", "1").output
    assert "says the same in version 1 and in version 1" in rules("diff", "lung", "1", "1").output


def test_replay_says_what_a_file_of_rules_would_have_selected(rules, database, tmp_path):
    with database.write() as session:
        for uid, mm, then in (("1.2.1", 8, None), ("1.2.2", 8, "lung"), ("1.2.3", 1, "lung")):
            session.add(
                Series(
                    study_instance_uid="1.2", series_instance_uid=uid, state="done", state_since=NOW,
                    first_arrival_at=NOW, last_arrival_at=NOW - timedelta(days=2), calling_ae_title="CT1",
                    called_ae_title="H", address="", facts=facts(uid, mm).to_json(), explanation={}, rule_name=then,
                )
            )  # fmt: skip
    file = tmp_path / "thick.yaml"
    file.write_text(THICK)
    shown = rules("replay", str(file)).output
    assert "3 past series: 1 gained, 0 lost, 1 moved, 0 same" in shown
    assert "Thorax [1]" in shown
    assert "1.2.1" in shown.split("gained:")[1].split("moved:")[0]
    assert "0 past series" in rules("replay", str(file), "--since", "1d").output
    told = json.loads(rules("replay", str(file), "--json").output)
    assert {one["series_instance_uid"]: one["change"] for one in told["series"]} == {
        "1.2.1": "gained",
        "1.2.2": "moved",
    }
    lost = json.loads(rules("replay", "lung", "--json").output)
    assert (lost["rules"], lost["lost"]) == (["lung"], 2)


def test_export_and_import(rules, config, tmp_path):
    file = tmp_path / "rules.yaml"
    assert rules("export").output.startswith("# The rules of a harmonode node")
    assert "The rules are in" in rules("export", str(file)).output
    assert "Rule lung says the same already." in rules("import", str(file)).output
    file.write_text(file.read_text().replace("priority: 0", "priority: 7") + f"\n- {THICK}")
    shown = rules("import", str(file), "--dry-run").output
    assert "Rule lung would be changed." in shown
    assert "+priority: 7" in shown
    assert [row["version"] for row in json.loads(rules("list", "--json").output)] == [1], "a dry run changes nothing"
    told = json.loads(rules("import", str(file), "--why", "as in git", "--json").output)
    assert {one["name"]: one["what"] for one in told["changes"]} == {"lung": "changed", "thick": "added"}
    assert "as in git" in rules("history", "thick").output
    file.write_text(file.read_text().replace("identity", "identify").replace("SliceThickness", "SliceThicknes"))
    with pytest.raises(RuleError, match=r"(?s)rules.yaml:\d+:\d+: rule 'lung': .*\n.*rules.yaml:\d+:\d+: rule 'thick'"):
        rules("import", str(file))
    assert len(json.loads(rules("history", "lung", "--json").output)) == 2, "nothing of it"


def test_a_moment():
    now = datetime(2026, 3, 31, 12, tzinfo=UTC)
    assert moment("30d", now) == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert moment("90m", now) == datetime(2026, 3, 31, 10, 30, tzinfo=UTC)
    assert moment("2026-03-01") == datetime(2026, 3, 1, tzinfo=UTC)
    assert moment("2026-03-01T08:00+01:00") == datetime(2026, 3, 1, 7, tzinfo=UTC)
    for wrong in ("yesterday", "30", "999999w", ""):
        with pytest.raises(typer.BadParameter, match="expected so long ago"):
            moment(wrong)
