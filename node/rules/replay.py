"""What a new or changed rule would have selected among past series, against what was selected then.

It asks the facts that the database keeps of each series, so it needs no file, and works after the files are deleted.
`replay` is pure; `past_series` reads what it needs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from node.errors import PermanentError
from node.journey import State
from node.rules import load
from node.rules.explain import Decision, summary
from node.rules.match import InForce, decide, in_words
from node.rules.model import Rule
from node.series import SeriesFacts
from node.store.tables import Series


class Change(StrEnum):
    """What the rules on trial would change for a series."""

    GAINED = "gained"  # no rule selected it then, one on trial would
    LOST = "lost"  # one on trial selected it then, and no rule would now
    MOVED = "moved"  # selected then and now, by another rule
    SAME = "same"  # selected by the same rule then and now


@dataclass(frozen=True, slots=True)
class Past:
    """A series that came before, as far as the database remembers it."""

    study_instance_uid: str
    series_instance_uid: str
    arrived_at: datetime
    then: str | None  # the rule that selected it
    facts: SeriesFacts | None  # None where they are not known: it was malformed, or never looked at


@dataclass(frozen=True, slots=True)
class Outcome:
    """A past series that a rule on trial selected then, or would select now."""

    study_instance_uid: str
    series_instance_uid: str
    arrived_at: datetime
    station: str  # Station Name (0008,1010), else the calling AE title
    protocol: str  # Protocol Name (0018,1030)
    description: str  # Series Description (0008,103E)
    then: str | None  # the rule that selected it
    now: str | None  # the rule that would
    change: Change
    why: str  # what decides now, in one line

    def to_json(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name) for name in self.__slots__},
            "arrived_at": self.arrived_at.isoformat(),
            "change": str(self.change),
        }


@dataclass(frozen=True, slots=True)
class Group:
    """The outcomes of one station and protocol, counted."""

    station: str
    protocol: str
    counts: Counter[Change]


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay found."""

    names: tuple[str, ...]  # the rules on trial
    looked_at: int  # past series, all of them
    lacking: int  # of these, those of which too little is known to ask a rule
    malformed: int  # of these, those that were refused before any rule was asked, and would be
    never: int  # of these, those that can never be a candidate, whatever a rule says
    outcomes: tuple[Outcome, ...]  # the newest first

    def of(self, change: Change) -> list[Outcome]:
        """The outcomes of one kind, the newest first."""
        return [one for one in self.outcomes if one.change is change]

    @property
    def counts(self) -> Counter[Change]:
        return Counter(one.change for one in self.outcomes)

    @property
    def groups(self) -> list[Group]:
        """By station and protocol, those with the most changes first."""
        found: dict[tuple[str, str], Counter[Change]] = {}
        for one in self.outcomes:
            found.setdefault((one.station, one.protocol), Counter())[one.change] += 1
        grouped = [Group(station, protocol, counts) for (station, protocol), counts in found.items()]
        return sorted(
            grouped, key=lambda one: (one.counts[Change.SAME] - one.counts.total(), one.station, one.protocol)
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "rules": list(self.names),
            "looked_at": self.looked_at,
            "lacking": self.lacking,
            "malformed": self.malformed,
            "never": self.never,
            **{str(change): self.counts[change] for change in Change},
            "groups": [
                {
                    "station": one.station,
                    "protocol": one.protocol,
                    **{str(change): one.counts[change] for change in Change},
                }
                for one in self.groups
            ],
            "series": [one.to_json() for one in self.outcomes],
        }


def on_trial(in_force: Sequence[InForce], rules: Sequence[Rule]) -> list[InForce]:
    """The rules in force with those on trial in their place, or beside them; those on trial as if they were enabled."""
    names = {rule.name for rule in rules}
    beside = [entry for entry in in_force if entry.rule.name not in names]
    versions = {entry.rule.name: entry.version for entry in in_force}
    return [*beside, *(InForce(rule, versions.get(rule.name, 0), enabled=True) for rule in rules)]


def ask_again(session: Session, series: Series, rules: Sequence[Rule] = ()) -> Decision:
    """What the rules in force, and those on trial, say now of a series that came before, from its stored facts.

    Raises:
        RuleError: a stored rule is not sound any more.
        PermanentError: nothing is known of the series yet.
    """
    if series.facts is None:
        raise PermanentError(f"nothing is known of series {series.series_instance_uid} yet: no rule can be asked")
    return decide(on_trial(load.in_force(session), rules), SeriesFacts.from_json(series.facts))


def replay(past: Iterable[Past], rules: Sequence[InForce], names: Collection[str]) -> Replay:
    """Ask the rules (see `on_trial`) of past series; `names` are those on trial, and only what touches them is told."""
    outcomes = []
    looked_at = lacking = malformed = never = 0
    for series in past:
        looked_at += 1
        if series.facts is None:
            lacking += 1
            continue
        malformed += bool(series.facts.malformed)
        never += bool(series.facts.never)
        if (outcome := _outcome(series, series.facts, rules, names)) is not None:
            outcomes.append(outcome)
    outcomes.sort(key=lambda one: (one.arrived_at, one.series_instance_uid), reverse=True)
    return Replay(tuple(names), looked_at, lacking, malformed, never, tuple(outcomes))


def _outcome(series: Past, facts: SeriesFacts, rules: Sequence[InForce], names: Collection[str]) -> Outcome | None:
    decision = decide(rules, facts)
    now = None if facts.malformed else decision.chosen
    change = _change(series.then, now)
    if change is None or not {series.then, now} & set(names):
        return None
    asked = now if now is not None else series.then
    why = next((summary(answer.explanation) for answer in decision.answers if answer.rule == asked), decision.reason)
    return Outcome(
        study_instance_uid=series.study_instance_uid,
        series_instance_uid=series.series_instance_uid,
        arrived_at=series.arrived_at,
        station=_told(facts, "StationName") or facts.calling_ae_title,
        protocol=_told(facts, "ProtocolName"),
        description=_told(facts, "SeriesDescription"),
        then=series.then,
        now=now,
        change=change,
        why=why,
    )


def _change(then: str | None, now: str | None) -> Change | None:
    if then == now:
        return Change.SAME if now is not None else None
    if then is None:
        return Change.GAINED
    return Change.LOST if now is None else Change.MOVED


def _told(facts: SeriesFacts, keyword: str) -> str:
    held = facts.tags.get(keyword)
    return " | ".join(in_words(value) for value in held.values[:3]) if held else ""


def past_series(session: Session, since: datetime) -> Iterator[Past]:
    """The series whose last instance arrived since then, but for those that have not met the rules yet."""
    columns = (
        Series.study_instance_uid, Series.series_instance_uid, Series.last_arrival_at, Series.rule_name, Series.facts,
    )  # fmt: skip
    not_yet = sa.and_(Series.state.in_([str(State.RECEIVING), str(State.COMPLETE)]), Series.explanation.is_(None))
    query = sa.select(*columns).where(Series.last_arrival_at >= since, sa.not_(not_yet))
    for study, series, at, rule, facts in session.execute(query.execution_options(yield_per=500)):
        yield Past(study, series, at, rule, SeriesFacts.from_json(facts) if facts is not None else None)
