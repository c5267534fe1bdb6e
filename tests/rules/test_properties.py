"""What holds of every match tree and all facts."""

from __future__ import annotations

import contextlib
import json
import math
import re
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from node.errors import RuleError
from node.rules.explain import Explanation, summary, text
from node.rules.load import parse_rule
from node.rules.match import evaluate
from node.rules.model import (
    KINDS,
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
)
from node.rules.subjects import FACTS
from node.rules.when import opens
from node.series import SeriesFacts, TagValues

# A busy machine is no failure.
patiently = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

TEXTS = ("Modality", "ImageType", "SeriesDescription")
NUMBERS = ("SliceThickness", "KVP", "PixelSpacing")
words = st.sampled_from(["CT", "ct ", "AXIAL", "ORIGINAL", "Thörax", "x"]) | st.text(max_size=6)
figures = st.integers(-3, 130) | st.floats(-10, 10, allow_nan=False).map(lambda number: round(number, 2))


def scalars():
    odd = st.none() | st.booleans() | st.floats() | st.binary(max_size=3)
    return words | figures | odd


tag_values = st.builds(
    TagValues,
    st.lists(scalars() | st.lists(scalars(), max_size=3).map(tuple), max_size=3).map(tuple),
    st.integers(0, 3),
)
all_facts = st.builds(
    SeriesFacts,
    study_instance_uid=st.just("1.2"),
    series_instance_uid=st.just("1.2.3"),
    calling_ae_title=words,
    called_ae_title=words,
    number_of_slices=st.integers(0, 200),
    orientation=st.none() | st.sampled_from(["axial", "oblique"]) | words,
    gantry_tilt_deg=st.none() | st.floats(),
    slice_spacing_mm=st.none() | st.floats(),
    spacing_uniform=st.none() | st.booleans(),
    z_extent_mm=st.none() | st.floats(),
    tags=st.dictionaries(st.sampled_from([*TEXTS, *NUMBERS]), tag_values),
)
ends = st.none() | figures


def of_text(**subject: Any):
    return st.one_of(
        st.builds(Equals, **subject, equals=words),
        st.builds(OneOf, **subject, one_of=st.lists(words, min_size=1, max_size=3).map(tuple)),
        st.builds(Like, **subject, like=st.sampled_from(["*a*", "C?", "*", "?x*"])),
        st.builds(Matches, **subject, matches=st.sampled_from(["^c", "a|x", "(a*)*$", "\\d"])),
        st.builds(Present, **subject, present=st.booleans()),
    )


def of_number(**subject: Any):
    return st.one_of(
        st.builds(Equals, **subject, equals=figures),
        st.builds(OneOf, **subject, one_of=st.lists(figures, min_size=1, max_size=3).map(tuple)),
        st.builds(Between, **subject, between=st.tuples(ends, ends)),
        st.builds(Present, **subject, present=st.booleans()),
    )


leaves = st.one_of(
    of_text(tag=st.sampled_from(TEXTS)),
    of_text(tag=st.just("ImageType"), value=st.integers(1, 4)),
    of_text(fact=st.sampled_from(["orientation", "calling_ae_title"])),
    of_number(tag=st.sampled_from(NUMBERS)),
    of_number(fact=st.sampled_from(["number_of_slices", "gantry_tilt_deg", "slice_spacing_mm", "z_extent_mm"])),
    st.builds(Equals, fact=st.just("spacing_uniform"), equals=st.booleans()),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: AllOf(all=tuple(parts))),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: AnyOf(any=tuple(parts))),
        inner.map(lambda part: Not(not_=part)),
    ),
    max_leaves=8,
)


@patiently
@given(trees, all_facts)
def test_no_facts_make_it_raise_and_it_can_always_be_read(match: Match, facts: SeriesFacts):
    said = evaluate(match, facts)
    assert Explanation.from_json(json.loads(json.dumps(said.to_json()))) == said
    assert text(said).count("\n") + 1 == _size(said)
    assert summary(said)


@patiently
@given(trees, all_facts)
def test_the_answer_is_that_of_plain_logic_over_the_leaves(match: Match, facts: SeriesFacts):
    assert evaluate(match, facts).matched is _plainly(match, facts)


@patiently
@given(st.lists(trees, min_size=1, max_size=3), all_facts)
def test_de_morgan(parts: list[Match], facts: SeriesFacts):
    denied = tuple(Not(not_=part) for part in parts)
    none = Not(not_=AnyOf(any=tuple(parts)))
    assert evaluate(none, facts).matched is evaluate(AllOf(all=denied), facts).matched
    some = Not(not_=AllOf(all=tuple(parts)))
    assert evaluate(some, facts).matched is evaluate(AnyOf(any=denied), facts).matched


@patiently
@given(leaves, all_facts)
def test_a_leaf_holds_only_if_every_instance_satisfies_it(leaf: Clause, facts: SeriesFacts):
    assert evaluate(leaf, facts).matched is _naively(leaf, facts)


@patiently
@given(trees, all_facts)
def test_a_clause_that_never_decides_is_never_needed(match: Match, facts: SeriesFacts):
    """A rule that loads survives the way through its document, and says the same."""
    try:
        rule = parse_rule({"name": "any", "match": match.model_dump(by_alias=True, exclude_none=True), "plugin": "p"})
    except RuleError:
        return
    assert parse_rule(rule.document()) == rule
    assert evaluate(rule.match, facts) == evaluate(match, facts)


