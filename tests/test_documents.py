"""What the documents say of keys, commands and protocols is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import documents
import pytest

from node import manual


@pytest.mark.parametrize("path", documents.DOCUMENTS, ids=lambda path: str(path.relative_to(documents.ROOT)))
def test_the_made_parts_of_a_document_are_up_to_date(path: Path):
    text = path.read_text("utf-8")
    assert "<!-- made:" in text
    assert documents.made(path) == text, "run `make docs`"


@pytest.mark.parametrize("path", documents.PACKAGES, ids=lambda path: str(path.relative_to(documents.ROOT)))
def test_every_package_tells_what_it_is_for_and_each_module_what_it_holds(path: Path):
    text = (path / "README.md").read_text("utf-8")
    own = re.sub(r"<!-- made:.*?<!-- end -->", "", text, flags=re.DOTALL)
    assert len(own.split()) > 15, "a README says in its own words what the package is for"
    assert not re.search(r"\|  ?\|$", documents.made(path / "README.md"), re.MULTILINE), "a module has no docstring"


@pytest.mark.parametrize("path", documents.DOCUMENTS, ids=lambda path: str(path.relative_to(documents.ROOT)))
def test_every_link_of_a_document_leads_somewhere(path: Path):
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text("utf-8")):
        assert (path.parent / target).exists(), target


def test_every_part_is_in_some_document():
    texts = "".join(path.read_text("utf-8") for path in documents.DOCUMENTS)
    assert set(re.findall(r"<!-- made: (.+?) -->", texts)) == {*documents.PARTS, "modules"}


def test_every_hook_of_a_plugin_says_what_it_is_for():
    rows = documents.PARTS["hooks"]().splitlines()[2:]
    assert len(rows) == 8
    assert all(len(row.split("|")[2].split()) > 3 for row in rows), rows


def test_the_manual_tells_of_every_key():
    assert [entry.key for entry in manual.entries() if not entry.meaning and not entry.by_example] == []
