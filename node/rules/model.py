"""A rule, as an administrator writes it in YAML.

    name: lung
    description: thin chest CT for emphysema
    priority: 10                                   # higher is asked first; a tie goes by name
    match:
      all:
        - {tag: Modality, equals: CT}
        - {tag: ImageType, value: 1, equals: ORIGINAL}
        - {tag: SliceThickness, between: [null, 5]}      # null is an open end; both ends belong to the range
        - {fact: number_of_slices, between: [20, null]}
        - any:
            - {tag: BodyPartExamined, one_of: [CHEST, LUNG]}
            - {tag: SeriesDescription, like: "*thorax*"}
        - not: {tag: ProtocolName, matches: "biopsy|drain"}
    plugin: ct_harmonizer
    parameters: {}
    destinations: [pacs]                           # none named: every destination of the configuration
    when: {zone: Europe/Berlin, windows: [{hours: "20:00-06:00"}]}    # off-peak hours (rules/when.py); else at any time
    late: harmonize                                # or wait, or ignore: see below
    enabled: true

What a clause means:

- It speaks of the whole series. It holds if every instance has the attribute and every distinct value satisfies it;
  one instance without the attribute, or with it empty, makes it false. `present: true` asks for the attribute in every
  instance, `present: false` for it in none.
- On an attribute with several values (Image Type) it holds if any of the values satisfies it; `value: N`, counted from
  1 as in the standard, asks that one alone.
- Text (every VR of text, from AE to UT) is compared without regard to case and to spaces at either end. Numbers (DS, IS
  and the binary VRs) are compared as numbers.
- `like` is a pattern for the whole value: `*` is any text, `?` any one character. `matches` is a regular expression of
  RE2, found anywhere in the value unless it has `^` and `$`; it ignores case too.
- `not` turns an answer round, and knows two answers only: a clause that is false because the attribute is missing, or
  because one instance differs, makes `not` true. The explanation says so. Add `{tag: ..., present: true}` to demand
  the attribute as well.

The priority also says whose jobs go first: each point is worth a minute of waiting (node/queue.py), so that a job of a
low priority is overtaken by later ones, but not for ever.

`late` says what becomes of instances that come after the derived series was made. `harmonize`: they are filtered by the
same measurement and added to the same derived series. `wait`: a person decides. `ignore`: they are kept, and the audit
trail says that they are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, PlainValidator, StrictBool, StrictInt, StrictStr, Tag

from node.rules.when import When


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"expected a number, got {value!r}")
    return value


def _scalar(value: Any) -> bool | float | str:
    if isinstance(value, bool | str) or (isinstance(value, int | float) and math.isfinite(value)):
        return value
    raise ValueError(f"expected a text in quotes, a number, true or false, got {value!r}")


Number = Annotated[int | float, PlainValidator(_number)]
Value = Annotated[bool | int | float | str, PlainValidator(_scalar)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Clause(_Part):
    """What every leaf has: the attribute or the derived fact that it speaks of."""

    tag: StrictStr | None = None  # a DICOM keyword
    value: StrictInt | None = Field(None, ge=1)  # which value of a multi-valued attribute, from 1
    fact: StrictStr | None = None  # a key of subjects.FACTS


class Equals(Clause):
    equals: Value


class OneOf(Clause):
    one_of: tuple[Value, ...]


class Like(Clause):
    like: StrictStr


class Between(Clause):
    between: tuple[Number | None, Number | None]  # inclusive; None is an open end


class Present(Clause):
    present: StrictBool


class Matches(Clause):
    matches: StrictStr


class AllOf(_Part):
    all: tuple[Match, ...]


class AnyOf(_Part):
    any: tuple[Match, ...]


class Not(_Part):
    not_: Match = Field(alias="not")


KINDS: dict[str, type[_Part]] = {
    "all": AllOf,
    "any": AnyOf,
    "not": Not,
    "equals": Equals,
    "one_of": OneOf,
    "like": Like,
    "between": Between,
    "present": Present,
    "matches": Matches,
}
"""The key that tells what a part of the tree is."""


def _kind(part: Any) -> str | None:
    if isinstance(part, Mapping):
        return next((f"<{key}>" for key in KINDS if key in part), None)
    return next((f"<{key}>" for key, kind in KINDS.items() if isinstance(part, kind)), None)


Match = Annotated[
    Annotated[AllOf, Tag("<all>")]
    | Annotated[AnyOf, Tag("<any>")]
    | Annotated[Not, Tag("<not>")]
    | Annotated[Equals, Tag("<equals>")]
    | Annotated[OneOf, Tag("<one_of>")]
    | Annotated[Like, Tag("<like>")]
    | Annotated[Between, Tag("<between>")]
    | Annotated[Present, Tag("<present>")]
    | Annotated[Matches, Tag("<matches>")],
    Discriminator(_kind),
]
"""A part of the match tree; the key that it has tells which."""


Late = Literal["harmonize", "wait", "ignore"]
"""What becomes of instances that come after the derived series was made."""


class Rule(_Part):
    """One rule. Made by `load.parse_rule`, which also checks what types alone cannot."""

    name: StrictStr = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    description: StrictStr = ""
    priority: StrictInt = Field(0, ge=-1000, le=1000)  # higher is asked first, and its jobs go first
    match: Match
    plugin: StrictStr
    parameters: dict[str, Any] = Field(default_factory=dict)  # the plugin's own
    destinations: tuple[StrictStr, ...] = ()  # names in the configuration; none named: all that are configured
    when: When | None = None  # when its jobs may start; None: at any time
    late: Late = "harmonize"
    enabled: StrictBool = True

    def document(self) -> dict[str, Any]:
        """The rule as plain data, as it would be written in YAML."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


for _kind_of_part in (AllOf, AnyOf, Not, Rule):
    _kind_of_part.model_rebuild()


def clauses(match: Match, path: str = "match") -> Iterator[tuple[str, Clause]]:
    """Every leaf with its path, like `match.all[2].any[0]`."""
    if isinstance(match, AllOf | AnyOf):
        for here, part in parts(match, path):
            yield from clauses(part, here)
    elif isinstance(match, Not):
        yield from clauses(match.not_, f"{path}.not")
    else:
        yield path, match


def parts(match: AllOf | AnyOf, path: str) -> list[tuple[str, Match]]:
    """The members of a group with their paths."""
    word, members = ("all", match.all) if isinstance(match, AllOf) else ("any", match.any)
    return [(f"{path}.{word}[{index}]", member) for index, member in enumerate(members)]
