"""What a clause can speak of: a DICOM attribute by keyword, or a fact derived from the whole series."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_description, dictionary_VM, dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.tag import Tag

from node.dicom.facts import left_out
from node.errors import RuleError
from node.rules.model import Clause
from node.series import SeriesFacts, TagValues


class Kind(StrEnum):
    """How values of a subject compare."""

    TEXT = "a text"
    NUMBER = "a number"
    INTEGER = "a whole number"
    FLAG = "true or false"
    OPAQUE = "not comparable"  # a sequence or bytes: facts keep only that it is there


_KIND_OF_VR = {
    **dict.fromkeys(
        ("AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"), Kind.TEXT
    ),
    **dict.fromkeys(("DS", "FD", "FL"), Kind.NUMBER),
    **dict.fromkeys(("IS", "SL", "SS", "SV", "UL", "US", "UV", "US or SS"), Kind.INTEGER),
}
"""PS3.5 section 6.2; what is not here is opaque."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a clause speaks of, resolved."""

    label: str  # for people: "Slice Thickness (0018,0050)", "number of slices"
    kind: Kind
    vr: str | None = None  # of an attribute
    single: bool = True  # each instance has one value at most, so two different demands exclude each other
    index: int | None = None  # which value is meant, from 0
    max_values: float = 1  # by the dictionary's value multiplicity
    unit: str = ""
    low: float = -math.inf  # a fact lies within
    high: float = math.inf
    choices: tuple[str, ...] = ()  # a fact is one of these


FACTS = {
    "number_of_slices": Subject("number of slices", Kind.INTEGER, low=0),
    "spacing_uniform": Subject("uniform slice spacing", Kind.FLAG),
    "slice_spacing_mm": Subject("slice spacing", Kind.NUMBER, unit=" mm", low=0),
    "orientation": Subject("orientation", Kind.TEXT, choices=("axial", "coronal", "sagittal", "oblique")),
    "gantry_tilt_deg": Subject("gantry tilt", Kind.NUMBER, unit=" deg", low=0, high=90),
    "z_extent_mm": Subject("z-extent", Kind.NUMBER, unit=" mm", low=0),
    "calling_ae_title": Subject("calling AE title", Kind.TEXT),
    "called_ae_title": Subject("called AE title", Kind.TEXT),
}
"""Derived facts: the fields of `series.SeriesFacts` that a rule may ask for."""

_KEYWORDS = frozenset(entry[4] for entry in DicomDictionary.values() if entry[4])


def subject(clause: Clause) -> Subject:
    """What the clause speaks of.

    Raises:
        RuleError: it names nothing, or nothing that exists.
    """
    if (clause.tag is None) == (clause.fact is None):
        raise RuleError("a clause needs either `tag`, a DICOM keyword, or `fact`, a derived fact")
    if clause.tag is not None:
        return _attribute(clause.tag, clause.value)
    if clause.value is not None:
        raise RuleError("`value` goes with `tag`: a fact has one value")
    if clause.fact not in FACTS:
        raise RuleError(f"no such fact; {_nearest(str(clause.fact), FACTS)}there are: {', '.join(FACTS)}")
    return FACTS[clause.fact]


@cache
def _attribute(keyword: str, value: int | None) -> Subject:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise RuleError(f"no such DICOM keyword{_hint(keyword)}")
    number, vr, multiplicity = Tag(tag), dictionary_VR(tag), dictionary_VM(tag)
    most = max(_count(part) for part in multiplicity.split("-"))
    name = f"{dictionary_description(tag)} ({number.group:04X},{number.element:04X})"
    if number.group <= 0x0002:
        raise RuleError(f"{name} belongs to the file or the message, not to the data set: no rule can ask for it")
    if reason := left_out(keyword):
        raise RuleError(f"no rule can ask for {name}: {reason}")
    if value is not None and value > most:
        raise RuleError(f"{name} has at most {most:g} value{'s' if most > 1 else ''}, so there is no value {value}")
    return Subject(
        label=name if value is None else f"{name} value {value}",
        kind=_KIND_OF_VR.get(vr, Kind.OPAQUE),
        vr=vr,
        single=most == 1 or value is not None,
        index=None if value is None else value - 1,
        max_values=most,
    )


def _count(part: str) -> float:
    return int(part) if part.isdigit() else math.inf  # "n", "2n"


def _hint(keyword: str) -> str:
    if number := re.fullmatch(r"\(?([0-9A-Fa-f]{4}),? ?([0-9A-Fa-f]{4})\)?", keyword.strip()):
        name = keyword_for_tag(int(number[1] + number[2], 16))
        return f"; attributes are named by keyword, {keyword} is {name}" if name else ""
    nearest = _nearest(keyword, _KEYWORDS)
    return f"; {nearest}".rstrip("; ") if nearest else ""


def _nearest(word: str, known: Any) -> str:
    by_folded = {name.casefold(): name for name in known}
    found = difflib.get_close_matches(word.strip().replace(" ", "").casefold(), by_folded, n=1, cutoff=0.6)
    return f"did you mean {by_folded[found[0]]}? " if found else ""


@dataclass(frozen=True, slots=True)
class Found:
    """What a series has for a subject."""

    values: tuple[tuple[Any, ...], ...]  # each distinct value over the instances; its components, any of which may do
    lacking: str = ""  # which instances are without it, in words; empty where none is
    spread: str = ""  # how many instances the values come from, in words

    @property
    def nowhere(self) -> bool:
        """No instance has it."""
        return not self.values


def look_up(clause: Clause, facts: SeriesFacts) -> Found:
    """Every distinct value that the series has for the clause's subject."""
    about = subject(clause)
    if clause.fact is not None:
        components = _components(getattr(facts, clause.fact), None)
        return Found((components,)) if components else Found((), "cannot be known")
    slices = facts.number_of_slices
    held = facts.tags.get(str(clause.tag), TagValues((), slices))
    every = [_components(value, about.index) for value in held.values]
    values = tuple(components for components in every if components)
    if not values:
        return Found((), f"is missing on {slices} of {slices} slices")
    if len(values) < len(every):  # an attribute with fewer values than asked for; on how many instances is not kept
        return Found(values, f"is missing on some of {slices} slices")
    if held.missing:
        return Found(values, f"is missing on {held.missing} of {slices} slices")
    return Found(values, spread=f" on {slices} of {slices} slices" if len(values) == 1 else f" over {slices} slices")


def _components(value: Any, index: int | None) -> tuple[Any, ...]:
    several = tuple(value) if isinstance(value, tuple | list) else (value,)
    chosen = several if index is None else several[index : index + 1]
    return tuple(part for part in chosen if part is not None and not (isinstance(part, str) and not part.strip()))
