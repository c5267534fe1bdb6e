"""Rules from YAML, known to be sound before they are kept; and in the database, every version with who and why."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml
from pydantic import ValidationError
from sqlalchemy.orm import Session

from node.audit import Event, record
from node.errors import ConfigError, RuleError
from node.rules import check, reach
from node.rules.match import InForce
from node.rules.model import KINDS, Clause, Rule
from node.rules.when import When, Window
from node.store import tables

SHIPPED = Path(__file__).with_name("shipped.yaml")

CheckPlugin = Callable[[str, Mapping[str, Any]], object]
"""Raises ConfigError where no such plugin is installed, or where its parameters are wrong."""


def parse_rule(document: Mapping[str, Any]) -> Rule:
    """A rule that is known to be sound by itself.

    Raises:
        RuleError: names every clause that is misspelt, of a wrong type, or decides nothing.
    """
    if not isinstance(document, Mapping):
        raise RuleError(f"a rule is a map with name, match and plugin, not {type(document).__name__}")
    try:
        rule = Rule.model_validate(document)
    except ValidationError as error:
        flaws = [_from_pydantic(document, one["loc"], one["type"], one["msg"]) for one in error.errors()]
        raise _rule_error(document, flaws) from error
    unsound = list(check.problems(rule.match)) or list(reach.problems(rule.match))
    if unsound:
        raise _rule_error(document, [(_places(path), what) for path, what in unsound])
    return rule


def parse_text(text: str) -> Rule:
    """The one rule of a YAML text. Raises as `parse_rule`, and where it is not YAML."""
    try:
        document = yaml.load(text, Loader=_NoKeyTwice)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        raise RuleError(f"this is not YAML: {error}") from error
    return parse_rule(document)


def read_rules(path: Path) -> list[Rule]:
    """The rules of a YAML file: one, or a list of them.

    Raises:
        RuleError: the file is not YAML, a rule is unsound, or two have the same name.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_NoKeyTwice)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RuleError(f"{path} is not YAML: {error}") from error
    except OSError as error:
        raise RuleError(f"{path} cannot be read: {error.strerror}") from error
    documents = content if isinstance(content, list) else [content]
    if not documents:
        raise RuleError(f"{path} holds no rule")
    rules = [parse_rule(document) for document in documents]
    names = [rule.name for rule in rules]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RuleError(f"{path}: two rules are called {', '.join(twice)}")
    check_reachable([InForce(rule, 0, rule.enabled) for rule in rules], names)
    return rules


def check_references(rule: Rule, destinations: Collection[str], check_plugin: CheckPlugin) -> None:
    """Whether what the rule names exists: its plugin, with these parameters, and its destinations.

    Raises:
        RuleError: names what does not.
    """
    unknown = [name for name in rule.destinations if name not in destinations]
    if unknown:
        known = ", ".join(destinations) or "none"
        raise RuleError(
            f"rule {rule.name!r}: no destination {', '.join(unknown)} in the configuration; there are: {known}"
        )
    try:
        check_plugin(rule.plugin, rule.parameters)
    except ConfigError as error:
        raise RuleError(f"rule {rule.name!r}: {error}") from error


def check_reachable(rules: Sequence[InForce], names: Collection[str]) -> None:
    """Whether none of the named rules is hidden behind another.

    Raises:
        RuleError: names the rule that no series can reach, and the one before it.
    """
    for lower, higher in reach.shadowed(rules):
        if lower in names:
            raise RuleError(
                f"rule {lower!r} can never be reached: rule {higher!r} is asked before it and selects whatever it selects;"
                " change the priority or the match of one of them"
            )
    said: dict[Hashable, str] = {}
    for rule in (entry.rule for entry in rules if entry.enabled):
        twin = said.setdefault(reach.canonical(rule.match), rule.name)
        if twin != rule.name and {twin, rule.name} & set(names):
            raise RuleError(f"rules {twin!r} and {rule.name!r} have the same match: only one of them is ever reached")