@patiently
@given(st.lists(leaves, min_size=2, max_size=4), all_facts)
def test_a_contradiction_is_never_satisfied(parts: list[Match], facts: SeriesFacts):
    """What the loader calls impossible is impossible."""
    match = AllOf(all=tuple(parts))
    try:
        parse_rule({"name": "any", "match": match.model_dump(by_alias=True, exclude_none=True), "plugin": "p"})
    except RuleError as error:
        if "can never hold" in str(error) or "never hold together" in str(error):
            assert not evaluate(match, facts).matched


@patiently
@given(st.lists(leaves, min_size=2, max_size=4), all_facts)
def test_what_always_holds_can_be_left_out(parts: list[Match], facts: SeriesFacts):
    """What the loader calls needless changes no answer."""
    match = AllOf(all=tuple(parts))
    try:
        parse_rule({"name": "any", "match": match.model_dump(by_alias=True, exclude_none=True), "plugin": "p"})
    except RuleError as error:
        for needless in re.findall(r"match\.all\[(\d)\][^;]*: (?:always holds|says the same)", str(error)):
            rest = [part for index, part in enumerate(parts) if index != int(needless)]
            assert evaluate(AllOf(all=tuple(rest)), facts).matched is evaluate(match, facts).matched


keys = st.sampled_from([*KINDS, "tag", "value", "fact", "name", "match", "plugin", "junk"])
documents = st.recursive(
    scalars() | st.sampled_from(["Modality", "KVP", "number_of_slices", "(", "*a*"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | scalars(), inner, max_size=4),
    max_leaves=10,
)


@patiently
@given(documents, documents)
@example({"<": None}, [])
def test_any_document_is_a_rule_or_refused_in_words(document: Any, match: Any):
    for tried in (document, {"name": "any", "match": match, "plugin": "p"}):
        with contextlib.suppress(RuleError):
            assert parse_rule(tried).match


hours = st.sampled_from(["20:00-06:00", "24:00-01:00", "00:00-24:00", "1:0-2:0"]) | words
windows = st.dictionaries(
    st.sampled_from(["days", "hours", "junk"]),
    hours | st.lists(st.sampled_from(["mon", "sat", "Mon", 5]), max_size=8) | scalars(),
    max_size=3,
)
whens = st.dictionaries(
    st.sampled_from(["zone", "windows", "junk"]),
    st.sampled_from(["Europe/Berlin", "UTC", "../x", "Europe"])
    | words
    | st.lists(windows | scalars(), max_size=3)
    | documents,
    max_size=3,
)


@patiently
@given(whens | documents, scalars() | st.sampled_from(["harmonize", "wait", "ignore"]), scalars())
def test_any_hours_policy_and_priority_are_a_rule_or_refused_in_words(when: Any, late: Any, priority: Any):
    document = {"name": "any", "match": {"tag": "Modality", "equals": "CT"}, "plugin": "p"}
    for more in ({"when": when}, {"late": late}, {"priority": priority}, {"when": when, "late": late}):
        try:
            rule = parse_rule({**document, **more})
        except RuleError:
            continue
        assert parse_rule(json.loads(json.dumps(rule.document()))) == rule
        if rule.when is not None:
            now = datetime(2026, 3, 29, 1, tzinfo=UTC)
            then = opens(rule.when, now)
            assert then is None or then > now


def _size(said: Explanation) -> int:
    return 1 + sum(map(_size, said.parts))


def _plainly(match: Match, facts: SeriesFacts) -> bool:
    if isinstance(match, AllOf):
        return all(_plainly(part, facts) for part in match.all)
    if isinstance(match, AnyOf):
        return any(_plainly(part, facts) for part in match.any)
    if isinstance(match, Not):
        return not _plainly(match.not_, facts)
    return evaluate(match, facts).matched


def _naively(leaf: Clause, facts: SeriesFacts) -> bool:
    """Equality, ranges and presence again, written without the code under test; patterns are taken from it."""
    held = TagValues((getattr(facts, leaf.fact),)) if leaf.fact else facts.tags.get(str(leaf.tag))
    values = [list(value) if isinstance(value, tuple) else [value] for value in held.values] if held else []
    if leaf.value is not None:
        values = [value[leaf.value - 1 : leaf.value] for value in values]
    filled = [[one for one in value if one is not None and str(one).strip() != ""] for value in values]
    everywhere = bool(held) and not held.missing and bool(filled) and all(filled)
    if isinstance(leaf, Present):
        return everywhere if leaf.present else not any(filled)
    return everywhere and all(any(_holds(leaf, one) for one in value) for value in filled)


def _holds(leaf: Clause, one: Any) -> bool:
    numeric = leaf.tag in NUMBERS or (leaf.fact in FACTS and FACTS[leaf.fact].kind in {"a number", "a whole number"})
    if isinstance(leaf, Between):
        low, high = leaf.between
        return _number(one) and (low is None or float(one) >= low) and (high is None or float(one) <= high)
    if isinstance(leaf, Equals | OneOf):
        wishes = [leaf.equals] if isinstance(leaf, Equals) else list(leaf.one_of)
        if numeric:
            return _number(one) and any(
                abs(float(one) - wish) <= 1e-9 * max(abs(float(one)), abs(wish)) for wish in wishes
            )
        if leaf.fact == "spacing_uniform":
            return one in wishes
        return str(one).strip().casefold() in [str(wish).strip().casefold() for wish in wishes]
    facts = SeriesFacts(
        "1", "2", "", "", 1, None, None, None, None, None, {"SeriesDescription": TagValues((str(one),))}
    )
    pattern = leaf.model_dump(include={"like", "matches"})
    return evaluate(type(leaf)(tag="SeriesDescription", **pattern), facts).matched


def _number(one: Any) -> bool:
    try:
        return not isinstance(one, bool) and math.isfinite(float(one))
    except (TypeError, ValueError):
        return False
