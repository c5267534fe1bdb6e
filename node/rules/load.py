"""Rules from YAML, known to be sound before they are kept; and in the database, every version with who and why."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from node.rules.file import Text, parse, texts
from node.rules.flaws import Flaw, from_pydantic, named, places_of
from node.rules.match import InForce
from node.rules.model import Rule
from node.store import tables

SHIPPED = Path(__file__).with_name("shipped.yaml")


@dataclass(frozen=True, slots=True)
class Written:
    """A rule of a file."""

    rule: Rule
    text: Text


CheckPlugin = Callable[[str, Mapping[str, Any]], object]
"""Raises ConfigError where no such plugin is installed, or where its parameters are wrong."""


def parse_rule(document: Mapping[str, Any]) -> Rule:
    """A rule that is known to be sound by itself.

    Raises:
        RuleError: names every clause that is misspelt, of a wrong type, or decides nothing.
    """
    rule, flaws = examine(document)
    if rule is None or flaws:
        told = "; ".join(flaw.told(document) for flaw in flaws)
        raise RuleError(f"{named(document)} cannot be loaded: {told}" if isinstance(document, Mapping) else told)
    return rule


def examine(document: Any) -> tuple[Rule | None, list[Flaw]]:
    """The rule that a document is, or everything that is wrong with it."""
    if not isinstance(document, Mapping):
        return None, [Flaw((), f"a rule is a map with name, match and plugin, not {type(document).__name__}")]
    try:
        rule = Rule.model_validate(document)
    except ValidationError as error:
        return None, [from_pydantic(document, one["loc"], one["type"], one["msg"]) for one in error.errors()]
    except RecursionError:
        return None, [Flaw(("match",), f"more than {check.MOST_NESTED} levels deep")]
    unsound = list(check.problems(rule.match)) or list(reach.problems(rule.match))
    return rule, [Flaw(places_of(path), what) for path, what in unsound]


def parse_text(text: str) -> Rule:
    """The one rule of a YAML text. Raises as `parse_rule`, and where it is not YAML."""
    found = parse(text, "this")
    if len(found) > 1:
        raise RuleError(f"expected one rule, got {len(found)}")
    return parse_rule(found[0].document)


def read_rules(path: Path) -> list[Rule]:
    """The rules of a YAML file: one, or a list of them.

    Raises:
        RuleError: the file is not YAML, a rule is unsound, or two have the same name; each flaw with its line.
    """
    return [one.rule for one in read_file(path)]


def read_file(path: Path) -> list[Written]:
    """As `read_rules`, each with where it stands.

    Raises:
        RuleError: as `read_rules`.
    """
    written, flaws = [], []
    for text in texts(path):
        rule, wrong = examine(text.document)
        flaws += [f"{text.where(flaw.places)}: {named(text.document)}: {flaw.told(text.document)}" for flaw in wrong]
        if rule is not None:
            written.append(Written(rule, text))
    if flaws:
        raise RuleError("\n".join(flaws))
    seen: set[str] = set()
    for one in written:
        if one.rule.name in seen:
            raise RuleError(f"{one.text.where(('name',))}: two rules are called {one.rule.name}")
        seen.add(one.rule.name)
    check_reachable([InForce(one.rule, 0, one.rule.enabled) for one in written], seen)
    return written


def reference_flaws(rule: Rule, destinations: Collection[str], check_plugin: CheckPlugin) -> Iterator[Flaw]:
    """What the rule names and does not exist: its plugin, with these parameters, and its destinations."""
    for index, name in enumerate(rule.destinations):
        if name not in destinations:
            known = ", ".join(destinations) or "none"
            yield Flaw(("destinations", index), f"no destination {name} in the configuration; there are: {known}")
    try:
        check_plugin(rule.plugin, rule.parameters)
    except ConfigError as error:
        yield Flaw(("parameters",) if rule.parameters else ("plugin",), str(error))


def check_references(rule: Rule, destinations: Collection[str], check_plugin: CheckPlugin) -> None:
    """Whether what the rule names exists: its plugin, with these parameters, and its destinations.

    Raises:
        RuleError: names what does not.
    """
    if flaws := list(reference_flaws(rule, destinations, check_plugin)):
        raise RuleError(f"rule {rule.name!r}: {'; '.join(flaw.what for flaw in flaws)}")


def check_file(rules: Sequence[Written], destinations: Collection[str], check_plugin: CheckPlugin) -> None:
    """As `check_references`, of all rules of a file.

    Raises:
        RuleError: names what does not, each with its line.
    """
    flaws = [
        f"{one.text.where(flaw.places)}: rule {one.rule.name!r}: {flaw.what}"
        for one in rules
        for flaw in reference_flaws(one.rule, destinations, check_plugin)
    ]
    if flaws:
        raise RuleError("\n".join(flaws))


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
    require_reachable(session, rule)
    return write_version(session, rule.name, rule.document(), current, author=author, why=why)


def require_reachable(session: Session, rule: Rule) -> None:
    """Whether a series could reach the rule, were it in force beside the others; a disabled one may be any.

    Raises:
        RuleError: another rule makes it unreachable, or says the same.
    """
    if rule.enabled:
        others = [loaded(row) for row in stored(session) if row.enabled and row.name != rule.name]
        check_reachable([*others, InForce(rule, 0, enabled=True)], [rule.name])


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
        return write_version(session, name, document, current, author=author, why=why)
    return current.version


def remove(session: Session, name: str, *, author: str, why: str = "") -> None:
    """Take a rule out of force. Its versions are kept, for the jobs that name them.

    Raises:
        RuleError: there is none of that name.
    """
    write_version(session, name, None, find(session, name), author=author, why=why)


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


def write_version(
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
