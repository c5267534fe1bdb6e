"""All rules as one YAML file, for version control: out of the database, and into it.

What is exported is ordered by name, so that two exports differ where rules do. Written over an earlier export it leaves
the text of each rule that says the same as it stands, comments and all. An import is all or nothing, and doing it again
changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import yaml
from sqlalchemy.orm import Session

from node.errors import RuleError
from node.rules import load
from node.rules.file import Text, parse
from node.rules.match import InForce
from node.rules.model import Rule
from node.store import tables

HEAD = "# The rules of a harmonode node: `harmonode rules import` puts them in force.\n"


@dataclass(frozen=True, slots=True)
class Change:
    """What an import does to one rule."""

    name: str
    what: Literal["added", "changed", "removed", "same", "kept"]  # kept: the file does not name it
    after: Rule | None  # None where it is removed or kept
    lines: tuple[str, ...]  # of a unified diff of the YAML


def export(session: Session, earlier: str = "") -> str:
    """Every rule that is not removed, enabled or not. `earlier` is the text of the file that it goes to, if there is one.

    Raises:
        RuleError: the earlier text is no file of rules; nothing may be written over it.
    """
    documents = {row.name: row.document for row in load.stored(session)}
    plain = HEAD + "".join(f"\n{_item(document)}" for _name, document in sorted(documents.items()))
    if not earlier.strip():
        return plain
    head, pieces, tail = _cut(earlier, parse(earlier, "the file to write to"))
    kept = head
    for piece in pieces:
        if (document := documents.pop(_name(piece.text), None)) is not None:
            kept += piece.lead + (piece.body if _says(piece.text) == document else _item(document))
    kept += "".join(f"\n{_item(document)}" for _name, document in sorted(documents.items())) + tail
    kept = re.sub(r"\n{3,}", "\n\n", kept)
    return kept if _same(kept, plain) else plain


def plan(session: Session, rules: Sequence[Rule], *, prune: bool = False) -> list[Change]:
    """What an import of these rules would do, by name. `prune` removes the rules that are not among them.

    Raises:
        RuleError: a rule could never be reached then.
    """
    rows = {row.name: row for row in load.stored(session)}
    changes = [_change(rows.get(rule.name), rule) for rule in rules]
    named = {rule.name for rule in rules}
    others = [row for name, row in rows.items() if name not in named]
    for row in others:
        lines = tuple(load.diff(row.document, None)) if prune else ()
        changes.append(Change(row.name, "removed" if prune else "kept", None, lines))
    after = [InForce(rule, 0, rule.enabled) for rule in rules]
    if not prune:
        after += [load.loaded(row) for row in others if row.enabled]
    touched = {change.name for change in changes if change.what in {"added", "changed"}}
    load.check_reachable([entry for entry in after if entry.enabled], touched)
    return sorted(changes, key=lambda change: change.name)


def apply(session: Session, changes: Sequence[Change], *, author: str, why: str) -> int:
    """Make the changes of `plan` within its transaction, each an audited version; returns how many rules changed."""
    rows = {row.name: row for row in load.stored(session)}
    done = 0
    for change in changes:
        if change.what == "removed":
            load.remove(session, change.name, author=author, why=why)
        elif change.what in {"added", "changed"} and change.after is not None:
            current = rows.get(change.name)
            load.write_version(session, change.name, change.after.document(), current, author=author, why=why)
        else:
            continue
        done += 1
    return done


def _change(current: tables.Rule | None, rule: Rule) -> Change:
    before, after = current.document if current is not None else None, rule.document()
    if before == after:
        return Change(rule.name, "same", rule, ())
    what: Literal["added", "changed"] = "added" if before is None else "changed"
    return Change(rule.name, what, rule, tuple(load.diff(before, after)))


def _item(document: Any) -> str:
    """A rule as an item of a list."""
    first, *rest = load.as_yaml(document).splitlines()
    return "".join(f"{line}\n" for line in (f"- {first}", *(f"  {line}" for line in rest)))


def _says(text: Text) -> Any:
    """The document of a rule as the database keeps it; None where it is no rule."""
    rule, flaws = load.examine(text.document)
    return rule.document() if rule is not None and not flaws else None


def _name(text: Text) -> str:
    return str(text.document.get("name")) if isinstance(text.document, dict) else ""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A rule of a file with the comment above it."""

    text: Text
    lead: str
    body: str


def _cut(earlier: str, written: Sequence[Text]) -> tuple[str, list[_Piece], str]:
    """What stands at the head of a file, its rules, and what stands at its end."""
    lines = earlier.splitlines(keepends=True)
    starts = [text.first_line for text in written]
    ends = [_end(lines, start, end) for start, end in pairwise([*starts, len(lines)])]
    blank = [index for index in range(starts[0]) if not lines[index].strip()]
    leads = [max(blank, default=-1) + 1, *ends]
    pieces = [
        _Piece(text, "".join(lines[lead:start]), "".join(lines[start:end]))
        for text, lead, start, end in zip(written, leads, starts, ends, strict=False)
    ]
    return "".join(lines[: leads[0]]), pieces, "".join(lines[ends[-1] :])


def _end(lines: Sequence[str], start: int, end: int) -> int:
    """Where a rule ends: what follows it of comments and empty lines is the next one's."""
    while end > start + 1 and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
        end -= 1
    return end


def _same(one: str, other: str) -> bool:
    """Whether two texts hold the same rules; a text that was put together may not be sound, as where an alias lost its anchor."""
    try:
        said = [{_name(text): _says(text) for text in parse(content, "")} for content in (one, other)]
    except (RuleError, yaml.YAMLError):
        return False
    return said[0] == said[1] and None not in said[0].values()
