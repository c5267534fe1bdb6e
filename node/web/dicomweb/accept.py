"""What a client takes: the Accept header of RFC 9110 section 12.5.1, with the parameters that PS3.18 section 8.7 adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from node.dicom.multipart import media_type

ANY_SYNTAX = "*"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One media range, and how much it is wanted."""

    media_type: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    weight: float = 1.0

    @property
    def part_type(self) -> str:
        """The media type of the parts, of multipart/related."""
        return self.parameters.get("type", "").lower()

    @property
    def transfer_syntax(self) -> str:
        """Of what is to be sent; "" where the client does not say: Explicit VR Little Endian then (PS3.18 section 8.7.3.5.2)."""
        return self.parameters.get("transfer-syntax", "")

    def matches(self, media: str) -> bool:
        kind, _, _ = media.partition("/")
        return self.media_type in ("*/*", f"{kind}/*", media)


def wanted(headers: Sequence[str], in_query: str | None = None) -> list[Wanted]:
    """The media ranges, the most wanted first. No header is `*/*`; `accept` in the query is stronger than the header."""
    text = in_query or ", ".join(headers) or "*/*"
    found = []
    for item in _split(text):
        kind, parameters = media_type(item)
        if item.strip().startswith("*/*"):
            kind = "*/*"  # which the parser of headers takes for no media type
        elif item.partition(";")[0].strip().endswith("/*"):
            kind = item.partition(";")[0].strip().lower()
        weight = _weight(parameters.pop("q", "1"))
        if weight > 0:
            found.append(Wanted(kind, {name.lower(): value.strip() for name, value in parameters.items()}, weight))
    return sorted(found, key=lambda one: -one.weight)


def _weight(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0


def _split(text: str) -> list[str]:
    """At the commas that are in no quotes."""
    items, quoted, start = [], False, 0
    for place, character in enumerate(text):
        if character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            items.append(text[start:place])
            start = place + 1
    return [item for item in (*items, text[start:]) if item.strip()]
