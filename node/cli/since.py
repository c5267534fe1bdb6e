"""A moment in the past, as a person writes it: `30d`, `12h`, `2026-03-01`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import typer

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(text: str, now: datetime | None = None) -> datetime:
    """The moment so long ago, or that of a date or time in ISO 8601, UTC where no zone is named.

    Raises:
        typer.BadParameter: it is neither.
    """
    try:
        if ago := re.fullmatch(r"(\d{1,6})([mhdw])", text.strip()):
            return (now or datetime.now(UTC)) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        told = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            f"expected so long ago, as 90m, 12h, 30d or 4w, or a date such as 2026-03-01; got {text!r}"
        ) from error
    return told if told.tzinfo else told.replace(tzinfo=UTC)
