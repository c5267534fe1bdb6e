"""The versions of a rule: who changed it, when, why, and what."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from node.errors import RuleError
from node.rules import load
from node.store import tables


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a rule, as it was written."""

    name: str
    version: int
    at: datetime
    author: str
    why: str
    state: Literal["enabled", "disabled", "removed"]
    document: Mapping[str, Any]  # the whole rule; of one that is removed, as it was last
    changes: tuple[str, ...]  # against the version before, as lines of a unified diff of the YAML

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self.version,
            "at": self.at.isoformat(),
            "author": self.author,
            "why": self.why,
            "state": self.state,
            "changes": list(self.changes),
            "rule": dict(self.document),
        }


def history(session: Session, name: str) -> list[Version]:
    """Every version of a rule, the newest first; of one that was removed too.

    Raises:
        RuleError: there never was a rule of that name.
    """
    rows = session.scalars(sa.select(tables.Rule).where(tables.Rule.name == name).order_by(tables.Rule.version)).all()
    if not rows:
        raise RuleError(f"there never was a rule {name!r}; there are: {', '.join(_names(session)) or 'none'}")
    versions, before = [], None
    for row in rows:
        after = None if row.removed else row.document
        versions.append(
            Version(
                name=name,
                version=row.version,
                at=row.at,
                author=row.author,
                why=row.why,
                state="removed" if row.removed else "enabled" if row.enabled else "disabled",
                document=row.document,
                changes=tuple(load.diff(before, after)) if before is not None else (),
            )
        )
        before = after
    return versions[::-1]


def version(session: Session, name: str, number: int) -> Version:
    """One version of a rule.

    Raises:
        RuleError: there is no such rule, or no such version; names those that there are.
    """
    versions = history(session, name)
    for one in versions:
        if one.version == number:
            return one
    raise RuleError(f"rule {name!r} has no version {number}; it has 1 to {versions[0].version}")


def compare(before: Version, after: Version) -> list[str]:
    """What differs between two versions, as the lines of a unified diff of the YAML with what stands around it."""
    old, new = (load.as_yaml(one.document).splitlines() if one.state != "removed" else [] for one in (before, after))
    names = [f"{one.name} version {one.version}, {one.at:%Y-%m-%d} by {one.author}" for one in (before, after)]
    return list(difflib.unified_diff(old, new, names[0], names[1], lineterm=""))


def _names(session: Session) -> list[str]:
    return list(session.scalars(sa.select(tables.Rule.name).distinct().order_by(tables.Rule.name)))
