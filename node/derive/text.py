"""Text of ours in the character set of the source, PS3.5 section 6.1.2.

A derived instance keeps the source's Specific Character Set (0008,0005), since all that is copied is written in it.
"""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Mapping
from string import Formatter

from pydicom import Dataset
from pydicom.charset import convert_encodings, decode_bytes, default_encoding, encode_string
from pydicom.valuerep import TEXT_VR_DELIMS

from node.derive.elements import raw

LO_CHARACTERS = 64  # PS3.5 section 6.2
ST_CHARACTERS = 1024
SH_CHARACTERS = 16
LT_CHARACTERS = 10240

_FORBIDDEN = str.maketrans({"\\": "/", **{chr(sign): " " for sign in (*range(0x20), 0x7F)}})


class Text:
    """Encodes for one source."""

    def __init__(self, source: Dataset) -> None:
        declared = raw(source, "SpecificCharacterSet").decode("ascii", "replace").split("\\")
        with warnings.catch_warnings(action="ignore"):  # a set that pydicom doesn't know counts as the default one
            self._encodings = convert_encodings([part.strip() for part in declared])

    def encode(self, value: str, characters: int) -> bytes:
        """`value` cut at so many characters; what the set lacks loses its accent, or becomes a question mark."""
        value = value.translate(_FORBIDDEN).strip()[:characters].rstrip()
        encoded = self._encoded(value)
        if encoded is None:
            apart = unicodedata.normalize("NFKD", value)
            plain = "".join(sign if sign.isascii() else "?" for sign in apart if not unicodedata.combining(sign))
            encoded = plain[:characters].rstrip().encode("ascii")
        return encoded

    def filled(self, template: str, values: Mapping[str, str | bytes], characters: int) -> bytes:
        """`template` with values in the place of its fields, cut at so many characters; a source's own are bytes.

        Where nothing has to be cut or replaced a source's bytes stay as they are: we might write them otherwise.
        """
        pieces: list[str | bytes] = []
        for literal, field, _, _ in Formatter().parse(template):
            pieces += [literal] if field is None else [literal, values[field]]
        whole = "".join(piece if isinstance(piece, str) else self._decoded(piece) for piece in pieces).strip()
        plain = all(isinstance(piece, bytes) or piece.isascii() for piece in pieces)
        if plain and whole == whole.translate(_FORBIDDEN) and len(whole) <= characters:
            return b"".join(piece.encode("ascii") if isinstance(piece, str) else piece for piece in pieces).strip(b" ")
        return self.encode(whole, characters)

    def _decoded(self, value: bytes) -> str:
        with warnings.catch_warnings(action="ignore"):  # bytes that the set doesn't have are decoded to a replacement
            return decode_bytes(value, self._encodings, TEXT_VR_DELIMS).strip()

    def _encoded(self, value: str) -> bytes | None:
        """In the declared sets; None where they lack a character of it."""
        if value.isascii():
            return value.encode("ascii")
        if self._encodings == [default_encoding]:
            return None  # ISO-IR 6 has no more than ASCII; pydicom would write Latin-1
        with warnings.catch_warnings(action="ignore"):  # pydicom warns, and writes question marks
            encoded = encode_string(value, self._encodings)
            return encoded if decode_bytes(encoded, self._encodings, TEXT_VR_DELIMS) == value else None
