"""What can never decide anything: contradictions, clauses that always hold, repetitions, shadowed rules.

Clauses that all must hold at once are read as literals: a test of one subject, or its denial. For a subject with one
value the literals of that subject are intersected: finite sets of values, else ranges. What cannot be decided so, such as two
different patterns, is taken as reachable.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from node.rules.check import bounds
from node.rules.match import InForce, folded, satisfies, test_in_words
from node.rules.model import AllOf, AnyOf, Between, Clause, Equals, Match, Not, OneOf, Present, parts
from node.rules.subjects import Kind, subject


@dataclass(frozen=True, slots=True)
class _Literal:
    """A clause that must hold, or with `denied` must not."""

    path: str
    clause: Clause
    denied: bool

    @property
    def subject(self) -> Hashable:
        return self.clause.tag, self.clause.value, self.clause.fact

    def __str__(self) -> str:
        return f"{self.path} ({'not ' * self.denied}{test_in_words(self.clause, subject(self.clause))})"


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the tree, with the `not`s around it counted."""

    path: str
    match: Match
    denied: bool


def problems(match: Match) -> Iterator[tuple[str, str]]:
    """Every part of a match tree of sound clauses that decides nothing, with the reason."""
    yield from _together([_strip(_Part("match", match, denied=False))], ())


def _strip(part: _Part) -> _Part:
    while isinstance(part.match, Not):
        part = _Part(f"{part.path}.not", part.match.not_, not part.denied)
    return part


def _members(part: _Part, group: type[AllOf | AnyOf]) -> list[_Part]:
    """The parts that hold together (AllOf) or instead of each other (AnyOf); by De Morgan a denied group is the other one."""
    other: type[AllOf | AnyOf] = AnyOf if group is AllOf else AllOf
    if not isinstance(part.match, AllOf | AnyOf) or not isinstance(part.match, other if part.denied else group):
        return [part]
    inside = [_strip(_Part(path, member, part.denied)) for path, member in parts(part.match, part.path)]
    return [one for member in inside for one in _members(member, group)]


def _together(members: Sequence[_Part], context: tuple[_Literal, ...]) -> Iterator[tuple[str, str]]:
    """Parts that must all hold, beside what the context demands."""
    flat = [one for member in members for one in _members(member, AllOf)]
    yield from _repeated(flat, "all")
    literals: list[_Literal] = []
    for part in _distinct(flat):
        if isinstance(part.match, Clause):
            literal = _Literal(part.path, part.match, part.denied)
            beside = [one for one in (*context, *literals) if one.subject == literal.subject]
            if _contradictory([*beside, literal]):
                yield part.path, f"can never hold beside {_listed(beside)}"
            else:
                literals.append(literal)
    for literal in list(literals):
        beside = [one for one in (*context, *literals) if one.subject == literal.subject and one is not literal]
        if beside and _contradictory([*beside, replace(literal, denied=not literal.denied)]):
            yield literal.path, f"always holds here, so it says nothing beside {_listed(beside)}"
            literals.remove(literal)
    for part in _distinct(flat):
        if not isinstance(part.match, Clause):
            yield from _instead(part, (*context, *literals))


def _instead(group: _Part, context: tuple[_Literal, ...]) -> Iterator[tuple[str, str]]:
    """Parts of which one must hold."""
    alternatives = _members(group, AnyOf)
    yield from _repeated(alternatives, "any")
    for part in _distinct(alternatives):
        yield from _together([part], context)


def _repeated(members: Sequence[_Part], word: str) -> Iterator[tuple[str, str]]:
    seen: dict[Hashable, str] = {}
    for part in members:
        same, opposite = (part.denied, canonical(part.match)), (not part.denied, canonical(part.match))
        if same in seen:
            yield part.path, f"says the same as {seen[same]}"
        elif opposite in seen:
            answer = "never hold together" if word == "all" else "hold always, one or the other"
            yield part.path, f"is the opposite of {seen[opposite]}: they {answer}"
        seen.setdefault(same, part.path)


def _distinct(members: Sequence[_Part]) -> list[_Part]:
    """The first of each, without what `_repeated` has found fault with."""
    seen: dict[Hashable, _Part] = {}
    for part in members:
        seen.setdefault(canonical(part.match), part)
    return list(seen.values())


