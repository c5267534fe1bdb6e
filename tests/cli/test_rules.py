"""`harmonode rules`, as a person and as a program use it."""

from __future__ import annotations

import getpass
import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import BaseModel

from node import plugin
from node.errors import OperatorError, PermanentError, RuleError
from node.rules import load
from node.rules.match import InForce, decide
from node.series import SeriesFacts, TagValues
from node.store.session import Database
from node.store.tables import AuditRecord, Series

RULE = """
name: thick
description: thick slices too
priority: 10
match:
  all:
    - {tag: Modality, equals: CT}
    - {tag: SliceThickness, between: [5, 10]}
plugin: identity
destinations: [out]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "thick.yaml"
    path.write_text(RULE)
    return path


def test_list(rules):
    shown = rules("list").output
    assert "lung" in shown
    assert "all configured" in shown
    (row,) = json.loads(rules("list", "--json").output)
    assert (row["name"], row["version"], row["enabled"], row["author"], row["error"]) == ("lung", 1, True, "node", None)
    assert row["rule"]["plugin"] == "ct_harmonizer"


def test_list_shows_a_rule_that_cannot_be_loaded_any_more(rules, database: Database):
    with database.write() as session:
        row = load.find(session, "lung")
        row.document = {**row.document, "match": {"tag": "Gone", "equals": "CT"}}
    assert "(tag Gone): no such DICOM keyword" in " ".join(rules("list").output.split())
    assert "rule lung is removed" in rules("remove", "lung").output.lower()


def test_show_is_yaml_that_add_takes_back(rules, tmp_path: Path):
    shown = rules("show", "lung").output
    assert shown.startswith("# version 1, ")
    assert "shipped with harmonode" in shown
    copy = tmp_path / "copy.yaml"
    copy.write_text(shown)
    assert load.read_rules(copy) == load.read_rules(load.SHIPPED)
    assert json.loads(rules("show", "lung", "--json").output)["versions"][0]["author"] == "node"


def test_add_then_change_then_remove_with_who_and_why(rules, file: Path, database: Database):
    assert "Rule thick is in force, version 1." in rules("add", str(file), "--why", "one old scanner").output
    assert "nothing changed" in rules("add", str(file)).output
    file.write_text(RULE.replace("[5, 10]", "[5, 9]"))
    changed = rules("add", str(file)).output
    assert "version 2" in changed
    assert "+    between: [5, 9]" in changed
    assert "disabled, version 3" in rules("disable", "thick", "--why", "service").output
    assert "enabled, version 4" in rules("enable", "thick").output
    assert "removed" in rules("remove", "thick").output
    with database.read() as session:
        said = session.scalars(sa.select(AuditRecord).order_by(AuditRecord.seq)).all()[1:]
    assert {row.actor for row in said} == {f"user:{getpass.getuser()}"}
    assert [row.event for row in said] == ["configuration"] * 5
    assert [row.detail["why"] for row in said] == ["one old scanner", "", "service", "", ""]
    assert [row["name"] for row in json.loads(rules("list", "--json").output)] == ["lung"]


def test_add_says_which_rules_it_hides(rules, file: Path):
    file.write_text("{name: all, priority: 9, match: {tag: Modality, equals: CT}, plugin: identity}")
    assert "Rule lung is never reached now" in rules("add", str(file)).output


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("SliceThickness", "SliceThicknes", r"match\.all\[1\] \(tag SliceThicknes\): no such DICOM keyword; did you mean"),
        ("[out]", "[pacs]", "no destination pacs in the configuration; there are: out"),
        ("identity", "identify", "no plugin 'identify' is installed"),
        ("identity", "identity\nparameters: {strength: 1}", "parameters of plugin 'identity': strength"),
    ],
)  # fmt: skip
def test_add_refuses_what_is_wrong_and_keeps_nothing(rules, file: Path, was: str, becomes: str, said: str):
    file.write_text(RULE.replace(was, becomes))
    with pytest.raises(RuleError, match=said):
        rules("add", str(file))
    assert [row["name"] for row in json.loads(rules("list", "--json").output)] == ["lung"]


def test_add_checks_the_parameters_with_the_plugin(rules, file: Path, monkeypatch: pytest.MonkeyPatch):
    class Parameters(BaseModel):
        strength: float

    class Strong:
        name = "strong"
        Parameters = None

    Strong.Parameters = Parameters
    monkeypatch.setattr(plugin, "load", lambda _name: Strong())
    file.write_text(RULE + "parameters: {strength: very}\n")
    with pytest.raises(RuleError, match=r"rule 'thick': parameters of plugin 'strong': strength: .* number"):
        rules("add", str(file))


@pytest.mark.parametrize("words", [("show", "x"), ("remove", "x"), ("enable", "x"), ("disable", "x")])
def test_a_rule_that_is_not_there(rules, words: tuple[str, ...]):
    with pytest.raises(RuleError, match="no rule 'x'; there are: lung"):
        rules(*words)


def test_without_a_database_there_are_no_rules_to_change(bare):
    with pytest.raises(OperatorError, match="harmonode db upgrade"):
        bare("list")


def test_trying_rules_needs_no_node(bare, data: Path, tmp_path: Path):
    shown = bare("test", str(data / "chest" / "lung-dx-a0002-b70f")).output
    assert "Rules: as shipped, for there is no database yet" in shown
    assert "rule lung, priority 0: does not select it" in shown
    assert "✗ Slice Thickness (0018,0050) is 8 on 30 of 30 slices, wanted at most 5" in shown
    assert shown.count("✗") == 1 + shown.count("✗ Slice Thickness") + 2  # `all` and two parts denied by `not`
    assert not (tmp_path / "data").exists(), "nothing is made"


def test_trying_a_file_of_rules(bare, data: Path, file: Path):
    folder = str(data / "chest" / "lung-dx-a0002-b70f")
    assert "rule thick, priority 10: selects it" in bare("test", folder, "--rules", str(file)).output
    (tested,) = json.loads(bare("test", folder, "--rules", str(file), "--json").output)
    assert (tested["chosen"], tested["number_of_slices"], tested["malformed"]) == ("thick", 30, [])
    assert tested["answers"][0]["match"]["parts"][1]["path"] == "match.all[1]"


def test_trying_the_rules_in_force(rules, data: Path, file: Path):
    rules("add", str(file))
    shown = rules("test", str(data / "chest" / "lung-dx-a0002-b70f")).output
    assert "Rules: in force" in shown
    assert "rule thick, version 1, priority 10: selects it" in shown
    assert "rule lung, version 1, priority 0: does not select it" in shown


def test_trying_says_what_can_never_be_a_candidate(bare, data: Path):
    shown = bare("test", str(data / "phantom" / "head-localizer")).output
    assert "never a candidate, whatever a rule says" in shown
    assert "LOCALIZER" in shown


def test_trying_as_if_sent_by_another(bare, data: Path, file: Path):
    file.write_text("{name: ct9, match: {fact: calling_ae_title, equals: CT9}, plugin: identity}")
    folder = str(data / "phantom" / "head-ub")
    assert "calling AE title cannot be known" in bare("test", folder, "--rules", str(file)).output
    assert "selects it" in bare("test", folder, "--rules", str(file), "--calling", "CT9").output


def test_an_empty_folder(bare, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(PermanentError, match="holds no DICOM series"):
        bare("test", str(tmp_path / "empty"))


def test_explain(rules, database: Database):
    facts = SeriesFacts(
        "1.2", "1.2.3", "CT1", "HARMONODE", 2, None, None, None, None, None, {"Modality": TagValues(("MR",))}
    )
    with database.write() as session:
        decision = decide([InForce(rule, 1, enabled=True) for rule in load.read_rules(load.SHIPPED)], facts)
        now = sa.func.now()
        session.execute(
            sa.insert(Series).values(
                study_instance_uid="1.2", series_instance_uid="1.2.3", state="passed", state_since=now,
                first_arrival_at=now, last_arrival_at=now, instance_count=2, calling_ae_title="CT1",
                called_ae_title="HARMONODE", address="127.0.0.1", explanation=decision.to_json(), reason=decision.reason,
            )
        )  # fmt: skip
    shown = rules("explain", "1.2.3").output
    assert "Series 1.2.3 is passed: no rule selects it" in shown
    assert "✗ Modality (0008,0060) is MR on 2 of 2 slices, wanted CT" in shown
    told = json.loads(rules("explain", "1.2.3", "--json").output)
    assert (told["state"], told["rule"], told["explanation"]) == ("passed", None, decision.to_json())
    assert "near miss" not in shown, "it lacks all the rest too"
    with database.write() as session:
        session.execute(sa.update(Series).values(facts=facts.to_json()))
        load.set_enabled(session, "lung", enabled=False, author="test")
    assert "by the rules in force now: no rule is enabled" in rules("explain", "1.2.3", "--now").output
    told = json.loads(rules("explain", "1.2.3", "--now", "--json").output)
    assert (told["rule"], told["reason"]) == (None, "no rule is enabled")
    with pytest.raises(PermanentError, match=r"no series 9\.9"):
        rules("explain", "9.9")
