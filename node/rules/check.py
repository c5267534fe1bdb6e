"""What is wrong with one clause by itself: what it names, the type of what it asks for, an answer that is always the same."""

from __future__ import annotations

import math
from collections.abc import Iterator

import re2

from node.errors import RuleError
from node.rules.match import as_number, folded, in_words, regex
from node.rules.model import AllOf, AnyOf, Between, Clause, Equals, Like, Match, Matches, Not, OneOf, Present, parts
from node.rules.subjects import Kind, Subject, subject

MOST_NESTED = 20
_UNLIKELY = "\ue000 7"  # a value that no sensible pattern asks for


def problems(match: Match, path: str = "match", depth: int = 1) -> Iterator[tuple[str, str]]:
    """Every flaw of a single part, as its path and what is wrong with it."""
    if depth > MOST_NESTED:
        yield path, f"more than {MOST_NESTED} levels deep"
    elif isinstance(match, AllOf | AnyOf):
        members = parts(match, path)
        if not members:
            yield path, f"the list of `{'all' if isinstance(match, AllOf) else 'any'}` is empty"
        for here, part in members:
            yield from problems(part, here, depth + 1)
    elif isinstance(match, Not):
        yield from problems(match.not_, f"{path}.not", depth + 1)
    else:
        yield from ((path, flaw) for flaw in _flaws(match))


def _flaws(clause: Clause) -> Iterator[str]:
    try:
        about = subject(clause)
    except RuleError as error:
        yield str(error)
        return
    if isinstance(clause, Present):
        if clause.fact in {"number_of_slices", "calling_ae_title", "called_ae_title"}:
            yield f"{about.label} is always known, so `present` says nothing"
        return
    if about.kind is Kind.OPAQUE:
        yield f"{_named(about)} cannot be compared: only `present` can be asked of it"
        return
    match clause:
        case Equals(equals=wish):
            yield from _value_flaws(about, wish)
        case OneOf(one_of=wishes):
            yield from _list_flaws(about, wishes)
        case Between(between=(low, high)):
            yield from _range_flaws(about, low, high)
        case Like(like=pattern):
            yield from _glob_flaws(about, pattern)
        case Matches(matches=pattern):
            yield from _regex_flaws(about, pattern)


def _value_flaws(about: Subject, wish: object) -> Iterator[str]:
    number = None if isinstance(wish, str) else as_number(wish)
    got = f"{wish!r}" if isinstance(wish, str) else in_words(wish)
    if about.kind is Kind.FLAG and not isinstance(wish, bool):
        yield f"{about.label} is true or false, not {got}"
    elif about.kind is Kind.TEXT and not isinstance(wish, str):
        yield f"{_named(about)} is a text: write {got} in quotes"
    elif about.kind is Kind.TEXT and not folded(wish):
        yield f"an empty value counts as missing: ask for `present: false` of {about.label}"
    elif about.kind is Kind.TEXT and "\\" in str(wish) and about.max_values != 1:
        yield f"a backslash parts the values of {about.label}: ask for one value, with `value: N` for its place"
    elif about.choices and folded(wish) not in about.choices:
        yield f"{about.label} is one of {', '.join(about.choices)}, never {got}"
    elif about.kind in {Kind.NUMBER, Kind.INTEGER} and number is None:
        yield f"{_named(about)} is {about.kind.value}, not {got}"
    elif number is not None and about.kind is Kind.INTEGER and number != int(number):
        yield f"{_named(about)} is a whole number, never {got}"
    elif number is not None and not about.low <= number <= about.high:
        yield f"{about.label} is never {got}"


def _list_flaws(about: Subject, wishes: tuple[object, ...]) -> Iterator[str]:
    if not wishes:
        yield "the list of `one_of` is empty"
    seen: set[object] = set()
    for wish in wishes:
        yield from _value_flaws(about, wish)
        key = folded(wish) if isinstance(wish, str) else wish
        if key in seen:
            yield f"`one_of` names {in_words(wish)} twice"
        seen.add(key)
    every = {*about.choices} if about.choices else {True, False} if about.kind is Kind.FLAG else None
    if every is not None and every <= seen:
        yield f"`one_of` names every value that {about.label} can have: ask for `present: true`"


def _range_flaws(about: Subject, low: float | None, high: float | None) -> Iterator[str]:
    if about.kind not in {Kind.NUMBER, Kind.INTEGER}:
        yield f"`between` compares numbers, and {_named(about)} is {about.kind.value}"
    elif low is None and high is None:
        yield "`between` is open at both ends: ask for `present: true`"
    elif low is not None and high is not None and low > high:
        yield f"`between` is inverted: {in_words(low)} is more than {in_words(high)}"
    elif bounds(about, low, high) is None:
        yield f"{about.label} is never {_range(low, high)}, so this clause is always false"
    elif _covers(about, low, high):
        yield f"{about.label} is always {_range(low, high)}, so this clause says nothing"


def _covers(about: Subject, low: float | None, high: float | None) -> bool:
    """Only a fact has limits; an attribute may hold any number."""
    under = low is None or low <= about.low
    over = high is None or high >= about.high
    return under and over


def bounds(about: Subject, low: float | None, high: float | None) -> tuple[float, float] | None:
    """The range within what the subject can be, whole for whole numbers; None where nothing is left."""
    least = max(about.low, -math.inf if low is None else low)
    most = min(about.high, math.inf if high is None else high)
    if about.kind is Kind.INTEGER:
        least = least if math.isinf(least) else math.ceil(least)
        most = most if math.isinf(most) else math.floor(most)
    return (least, most) if least <= most else None


def _range(low: float | None, high: float | None) -> str:
    if low is None:
        return f"{in_words(high)} or less"
    return f"{in_words(low)} or more" if high is None else f"between {in_words(low)} and {in_words(high)}"


def _glob_flaws(about: Subject, pattern: str) -> Iterator[str]:
    if about.kind is not Kind.TEXT:
        yield f"`like` compares texts, and {_named(about)} is {about.kind.value}"
    elif not pattern.strip():
        yield "the pattern of `like` is empty"
    elif not set(pattern) & set("*?"):
        yield f"the pattern {pattern!r} has no * or ?: use `equals`, or *{pattern.strip()}* for a part of the text"
    elif not pattern.strip().strip("*"):
        yield f"the pattern {pattern!r} is like every value: ask for `present: true`"


def _regex_flaws(about: Subject, pattern: str) -> Iterator[str]:
    if about.kind is not Kind.TEXT:
        yield f"`matches` compares texts, and {_named(about)} is {about.kind.value}"
        return
    try:
        compiled = regex(pattern)
    except re2.error as error:
        why = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        yield f"the pattern {pattern!r} is not a regular expression of RE2: {why}"
        return
    if compiled.search("") is not None and compiled.search(_UNLIKELY) is not None:
        yield f"the pattern {pattern!r} matches every value: ask for `present: true`"


def _named(about: Subject) -> str:
    return f"{about.label}, {about.vr}," if about.vr else about.label
