"""What is wrong with a rule as it is written, in words: where it stands in the document, and what was expected there."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from node.rules.model import KINDS, Clause, Rule
from node.rules.when import When, Window

Places = Sequence[int | str]
"""Where something stands in a document: keys and indices from the top."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something that is wrong with a rule as it is written."""

    places: Places
    what: str

    def told(self, document: Any) -> str:
        """`match.all[2] (tag SliceThickness): what is wrong`."""
        where = f"{_path(self.places)}{_subject_at(document, self.places)}"
        return f"{where}: {self.what}" if where else self.what


def named(document: Any) -> str:
    """The rule of a document, for a message."""
    name = document.get("name") if isinstance(document, Mapping) else None
    return f"rule {name!r}" if name else "a rule without a name"


def _path(places: Places) -> str:
    return "".join(f"[{place}]" if isinstance(place, int) else f".{place}" for place in places).lstrip(".")


def places_of(path: str) -> Places:
    """Those of a path such as `match.all[2].any[0]`."""
    return [int(index) if index else word for word, index in re.findall(r"(\w+)|\[(\d+)\]", path)]


def _subject_at(document: Any, places: Places) -> str:
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


def from_pydantic(document: Mapping[str, Any], where: Places, kind: str, said: str) -> Flaw:
    """Place and message of an error of the model, for people."""
    own = len(where) - (kind == "extra_forbidden")  # from there on it is a key of the document, whatever it looks like
    places = [place for number, place in enumerate(where) if number >= own or not str(place).startswith("<")]
    if "between" in places and kind in {"tuple_type", "too_long", "too_short", "missing"}:
        return Flaw(places, "expected two numbers, [low, high], either of them null for an open end")
    if kind == "union_tag_not_found":
        return Flaw(places, _no_part(_along(document, places)[-1]))
    if kind == "extra_forbidden":
        return Flaw(places, _unexpected(str(places[-1]), _along(document, places[:-1])[-1]))
    if kind == "missing":
        return Flaw(places, "is missing")
    return Flaw(places, said.removeprefix("Value error, "))


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
