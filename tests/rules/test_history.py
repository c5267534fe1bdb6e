"""The versions of a rule can be read, and compared."""

from __future__ import annotations

import json

import pytest

from node.errors import RuleError
from node.rules import history, load
from node.store.session import Database

CT = {"tag": "Modality", "equals": "CT"}


@pytest.fixture
def session(database: Database):
    """A rule that was added, changed, disabled and removed."""
    with database.write() as session:
        for match, why in ((CT, "first"), ({"tag": "SliceThickness", "between": [None, 5]}, "thin ones")):
            rule = load.parse_rule({"name": "chest", "match": match, "plugin": "identity"})
            load.save(session, rule, author="user:ann", why=why)
        load.set_enabled(session, "chest", enabled=False, author="user:bob", why="service")
        load.remove(session, "chest", author="user:ann")
        yield session


def test_the_newest_first_with_who_why_and_what(session):
    versions = history.history(session, "chest")
    assert [(one.version, one.author, one.why, one.state) for one in versions] == [
        (4, "user:ann", "", "removed"),
        (3, "user:bob", "service", "disabled"),
        (2, "user:ann", "thin ones", "enabled"),
        (1, "user:ann", "first", "enabled"),
    ]
    removed, disabled, changed, added = versions
    assert added.changes == ()
    assert "-match: {tag: Modality, equals: CT}" in changed.changes
    assert [line for line in disabled.changes if line[0] in "+-"] == ["-enabled: true", "+enabled: false"]
    assert all(line.startswith(("-", "@@")) for line in removed.changes)
    assert json.loads(json.dumps([one.to_json() for one in versions]))[0]["version"] == 4


def test_two_versions_compared_show_what_stands_around(session):
    lines = history.compare(*(history.version(session, "chest", number) for number in (1, 3)))
    assert lines[0].startswith("--- chest version 1, 20")
    assert " plugin: identity" in lines
    assert "+enabled: false" in lines
    one = history.version(session, "chest", 1)
    assert history.compare(one, one) == []


def test_what_never_was_is_named(session):
    with pytest.raises(RuleError, match="there never was a rule 'chset'; there are: chest"):
        history.history(session, "chset")
    with pytest.raises(RuleError, match="rule 'chest' has no version 9; it has 1 to 4"):
        history.version(session, "chest", 9)
