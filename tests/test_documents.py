"""What the documents say of keys, commands and protocols is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import documents
import pytest

from node import manual


@pytest.mark.parametrize("path", documents.DOCUMENTS, ids=lambda path: path.name)
def test_the_made_parts_of_a_document_are_up_to_date(path: Path):
    text = path.read_text("utf-8")
    assert "<!-- made:" in text
    assert documents.made(text) == text, "run `make docs`"


def test_every_part_is_in_some_document():
    texts = "".join(path.read_text("utf-8") for path in documents.DOCUMENTS)
    assert set(re.findall(r"<!-- made: (.+?) -->", texts)) == set(documents.PARTS)


def test_the_manual_tells_of_every_key():
    assert [entry.key for entry in manual.entries() if not entry.meaning and "[]" not in entry.key] == []