def stored(session: Session) -> list[tables.Rule]:
    """The newest version of every rule that is not removed, by name."""
    newest = sa.select(tables.Rule.name, sa.func.max(tables.Rule.version).label("version"))
    newest_of = newest.group_by(tables.Rule.name).subquery()
    query = sa.select(tables.Rule).join(
        newest_of, sa.and_(tables.Rule.name == newest_of.c.name, tables.Rule.version == newest_of.c.version)
    )
    return list(session.scalars(query.where(tables.Rule.removed.is_(False)).order_by(tables.Rule.name)))


def loaded(row: tables.Rule) -> InForce:
    """A stored rule, checked again: this release may know less or more than the one that stored it.

    Raises:
        RuleError: it is not sound any more.
    """
    return InForce(parse_rule(row.document), row.version, row.enabled)


def in_force(session: Session) -> list[InForce]:
    """Every rule as it stands, enabled or not.

    Raises:
        RuleError: a stored rule is not sound any more.
    """
    return [loaded(row) for row in stored(session)]


def find(session: Session, name: str) -> tables.Rule:
    """The rule of that name as it stands.

    Raises:
        RuleError: there is none.
    """
    rows = {row.name: row for row in stored(session)}
    if name not in rows:
        raise RuleError(f"no rule {name!r}; there are: {', '.join(rows) or 'none'}")
    return rows[name]


def save(session: Session, rule: Rule, *, author: str, why: str = "") -> int:
    """Put a rule in force, as a new version where one of that name exists; returns its version.

    A rule that is the same as the one in force is not written again.

    Raises:
        RuleError: another rule makes it unreachable, or says the same.
    """
    rows = stored(session)
    current = next((row for row in rows if row.name == rule.name), None)
    if current is not None and current.document == rule.document():
        return current.version
    if rule.enabled:
        others = [loaded(row) for row in rows if row.enabled and row.name != rule.name]
        check_reachable([*others, InForce(rule, 0, enabled=True)], [rule.name])
    return _write(session, rule.name, rule.document(), current, author=author, why=why)


def set_enabled(session: Session, name: str, *, enabled: bool, author: str, why: str = "") -> int:
    """Enable or disable a rule, as a new version; returns its version.

    Raises:
        RuleError: there is none of that name; or it is to be enabled and is unsound or unreachable.
    """
    current = find(session, name)
    document = {**current.document, "enabled": enabled}
    if enabled:
        return save(session, parse_rule(document), author=author, why=why)
    if current.enabled:
        return _write(session, name, document, current, author=author, why=why)
    return current.version


def remove(session: Session, name: str, *, author: str, why: str = "") -> None:
    """Take a rule out of force. Its versions are kept, for the jobs that name them.

    Raises:
        RuleError: there is none of that name.
    """
    _write(session, name, None, find(session, name), author=author, why=why)


def hidden_by(session: Session, name: str) -> list[str]:
    """The rules that no series reaches because this one is asked before them and selects as much."""
    rules = [loaded(row) for row in stored(session) if row.enabled]
    return [lower for lower, higher in reach.shadowed(rules) if higher == name]


def seed(session: Session) -> int:
    """Put the shipped rules in force where there never was a rule; returns how many were put in."""
    if session.scalar(sa.select(sa.func.count()).select_from(tables.Rule)):
        return 0
    rules = read_rules(SHIPPED)
    for rule in rules:
        save(session, rule, author="node", why="shipped with harmonode")
    return len(rules)


def _write(
    session: Session, name: str, after: dict[str, Any] | None, current: tables.Rule | None, *, author: str, why: str
) -> int:
    before = current.document if current is not None else None
    last = session.scalar(sa.select(sa.func.max(tables.Rule.version)).where(tables.Rule.name == name)) or 0
    row = tables.Rule(
        name=name,
        version=last + 1,
        enabled=bool(after and after["enabled"]),
        removed=after is None,
        document=after if after is not None else before or {},
        author=author,
        why=why,
        at=datetime.now(UTC),
    )
    session.add(row)
    changes = diff(before, after)
    verb = "removed" if after is None else "added" if before is None else "changed"
    record(
        session,
        Event.CONFIGURATION,
        f"rule {name} {verb} by {author}, now version {row.version}" + (f": {why}" if why else ""),
        actor=author,
        detail={"rule": name, "version": row.version, "why": why, "before": before, "after": after, "diff": changes},
    )
    return row.version


