"""Asking a rule whether it selects a series: facts in, an explanation out. Pure, and it never raises on any facts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import re2

from node.rules.explain import Answer, Decision, Explanation
from node.rules.model import (
    AllOf,
    AnyOf,
    Between,
    Clause,
    Equals,
    Like,
    Match,
    Matches,
    Not,
    OneOf,
    Present,
    Rule,
    parts,
)
from node.rules.subjects import Found, Kind, Subject, look_up, subject
from node.series import SeriesFacts


class InForce(NamedTuple):
    """A rule as it stands in the database."""

    rule: Rule
    version: int
    enabled: bool


def decide(rules: Sequence[InForce], facts: SeriesFacts) -> Decision:
    """Ask every enabled rule, the highest priority first; the first that matches is chosen.

    A series that can never be a candidate is asked nothing: the loop guard stands above the rules.
    """
    if facts.never:
        return Decision(chosen=None, answers=(), never=facts.never)
    asked = sorted(
        (entry for entry in rules if entry.enabled), key=lambda entry: (-entry.rule.priority, entry.rule.name)
    )
    answers = tuple(
        Answer(rule.name, version, rule.priority, evaluate(rule.match, facts)) for rule, version, _enabled in asked
    )
    chosen = next((answer.rule for answer in answers if answer.matched), None)
    return Decision(chosen, answers)


def evaluate(match: Match, facts: SeriesFacts, path: str = "match") -> Explanation:
    """Whether the series satisfies the match tree, with what was found for every clause."""
    if isinstance(match, AllOf | AnyOf):
        members = tuple(evaluate(part, facts, here) for here, part in parts(match, path))
        holding = sum(member.matched for member in members)
        if isinstance(match, AllOf):
            return Explanation(path, "all", "all of", holding == len(members), parts=members)
        return Explanation(path, "any", "any of", holding > 0, parts=members)
    if isinstance(match, Not):
        inner = evaluate(match.not_, facts, f"{path}.not")
        return Explanation(path, "not", "not", not inner.matched, parts=(inner,))
    return _ask(match, facts, path)


def _ask(clause: Clause, facts: SeriesFacts, path: str) -> Explanation:
    about, found = subject(clause), look_up(clause, facts)
    if isinstance(clause, Present):
        matched = not found.lacking if clause.present else found.nowhere
    else:
        matched = not found.lacking and all(
            any(satisfies(clause, about.kind, component) for component in components) for components in found.values
        )
    return Explanation(
        path,
        "clause",
        f"{about.label} {test_in_words(clause, about)}",
        matched,
        found=f"{about.label} {_in_words(found, about)}",
        wanted=wanted(clause, about),
        missing=bool(found.lacking),
    )


def satisfies(clause: Clause, kind: Kind, value: Any) -> bool:
    """Whether one value satisfies a clause other than `present`."""
    match clause:
        case Equals(equals=wish):
            return _same(kind, value, wish)
        case OneOf(one_of=wishes):
            return any(_same(kind, value, wish) for wish in wishes)
        case Between(between=(low, high)):
            number = as_number(value)
            return number is not None and (low is None or low <= number) and (high is None or number <= high)
        case Like(like=pattern):
            return glob(pattern).fullmatch(_plain(value)) is not None
        case Matches(matches=pattern):
            return regex(pattern).search(_plain(value)) is not None
    raise TypeError(f"{type(clause).__name__} is not a test of a value")


def _same(kind: Kind, value: Any, wish: Any) -> bool:
    if kind is Kind.FLAG:
        return value is wish
    if kind is Kind.TEXT:
        return folded(value) == folded(wish)
    number, other = as_number(value), as_number(wish)
    return number is not None and other is not None and math.isclose(number, other, rel_tol=1e-9)


def folded(value: Any) -> str:
    """Text as it is compared: without case and outer spaces (PS3.5 section 6.2: padding does not count)."""
    return str(value).strip().casefold()


def as_number(value: Any) -> float | None:
    """The finite number that a value is or spells; None where it is none."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _plain(value: Any) -> str:
    """Outer spaces do not count; what UTF-8 cannot carry becomes a question mark, for RE2 reads UTF-8 alone."""
    return str(value).strip().encode("utf-8", "replace").decode("utf-8")


@lru_cache(maxsize=512)
def regex(pattern: str) -> Any:
    """A compiled pattern of RE2, which takes time linear in the text whatever the pattern; raises re2.error."""
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    return re2.compile(pattern, options)


def glob(pattern: str) -> Any:
    """`*` is any text, `?` any one character, everything else itself."""
    wild = {"*": ".*", "?": "."}
    return regex("(?s)" + "".join(wild.get(letter) or re2.escape(letter) for letter in pattern.strip()))


def test_in_words(clause: Clause, about: Subject) -> str:
    """The clause as a sentence's predicate: `equals CT`."""
    return f"{'equals' if isinstance(clause, Equals) else 'is'} {wanted(clause, about)}"


def wanted(clause: Clause, about: Subject) -> str:
    """What the clause wants: `CT`, `at most 5 mm`, `one of CHEST, LUNG`."""
    match clause:
        case Equals(equals=wish):
            return in_words(wish, about.unit)
        case OneOf(one_of=wishes):
            return "one of " + ", ".join(in_words(wish, about.unit) for wish in wishes)
        case Between(between=(None, high)):
            return f"at most {in_words(high, about.unit)}"
        case Between(between=(low, None)):
            return f"at least {in_words(low, about.unit)}"
        case Between(between=(low, high)):
            return f"between {in_words(low)} and {in_words(high, about.unit)}"
        case Like(like=pattern):
            return f"like {in_words(pattern)}"
        case Matches(matches=pattern):
            return f"matching {in_words(pattern)}"
        case Present(present=wish):
            return "present" if wish else "absent"
    raise TypeError(f"{type(clause).__name__} is no clause")


def _in_words(found: Found, about: Subject) -> str:
    """`is 8 on 30 of 30 slices`; `is 5 or 8 over 30 slices`; `is missing on 3 of 30 slices, else 8`."""
    shown = ["\\".join(in_words(part) for part in components) + about.unit for components in found.values[:4]]
    if len(found.values) > len(shown):
        shown.append(f"{len(found.values) - len(shown)} other values")
    listed = ", ".join(shown[:-1]) + (" or " if len(shown) > 1 else "") + "".join(shown[-1:])
    if found.lacking:
        return found.lacking + (f", else {listed}" if shown else "")
    return f"is {listed}{found.spread}"


def in_words(value: Any, unit: str = "") -> str:
    """A value for people: numbers without needless digits; text on one line, without what steers a terminal, cut at 64."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:.10g}{unit}"
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(value).strip())
    return text if len(text) <= 64 else f"{text[:61]}..."
