"""What the rules said about a series, clause by clause: as records, as JSON both ways, as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one part of a match tree said."""

    path: str  # match.all[2].any[0]
    kind: Literal["all", "any", "not", "clause"]
    clause: str  # "Slice Thickness (0018,0050) is at most 5"; "all of" for a group
    matched: bool
    found: str = ""  # of a clause: "Slice Thickness (0018,0050) is 8 on 30 of 30 slices"
    wanted: str = ""  # of a clause: "at most 5"
    missing: bool = False  # of a clause: the attribute or fact is missing somewhere
    parts: tuple[Explanation, ...] = ()  # of a group

    @property
    def why(self) -> str:
        """The reason of the answer, in words."""
        holding = sum(part.matched for part in self.parts)
        if self.kind == "clause":
            return f"{self.found}, wanted {self.wanted}"
        if self.kind == "all":
            return f"{holding} of {len(self.parts)} hold"
        if self.kind == "any":
            return (
                f"{holding} of {len(self.parts)} hold, one is enough" if holding else f"none of {len(self.parts)} holds"
            )
        inner = self.parts[0]
        if not self.matched:
            return "the part below holds"
        if inner.missing:
            return f"holds, for the clause below does not: {inner.found}"
        return "holds, for the part below does not"

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "kind": self.kind,
            "clause": self.clause,
            "matched": self.matched,
            "why": self.why,
            "found": self.found,
            "wanted": self.wanted,
            "missing": self.missing,
            "parts": [part.to_json() for part in self.parts],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        fields = {name: data[name] for name in ("path", "kind", "clause", "matched", "found", "wanted", "missing")}
        return cls(**fields, parts=tuple(cls.from_json(part) for part in data["parts"]))


def text(explanation: Explanation, indent: int = 0) -> str:
    """The whole tree, one line a part, ✓ where it holds and ✗ where it does not."""
    return "\n".join(_lines(explanation, indent))


def _lines(explanation: Explanation, indent: int) -> Iterator[str]:
    mark = "✓" if explanation.matched else "✗"
    said = explanation.why if explanation.kind == "clause" else f"{explanation.clause}: {explanation.why}"
    yield f"{'  ' * indent}{mark} {said}"
    for part in explanation.parts:
        yield from _lines(part, indent + 1)


def summary(explanation: Explanation) -> str:
    """The clauses that decided, in one line."""
    return "; ".join(dict.fromkeys(_deciding(explanation)))


def _deciding(explanation: Explanation) -> Iterator[str]:
    if explanation.kind == "clause":
        yield explanation.found if explanation.matched else explanation.why
    elif explanation.kind == "not":
        inner = explanation.parts[0]
        yield f"{'not' if explanation.matched else 'excluded'}: {summary(inner)}"
    elif explanation.kind == "all":
        for part in explanation.parts:
            if part.matched == explanation.matched:
                yield from _deciding(part)
    elif explanation.matched:
        yield from _deciding(next(part for part in explanation.parts if part.matched))
    else:
        yield _none_of(explanation)


def _none_of(explanation: Explanation) -> str:
    """Many alternatives often ask the same attributes: say once what each is."""
    found = list(dict.fromkeys(leaf.found for leaf in _leaves(explanation)))
    return f"none of {len(explanation.parts)} alternatives at {explanation.path}: {', '.join(found)}"


def _leaves(explanation: Explanation) -> Iterator[Explanation]:
    if explanation.kind == "clause":
        yield explanation
    for part in explanation.parts:
        yield from _leaves(part)


def misses(explanation: Explanation) -> tuple[Explanation, ...]:
    """The fewest parts that would have had to hold besides, for the whole to hold; none where it does.

    One alone is a near miss: a rule that would have selected the series but for that.
    """
    if explanation.matched:
        return ()
    if explanation.kind == "all":
        return tuple(miss for part in explanation.parts for miss in misses(part))
    if explanation.kind == "any" and explanation.parts:
        return min(map(misses, explanation.parts), key=len)
    return (explanation,)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one rule said about a series."""

    rule: str
    version: int
    priority: int
    explanation: Explanation

    @property
    def matched(self) -> bool:
        return self.explanation.matched

    @property
    def near_miss(self) -> str:
        """The one clause that kept the rule from selecting the series, with what was found; empty where it is not so."""
        missed = misses(self.explanation)
        return f"{missed[0].path}: {summary(missed[0])}" if len(missed) == 1 else ""

    def to_json(self) -> dict[str, Any]:
        return {
            "rule": self.rule,
            "version": self.version,
            "priority": self.priority,
            "matched": self.matched,
            "summary": summary(self.explanation),
            "near_miss": self.near_miss,
            "match": self.explanation.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["rule"], data["version"], data["priority"], Explanation.from_json(data["match"]))


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rules said about a series: every answer, in the order in which the rules were asked."""

    chosen: str | None  # the name of the first rule that matched
    answers: tuple[Answer, ...]
    never: tuple[str, ...] = ()  # why no rule was asked

    @property
    def reason(self) -> str:
        """The decision in one line."""
        if self.never:
            return f"never a candidate: {'; '.join(self.never)}"
        if self.chosen is not None:
            answer = next(answer for answer in self.answers if answer.rule == self.chosen)
            return f"rule {self.chosen} (version {answer.version}) selects it: {summary(answer.explanation)}"
        if not self.answers:
            return "no rule is enabled"
        return "no rule selects it: " + " | ".join(
            f"{answer.rule}: {summary(answer.explanation)}" for answer in self.answers
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "chosen": self.chosen,
            "reason": self.reason,
            "never": list(self.never),
            "answers": [answer.to_json() for answer in self.answers],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["chosen"], tuple(map(Answer.from_json, data["answers"])), tuple(data["never"]))