def diff(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[str]:
    """What changed, as the lines of a unified diff of the YAML."""
    old, new = (as_yaml(document).splitlines() if document else [] for document in (before, after))
    return [line for line in difflib.unified_diff(old, new, lineterm="", n=0) if not line.startswith(("---", "+++"))]


def as_yaml(document: Mapping[str, Any]) -> str:
    """A rule's document as a person would write it."""
    return yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)


class _NoKeyTwice(yaml.SafeLoader):
    """YAML lets the last of two equal keys win in silence; a clause with two `equals` is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _value in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(
                problem=f"the key {twice[0]!r} stands here twice", problem_mark=node.start_mark
            )
        return super().construct_mapping(node, deep)


Places = Sequence[int | str]
"""Where something stands in a document: keys and indices from the top."""


def _rule_error(document: Mapping[str, Any], flaws: Sequence[tuple[Places, str]]) -> RuleError:
    name = f"rule {document['name']!r}" if document.get("name") else "a rule without a name"
    listed = "; ".join(f"{_path(places)}{_subject_at(document, places)}: {what}" for places, what in flaws)
    return RuleError(f"{name} cannot be loaded: {listed}")


def _path(places: Places) -> str:
    return "".join(f"[{place}]" if isinstance(place, int) else f".{place}" for place in places).lstrip(".")


def _places(path: str) -> Places:
    """Those of a path such as `match.all[2].any[0]`."""
    return [int(index) if index else word for word, index in re.findall(r"(\w+)|\[(\d+)\]", path)]


def _subject_at(document: Mapping[str, Any], places: Places) -> str:
    """` (tag BodyPartExamined)`: what the clause at that place, or around it, speaks of."""
    said = ""
    for part in _along(document, places):
        if isinstance(part, Mapping):
            said = next((f" ({key} {part[key]})" for key in ("tag", "fact") if part.get(key) is not None), said)
    return said


def _along(document: Any, places: Places) -> list[Any]:
    """Every part of the document on the way to that place, as far as there are any."""
    found = [document]
    for place in places:
        try:
            found.append(found[-1][place])
        except (KeyError, IndexError, TypeError):
            break
    return found


def _from_pydantic(document: Mapping[str, Any], where: Places, kind: str, said: str) -> tuple[Places, str]:
    """Place and message of an error of the model, for people."""
    places = [place for place in where if not str(place).startswith("<")]
    if "between" in places and kind in {"tuple_type", "too_long", "too_short", "missing"}:
        return places, "expected two numbers, [low, high], either of them null for an open end"
    if kind == "union_tag_not_found":
        return places, _no_part(_along(document, places)[-1])
    if kind == "extra_forbidden":
        return places, _unexpected(str(places[-1]), _along(document, places[:-1])[-1])
    if kind == "missing":
        return places, "is missing"
    return places, said.removeprefix("Value error, ")


def _no_part(part: Any) -> str:
    tests = ", ".join(KINDS)
    if not isinstance(part, Mapping):
        return f"expected a clause such as {{tag: Modality, equals: CT}}, or all, any, not; got {part!r}"
    hints = [_did_you_mean(str(key), KINDS) for key in part if key not in Clause.model_fields]
    return f"nothing here says what to test{''.join(hints)}; expected one of {tests}"


_OF_A_CLAUSE = [*KINDS, *Clause.model_fields]
_KNOWN = (
    ("plugin", [*Rule.model_fields]),
    ("zone", [*When.model_fields]),
    ("hours", [*Window.model_fields]),
    ("days", [*Window.model_fields]),
)
"""What tells a part of a rule that is no part of its match tree, and what may stand in it."""


def _unexpected(key: str, part: Any) -> str:
    if key in KINDS and isinstance(part, Mapping):
        return f"a part of the tree has one test, and this one has {' and '.join(one for one in part if one in KINDS)}"
    known = next((fields for mark, fields in _KNOWN if isinstance(part, Mapping) and mark in part), _OF_A_CLAUSE)
    return f"unknown key{_did_you_mean(key, known)}"


def _did_you_mean(word: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else ""