def _listed(literals: Sequence[_Literal]) -> str:
    return " and ".join(map(str, literals))


def _contradictory(literals: Sequence[_Literal]) -> bool:
    """Whether literals of one subject cannot all hold, whatever the series; False where that cannot be decided."""
    about = subject(literals[0].clause)
    wanted = [one.clause for one in literals if not one.denied]
    denied = [one.clause for one in literals if one.denied]
    tests = [clause for clause in wanted if not isinstance(clause, Present)]
    everywhere = bool(tests) or Present in {type(clause) for clause in wanted if getattr(clause, "present", False)}
    nowhere = any(isinstance(clause, Present) and not clause.present for clause in wanted)
    if nowhere and everywhere:
        return True
    for clause in denied:
        if isinstance(clause, Present) and (everywhere if clause.present else nowhere):
            return True
    refused = [clause for clause in denied if not isinstance(clause, Present)]
    if {canonical(clause) for clause in tests} & {canonical(clause) for clause in refused}:
        return True
    if not tests or not about.single:
        return False
    values = _values(tests, about.kind, about.choices)
    if values is not None:
        return not values or any(all(satisfies(one, about.kind, value) for value in values) for one in refused)
    return _no_range_left(tests, refused)


def _values(tests: Sequence[Clause], kind: Kind, choices: tuple[str, ...]) -> list[Any] | None:
    """The values that satisfy every test; None where they cannot be counted."""
    candidates: Sequence[Any] | None = next((_named(test) for test in tests if isinstance(test, Equals | OneOf)), None)
    if candidates is None and kind is Kind.FLAG:
        candidates = (True, False)
    if candidates is None:
        candidates = choices or None
    if candidates is None:
        return None
    return [value for value in candidates if all(satisfies(test, kind, value) for test in tests)]


def _named(test: Equals | OneOf) -> tuple[Any, ...]:
    return (test.equals,) if isinstance(test, Equals) else test.one_of


def _no_range_left(tests: Sequence[Clause], refused: Sequence[Clause]) -> bool:
    low, high = -math.inf, math.inf
    for test in tests:
        if isinstance(test, Between):
            limits = bounds(subject(test), *test.between)
            low, high = (max(low, limits[0]), min(high, limits[1])) if limits else (math.inf, -math.inf)
    if low > high:
        return True
    outer = [bounds(subject(test), *test.between) for test in refused if isinstance(test, Between)]
    return any(limits is not None and limits[0] <= low and high <= limits[1] for limits in outer)


def canonical(match: Match | Clause) -> Hashable:
    """The same for two parts that say the same but for order, case or the way a number is written."""
    if isinstance(match, AllOf):
        return "all", frozenset(map(canonical, match.all))
    if isinstance(match, AnyOf):
        return "any", frozenset(map(canonical, match.any))
    if isinstance(match, Not):
        return "not", canonical(match.not_)
    (operator, wish), *_rest = ((key, wish) for key, wish in match if key not in Clause.model_fields)
    if isinstance(match, OneOf):
        wish = frozenset(_comparable(one) for one in match.one_of)
    return match.tag, match.value, match.fact, operator, _comparable(wish)


def _comparable(wish: Any) -> Hashable:
    return folded(wish) if isinstance(wish, str) else (type(wish) is bool, wish)


def shadowed(rules: Sequence[InForce]) -> list[tuple[str, str]]:
    """Pairs (rule, higher rule): every series that the first could select is taken by the second before it."""
    asked = sorted((entry.rule for entry in rules if entry.enabled), key=lambda rule: (-rule.priority, rule.name))
    demands = {rule.name: _demands(rule.match) for rule in asked}
    return [
        (lower.name, higher.name)
        for index, lower in enumerate(asked)
        for higher in asked[:index]
        if demands[higher.name] <= demands[lower.name]
    ]


def _demands(match: Match) -> frozenset[Hashable]:
    return frozenset(
        (part.denied, canonical(part.match)) for part in _members(_strip(_Part("", match, denied=False)), AllOf)
    )
