"""The files behind a study, series or instance, and how many there are. Received or derived: whoever asks need not know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from sqlalchemy.orm import Session, aliased

from node.config import Config
from node.store.tables import DerivedInstance, HeldSeries, HeldStudy, Instance, Job, Series


@dataclass(frozen=True, slots=True)
class Held:
    """One instance that the node holds."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    path: Path
    source_id: int  # row of the received series: itself, or what it is derived from


@dataclass(frozen=True, slots=True)
class Scope:
    """Which instances are meant; "" is any."""

    study: str = ""
    series: str = ""
    instance: str = ""

    def __str__(self) -> str:
        for name in ("instance", "series", "study"):
            if uid := getattr(self, name):
                return f"{name} {uid}"
        return "anything"


def instances(
    session: Session,
    config: Config,
    scope: Scope,
    *,
    series_ids: sa.Select[Any] | None = None,
    uids: Sequence[str] = (),
    sop_classes: Sequence[str] = (),
    limit: int | None = None,
    offset: int = 0,
) -> list[Held]:
    """The instances of a scope, received ones first, each in the order of their coming.

    `series_ids` are rows of HeldSeries to keep to; `uids` and `sop_classes` are UIDs to keep to, () for all.
    """
    received: Any = (
        sa.select(
            sa.literal(0).label("made"),
            Instance.id.label("number"),
            Series.study_instance_uid.label("study"),
            Series.series_instance_uid.label("series"),
            Instance.sop_instance_uid.label("instance"),
            Instance.sop_class_uid.label("sop_class"),
            Instance.transfer_syntax_uid.label("syntax"),
            Instance.path.label("path"),
            Series.id.label("source_id"),
        )
        .join(Series, Series.id == Instance.series_id)
        .join(HeldSeries, HeldSeries.series_id == Series.id)
        # What the node made itself is shown as it made it, should it have come back.
        .where(HeldSeries.derived_instance_id.is_(None), Instance.removed_at.is_(None))
    )
    derived: Any = (
        sa.select(
            sa.literal(1),
            DerivedInstance.id,
            Series.study_instance_uid,
            Job.derived_series_uid,
            DerivedInstance.sop_instance_uid,
            sa.literal(str(CTImageStorage)),
            sa.literal(str(ExplicitVRLittleEndian)),
            DerivedInstance.path,
            Series.id,
        )
        .join(Job, Job.id == DerivedInstance.job_id)
        .join(Series, Series.id == Job.series_id)
        .join(HeldStudy, HeldStudy.study_instance_uid == Series.study_instance_uid)
        .join(
            HeldSeries,
            sa.and_(HeldSeries.study_id == HeldStudy.id, HeldSeries.series_instance_uid == Job.derived_series_uid),
        )
        .where(Series.removed_at.is_(None))
    )
    queries = []
    for query, series, instance, sop_class in (
        (received, Series.series_instance_uid, Instance.sop_instance_uid, Instance.sop_class_uid),
        (derived, Job.derived_series_uid, DerivedInstance.sop_instance_uid, sa.literal(str(CTImageStorage))),
    ):
        kept = [
            *([Series.study_instance_uid == scope.study] if scope.study else ()),
            *([series == scope.series] if scope.series else ()),
            *([instance == scope.instance] if scope.instance else ()),
            *([instance.in_(uids)] if uids else ()),
            *([sop_class.in_(sop_classes)] if sop_classes else ()),
            *([HeldSeries.id.in_(series_ids)] if series_ids is not None else ()),
        ]
        queries.append(query.where(*kept))
    union = sa.union_all(*queries).subquery()
    rows = session.execute(sa.select(union).order_by(union.c.made, union.c.number).limit(limit).offset(offset))
    folders = (config.spool_dir, config.derived_dir)
    return [
        Held(
            row.study, row.series, row.instance, row.sop_class, row.syntax, folders[row.made] / row.path, row.source_id
        )
        for row in rows
    ]


def is_here() -> sa.ColumnElement[bool]:
    """Whether the files of a HeldSeries are still on the disk."""
    source = aliased(Series)
    return sa.exists().where(source.id == HeldSeries.source_id, source.removed_at.is_(None)).correlate(HeldSeries)


def counts(session: Session, series_ids: Sequence[int]) -> dict[int, int]:
    """How many instances each of these series has, by row of HeldSeries."""
    received = sa.select(HeldSeries.id, Series.instance_count).join(Series, Series.id == HeldSeries.series_id)
    found = {row.id: row.instance_count for row in session.execute(received.where(HeldSeries.id.in_(series_ids)))}
    derived = (
        sa.select(HeldSeries.id, sa.func.count(DerivedInstance.id).label("made"))
        .join(HeldStudy, HeldStudy.id == HeldSeries.study_id)
        .join(Job, Job.derived_series_uid == HeldSeries.series_instance_uid)
        .join(DerivedInstance, DerivedInstance.job_id == Job.id)
        .where(HeldSeries.id.in_(series_ids), HeldSeries.derived_instance_id.is_not(None))
        .group_by(HeldSeries.id)
    )
    return {**found, **{row.id: row.made for row in session.execute(derived)}}
