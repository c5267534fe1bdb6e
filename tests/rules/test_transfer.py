"""Rules out of the database and into it: the same again, comments kept, all or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml

from node.errors import RuleError
from node.rules import load, transfer
from node.store import tables
from node.store.session import Database

COMMENTED = """\
# Rules of the ward. Ask Ann before you change one.

# Thick ones need another kernel.
- name: thick
  match: {tag: SliceThickness, between: [5, null]}   # mm
  plugin: identity

# Thin ones are measured well.
- name: thin
  description: as the study of 2026 wants it
  match: {tag: SliceThickness, between: [null, 2]}   # mm, too
  plugin: identity
# the end
"""


@pytest.fixture
def write(tmp_path: Path):
    def written(content: str):
        (tmp_path / "rules.yaml").write_text(content)
        return load.read_rules(tmp_path / "rules.yaml")

    return written


def put(session, rules, **options) -> dict[str, str]:
    changes = transfer.plan(session, rules, **options)
    transfer.apply(session, changes, author="user:ann", why="spring cleaning")
    return {change.name: change.what for change in changes}


def versions(session) -> int:
    return session.scalar(sa.select(sa.func.count()).select_from(tables.Rule))


def test_what_is_exported_is_imported_and_again_changes_nothing(database: Database, write):
    with database.write() as session:
        load.seed(session)
        text = transfer.export(session)
        assert text.startswith("# ")
        count = versions(session)
        assert put(session, write(text)) == {"lung": "same"}
        assert versions(session) == count
        put(session, write(COMMENTED))
        assert [one["name"] for one in yaml.safe_load(transfer.export(session))] == ["lung", "thick", "thin"]
    with database.write() as session:
        put(session, write(transfer.export(session)))
        assert versions(session) == count + 2


def test_over_an_earlier_export_comments_stay_where_a_rule_did_not_change(database: Database, write):
    with database.write() as session:
        put(session, write(COMMENTED))
        assert transfer.export(session, COMMENTED) == COMMENTED
        put(session, write(COMMENTED.replace("[5, null]", "[6, null]")))
        after = transfer.export(session, COMMENTED)
        assert "between: [6, null]" in after
        assert "# mm, too" in after, "of the rule that did not change"
        assert "# mm\n" not in after
        assert "# Thin ones are measured well.\n- name: thin" in after
        assert after.startswith("# Rules of the ward.")
        assert [rule.name for rule in write(after)] == ["thick", "thin"]
        load.seed(session)
        load.remove(session, "thin", author="user:ann")
        load.save(
            session, load.parse_rule({"name": "new", "match": {"tag": "KVP", "equals": 80}, "plugin": "p"}), author="a"
        )
        third = transfer.export(session, after)
        assert [rule.name for rule in write(third)] == ["thick", "new"]
        assert third.startswith("# Rules of the ward.")
        assert "Thin ones" not in third
        assert third.endswith("# the end\n")
        assert transfer.export(session, third) == third


def test_an_export_never_overwrites_what_is_no_file_of_rules(database: Database):
    with database.write() as session, pytest.raises(RuleError, match="the file to write to is not YAML"):
        transfer.export(session, "data_dir: [")


def test_an_alias_that_lost_its_anchor_is_written_out(database: Database, write):
    shared = "- {name: a, match: &m {tag: KVP, equals: 80}, plugin: p}\n- {name: b, priority: 1, match: {not: *m}, plugin: p}\n"
    with database.write() as session:
        put(session, write(shared))
        load.set_enabled(session, "a", enabled=False, author="user:ann")
        rules = write(transfer.export(session, shared))
        assert [(rule.name, rule.enabled) for rule in rules] == [("a", False), ("b", True)]


def test_what_the_file_does_not_name_stays_or_is_pruned(database: Database, write):
    with database.write() as session:
        load.seed(session)
        assert put(session, write(COMMENTED)) == {"lung": "kept", "thick": "added", "thin": "added"}
        changed = COMMENTED.replace("[null, 2]", "[null, 3]")
        assert put(session, write(changed), prune=True) == {"lung": "removed", "thick": "same", "thin": "changed"}
        assert [row.name for row in load.stored(session)] == ["thick", "thin"]
        said = session.scalars(sa.select(tables.AuditRecord).order_by(tables.AuditRecord.seq.desc())).first()
        assert (said.actor, said.detail["why"]) == ("user:ann", "spring cleaning")


def test_rules_that_change_places_are_judged_as_they_stand_afterwards(database: Database, write):
    swap = "- {name: wide, priority: %d, match: {tag: Modality, equals: CT}, plugin: p}\n- {name: narrow, priority: 5, match: {all: [{tag: Modality, equals: CT}, {tag: KVP, equals: 80}]}, plugin: p}\n"
    with database.write() as session:
        put(session, write(swap % 1))
        with pytest.raises(RuleError, match="'narrow' can never be reached"):
            write(swap % 9)
        hides = [
            load.parse_rule(
                {"name": "wider", "priority": 9, "match": {"tag": "Modality", "equals": "CT"}, "plugin": "p"}
            )
        ]
        with pytest.raises(RuleError, match="have the same match"):
            transfer.plan(session, hides)
        assert [change.what for change in transfer.plan(session, hides, prune=True)] == ["removed", "removed", "added"]
