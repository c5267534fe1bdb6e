"""What a person or a program may do; each role may do what the ones before it may."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """In their order."""

    VIEWER = "viewer"  # reads
    OPERATOR = "operator"  # also retries, cancels and sends
    ADMIN = "admin"  # also changes rules

    def includes(self, other: Role) -> bool:
        """Whether who has this role may do what the other may."""
        order = list(Role)
        return order.index(self) >= order.index(other)
