"""Rules from files and in the database: versions, who and why, and what may not stand beside each other."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from node import audit
from node.errors import ConfigError, RuleError
from node.rules import load
from node.rules.model import Rule
from node.store import tables
from node.store.session import Database

CT = {"tag": "Modality", "equals": "CT"}
THIN = {"tag": "SliceThickness", "between": [None, 5]}
YAML = """
name: chest
description: thin chest CT
priority: 5
match:
  all:
    - {tag: Modality, equals: CT}
    - {tag: SliceThickness, between: [null, 5]}   # an open end
    - not: {tag: BodyPartExamined, one_of: [HEAD]}
plugin: ct_harmonizer
parameters: {strength: 0.5}
destinations: [pacs]
"""


def a_rule(name="chest", match=CT, **fields) -> Rule:
    return load.parse_rule({"name": name, "match": match, "plugin": "identity", **fields})


class TestFiles:
    """What stands in YAML."""

    def read(self, tmp_path: Path, content: str) -> list[Rule]:
        path = tmp_path / "rules.yaml"
        path.write_text(content)
        return load.read_rules(path)

    def refused(self, tmp_path: Path, content: str) -> str:
        with pytest.raises(RuleError) as caught:
            self.read(tmp_path, content)
        return str(caught.value)

    def test_one_rule(self, tmp_path):
        (rule,) = self.read(tmp_path, YAML)
        assert (rule.name, rule.priority, rule.plugin, rule.destinations) == ("chest", 5, "ct_harmonizer", ("pacs",))
        assert rule.enabled

    def test_what_is_written_is_read_back(self, tmp_path):
        (rule,) = self.read(tmp_path, YAML)
        assert self.read(tmp_path, load.as_yaml(rule.document())) == [rule]

    def test_several_rules(self, tmp_path):
        one, two = (
            "{name: a, match: {tag: Modality, equals: CT}, plugin: p}",
            "{name: b, match: {tag: KVP, equals: 80}, plugin: p}",
        )
        assert [rule.name for rule in self.read(tmp_path, f"[{one}, {two}]")] == ["a", "b"]

    def test_two_rules_of_one_name(self, tmp_path):
        one, two = (
            "{name: a, match: {tag: Modality, equals: CT}, plugin: p}",
            "{name: a, match: {tag: KVP, equals: 80}, plugin: p}",
        )
        assert "two rules are called a" in self.refused(tmp_path, f"[{one}, {two}]")

    def test_two_rules_that_say_the_same(self, tmp_path):
        one, two = (
            "{name: a, match: {tag: Modality, equals: CT}, plugin: p}",
            "{name: b, match: {tag: Modality, equals: ct}, plugin: p}",
        )
        assert "rule 'b' can never be reached: rule 'a' is asked before it" in self.refused(tmp_path, f"[{one}, {two}]")

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("name: a\nname: b\n", "the key 'name' stands here twice"),
            ("{name: a, match: {tag: Modality, equals: CT, equals: MR}, plugin: p}", "the key 'equals' stands here twice"),
            ("name: [", "is not YAML"),
            ("name: !!timestamp 9", "is not YAML"),
            ("", "a rule is a map with name, match and plugin, not NoneType"),
            ("[]", "holds no rule"),
            ("- 5", "a rule is a map with name, match and plugin, not int"),
            ("{name: a, match: {tag: PatientSex, equals: NO}, plugin: p}", "match (tag PatientSex): "),
            ("{name: a, match: {tag: SoftwareVersions, equals: 2020-01-01}, plugin: p}", "match.equals (tag SoftwareVersions)"),
            ("!!python/object/apply:os.system [true]", "is not YAML"),
        ],
    )  # fmt: skip
    def test_what_is_no_rule(self, tmp_path, content, said):
        assert said in self.refused(tmp_path, content)

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(RuleError, match="cannot be read: No such file"):
            load.read_rules(tmp_path / "none.yaml")

    def test_a_file_that_is_no_text(self, tmp_path):
        (tmp_path / "rules.yaml").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(RuleError, match="is not YAML"):
            load.read_rules(tmp_path / "rules.yaml")


class TestReferences:
    """What a rule names must exist."""

    def check_plugin(self, name, parameters):
        if name != "identity" or parameters:
            raise ConfigError(f"no plugin {name!r} with {parameters}")

    def test_all_exist(self):
        load.check_references(a_rule(destinations=["pacs"]), ["pacs", "web"], self.check_plugin)

    def test_an_unknown_destination(self):
        with pytest.raises(
            RuleError, match="rule 'chest': no destination pcas in the configuration; there are: pacs, web"
        ):
            load.check_references(a_rule(destinations=["pacs", "pcas"]), ["pacs", "web"], self.check_plugin)

    def test_an_unknown_plugin(self):
        with pytest.raises(RuleError, match="rule 'chest': no plugin 'magic'"):
            load.check_references(a_rule(plugin="magic"), [], self.check_plugin)

    def test_wrong_parameters(self):
        with pytest.raises(RuleError, match=r"rule 'chest': no plugin 'identity' with \{'strength': 1\}"):
            load.check_references(a_rule(parameters={"strength": 1}), [], self.check_plugin)


class TestVersions:
    """Rules in the database."""

    def rows(self, database: Database) -> list[tables.Rule]:
        with database.read() as session:
            return list(session.scalars(sa.select(tables.Rule).order_by(tables.Rule.id)))

    def audited(self, database: Database) -> list[tables.AuditRecord]:
        with database.read() as session:
            assert audit.verify(session)[1] == []
            return list(session.scalars(sa.select(tables.AuditRecord).order_by(tables.AuditRecord.seq)))

    def test_a_change_is_a_new_version_with_who_why_and_what(self, database: Database):
        with database.write() as session:
            assert load.save(session, a_rule(), author="user:ann", why="first") == 1
        with database.write() as session:
            assert load.save(session, a_rule(match=THIN), author="user:bob", why="thin ones") == 2
        assert [(row.version, row.author, row.why) for row in self.rows(database)] == [
            (1, "user:ann", "first"),
            (2, "user:bob", "thin ones"),
        ]
        with database.read() as session:
            assert load.in_force(session) == [(a_rule(match=THIN), 2, True)]
        first, second = self.audited(database)
        assert (first.event, first.actor) == ("configuration", "user:ann")
        assert first.message == "rule chest added by user:ann, now version 1: first"
        assert second.message == "rule chest changed by user:bob, now version 2: thin ones"
        assert second.detail["before"]["match"] == CT
        assert second.detail["after"]["match"] == THIN
        assert "-match: {tag: Modality, equals: CT}" in second.detail["diff"]

    def test_the_same_again_changes_nothing(self, database: Database):
        for _ in range(2):
            with database.write() as session:
                assert load.save(session, a_rule(), author="user:ann") == 1
        assert len(self.rows(database)) == len(self.audited(database)) == 1

    def test_disable_and_enable(self, database: Database):
        with database.write() as session:
            load.save(session, a_rule(), author="user:ann")
            assert load.set_enabled(session, "chest", enabled=False, author="user:ann", why="service") == 2
            assert load.set_enabled(session, "chest", enabled=False, author="user:ann") == 2
            assert [(entry.version, entry.enabled) for entry in load.in_force(session)] == [(2, False)]
            assert load.set_enabled(session, "chest", enabled=True, author="user:ann") == 3
            assert load.in_force(session) == [(a_rule(), 3, True)]
        assert "-enabled: true" in self.audited(database)[1].detail["diff"]

    def test_remove_keeps_the_versions(self, database: Database):
        with database.write() as session:
            load.save(session, a_rule(), author="user:ann")
            load.remove(session, "chest", author="user:ann", why="not needed")
            assert load.in_force(session) == []
        assert [(row.version, row.removed, row.enabled) for row in self.rows(database)] == [
            (1, False, True),
            (2, True, False),
        ]
        assert self.audited(database)[-1].message == "rule chest removed by user:ann, now version 2: not needed"
        with database.write() as session:
            assert load.save(session, a_rule(), author="user:ann") == 3

    @pytest.mark.parametrize("change", [load.remove, lambda *a, **k: load.set_enabled(*a, enabled=True, **k)])
    def test_a_rule_that_is_not_there(self, database: Database, change):
        with database.write() as session:
            load.save(session, a_rule(), author="user:ann")
        with pytest.raises(RuleError, match="no rule 'chset'; there are: chest"), database.write() as session:
            change(session, "chset", author="user:ann")
        assert len(self.rows(database)) == 1

    def test_a_rule_that_no_series_would_reach_is_not_kept(self, database: Database):
        with database.write() as session:
            load.save(session, a_rule("wide", CT, priority=5), author="user:ann")
        narrow = a_rule("narrow", {"all": [CT, THIN]}, priority=1)
        with pytest.raises(RuleError, match="'narrow' can never be reached: rule 'wide'"), database.write() as session:
            load.save(session, narrow, author="user:ann")
        with database.write() as session:
            load.set_enabled(session, "wide", enabled=False, author="user:ann")
            load.save(session, narrow, author="user:ann")
        assert len(self.rows(database)) == 3

    def test_a_rule_that_says_what_another_says_is_not_kept(self, database: Database):
        with database.write() as session:
            load.save(session, a_rule("one", CT, priority=1), author="user:ann")
        with pytest.raises(RuleError, match="rules 'one' and 'two' have the same match"), database.write() as session:
            load.save(session, a_rule("two", CT, priority=5), author="user:ann")

    def test_a_rule_may_go_before_others_and_says_which_it_hides(self, database: Database):
        with database.write() as session:
            load.save(session, a_rule("narrow", {"all": [CT, THIN]}), author="user:ann")
            load.save(session, a_rule("wide", CT, priority=5), author="user:ann")
            assert load.hidden_by(session, "wide") == ["narrow"]
            assert load.hidden_by(session, "narrow") == []

    def test_a_disabled_rule_may_be_anything_sound(self, database: Database):
        with database.write() as session:
            load.save(session, a_rule("one", CT), author="user:ann")
            load.save(session, a_rule("two", CT, enabled=False), author="user:ann")
            with pytest.raises(RuleError, match="can never be reached"):
                load.set_enabled(session, "two", enabled=True, author="user:ann")

    def test_a_stored_rule_that_became_unsound_is_named(self, database: Database):
        with database.write() as session:
            load.save(session, a_rule(), author="user:ann")
            row = load.find(session, "chest")
            row.document = {**row.document, "match": {"tag": "Gone", "equals": "CT"}}
        with database.read() as session, pytest.raises(RuleError, match=r"rule 'chest' .* match \(tag Gone\)"):
            load.in_force(session)


class TestSeed:
    """What a new node starts with."""

    def test_the_shipped_rules_once(self, database: Database):
        for expected in (1, 0):
            with database.write() as session:
                assert load.seed(session) == expected
        with database.read() as session:
            assert [(entry.rule.name, entry.version, entry.enabled) for entry in load.in_force(session)] == [
                ("lung", 1, True)
            ]
            (said,) = session.scalars(sa.select(tables.AuditRecord))
            assert (said.actor, said.message) == (
                "node",
                "rule lung added by node, now version 1: shipped with harmonode",
            )

    def test_not_where_a_person_removed_them(self, database: Database):
        with database.write() as session:
            load.seed(session)
            load.remove(session, "lung", author="user:ann")
            assert load.seed(session) == 0
            assert load.in_force(session) == []
