"""What names a series on a page: the scanner's words for it, and nothing of the patient."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from node.store.tables import Series


@dataclass(frozen=True, slots=True)
class Label:
    """A series by its own description."""

    id: int
    description: str  # Series Description (0008,103E), else Protocol Name (0018,1030)
    kernel: str  # Convolution Kernel (0018,1210)
    slices: int

    def __str__(self) -> str:
        return self.description or "no description"


def first_value(facts: dict[str, Any] | None, keyword: str) -> str:
    """An attribute of a series, from its stored facts: the first value where there are several."""
    values = ((facts or {}).get("tags", {}).get(keyword) or {}).get("values") or [""]
    value = values[0]
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def label_of(series: Series) -> Label:
    """Of one series."""
    named = [first_value(series.facts, keyword) for keyword in ("SeriesDescription", "ProtocolName")]
    kernel = first_value(series.facts, "ConvolutionKernel")
    return Label(series.id, next((name for name in named if name), ""), kernel, series.instance_count)


def labels(session: Session, uids: Collection[tuple[str, str]]) -> dict[tuple[str, str], Label]:
    """(Study, Series Instance UID) -> its label. The database takes the words out of the facts, which are large."""
    if not uids:
        return {}

    def told(keyword: str) -> Any:
        return Series.facts["tags"][keyword]["values"][0].as_string()

    rows = session.execute(
        sa.select(
            Series.study_instance_uid, Series.series_instance_uid, Series.id, Series.instance_count,
            told("SeriesDescription"), told("ProtocolName"), told("ConvolutionKernel"),
        ).where(Series.series_instance_uid.in_({series for _study, series in uids}))
    )  # fmt: skip
    return {
        (study, series): Label(row, description or protocol or "", kernel or "", count)
        for study, series, row, count, description, protocol, kernel in rows
    }
