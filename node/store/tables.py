"""The tables, one class each. The spool is the truth of what was received; these rows index it.

Times are UTC. A UID column holds at most 64 characters (PS3.5 section 9.1).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class UTCDateTime(TypeDecorator[datetime]):
    """A time with its zone in Python, UTC in the database (SQLite keeps no zone)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is not None and value.tzinfo is None:
            raise ValueError(f"a time without a zone cannot be stored: {value!r}")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Columns whose annotation needs more than SQLAlchemy's own mapping."""

    # None is NULL, never the JSON text "null", so that a query can ask for it.
    type_annotation_map = {datetime: UTCDateTime, dict[str, Any]: JSON(none_as_null=True), list[Any]: JSON}  # noqa: RUF012


class Series(Base):
    """One series on its journey."""

    __tablename__ = "series"
    __table_args__ = (
        UniqueConstraint("study_instance_uid", "series_instance_uid"),
        Index("ix_series_series_instance_uid", "series_instance_uid"),
        # The lists, the newest first, by what they are asked for (store/pages.py, overview.py). Whichever is taken holds
        # what else may be asked, so that no row is read that is not shown: rows are large, and lie far apart.
        Index("ix_series_last_arrival_at", "last_arrival_at", "id"),
        Index("ix_series_state_last_arrival_at", "state", "last_arrival_at", "id", "rule_name", "calling_ae_title"),
        Index("ix_series_state_since", "state", "state_since", "id"),
        Index("ix_series_rule_name", "rule_name", "last_arrival_at", "id", "state", "calling_ae_title"),
        Index("ix_series_calling_ae_title", "calling_ae_title", "last_arrival_at", "id", "state", "rule_name"),
        Index("ix_series_first_arrival_at", "first_arrival_at"),
        # What retention looks through: the series whose files are there, a small part of all that ever came.
        Index("ix_series_there", "state", "removed_at", "last_arrival_at", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(String(64))
    series_instance_uid: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16))  # journey.State
    state_since: Mapped[datetime]
    first_arrival_at: Mapped[datetime]
    last_arrival_at: Mapped[datetime]
    instance_count: Mapped[int] = mapped_column(default=0)
    expected_count: Mapped[int | None]  # Number of Series Related Instances (0020,1209), where the sender told
    calling_ae_title: Mapped[str] = mapped_column(String(16))
    called_ae_title: Mapped[str] = mapped_column(String(16))
    address: Mapped[str] = mapped_column(String(64))
    facts: Mapped[dict[str, Any] | None]  # SeriesFacts.to_json(), when complete
    explanation: Mapped[dict[str, Any] | None]  # what each rule said, clause by clause
    rule_name: Mapped[str | None] = mapped_column(String(64))
    reason: Mapped[str | None] = mapped_column(Text)  # why it stands where it stands
    error_kind: Mapped[str | None] = mapped_column(String(16))  # errors.ErrorKind
    removed_at: Mapped[datetime | None]  # when its files left the disk; None while there are any

    instances: Mapped[list[Instance]] = relationship(back_populates="series")
    jobs: Mapped[list[Job]] = relationship(back_populates="series", order_by="Job.round")


class Instance(Base):
    """One received instance: a file in the spool."""

    __tablename__ = "instance"
    __table_args__ = (
        UniqueConstraint("series_id", "sop_instance_uid"),
        # What lies in the spool, as a start compares it with the disk.
        Index(
            "ix_instance_there",
            "path",
            "removed_at",
            sqlite_where=text("removed_at IS NULL"),
            postgresql_where=text("removed_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"))
    sop_instance_uid: Mapped[str] = mapped_column(String(64))
    sop_class_uid: Mapped[str] = mapped_column(String(64))
    transfer_syntax_uid: Mapped[str] = mapped_column(String(64))
    path: Mapped[str] = mapped_column(String(255))  # relative to the spool
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    received_at: Mapped[datetime] = mapped_column(index=True)
    calling_ae_title: Mapped[str] = mapped_column(String(16))
    round: Mapped[int | None]  # the round of the job that took it; None until one does
    removed_at: Mapped[datetime | None]  # when its file left the spool

    series: Mapped[Series] = relationship(back_populates="instances")


class Job(Base):
    """One round of processing of a series: all its instances first, late instances in later rounds."""

    __tablename__ = "job"
    __table_args__ = (UniqueConstraint("series_id", "round"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)  # uuid4 as hex
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"))
    round: Mapped[int]
    rule_name: Mapped[str] = mapped_column(String(64))
    rule_version: Mapped[int]
    plugin: Mapped[str] = mapped_column(String(64))
    parameters: Mapped[dict[str, Any]]
    destinations: Mapped[list[Any]]  # names of destinations in the configuration
    priority: Mapped[int] = mapped_column(default=0)  # higher goes first
    window: Mapped[dict[str, Any] | None]  # the rule's `when`, rules.when.When as JSON; None: it may start at any time
    starts_at: Mapped[datetime | None]  # not before; None: as soon as a worker is free
    late: Mapped[str] = mapped_column(String(16), default="harmonize")  # what becomes of instances that come after it
    attempt: Mapped[int] = mapped_column(default=0)  # counts starts by a worker or a person; part of the workflow id
    tries: Mapped[int] = mapped_column(default=0)  # failed tries of the step it stands at
    takeovers: Mapped[int] = mapped_column(default=0)  # workers lost with it since a person last started it
    executor_id: Mapped[str | None] = mapped_column(String(64))  # the worker that has it, or had it last
    progress_done: Mapped[int] = mapped_column(default=0)  # slices done in this step
    progress_total: Mapped[int] = mapped_column(default=0)
    measurement: Mapped[dict[str, Any] | None]  # plugin.Measurement as JSON; made once, reused for late slices
    method: Mapped[dict[str, Any] | None]  # plugin.Method as JSON
    verdict: Mapped[dict[str, Any] | None]  # plugin.Verdict as JSON
    report: Mapped[dict[str, Any] | None]  # numbers and curves; pictures lie beside the derived files
    derived_series_uid: Mapped[str | None] = mapped_column(String(64), index=True)
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None] = mapped_column(index=True)

    series: Mapped[Series] = relationship(back_populates="jobs")


class DerivedInstance(Base):
    """One instance that the node made; known so that it is recognised when it comes back."""

    __tablename__ = "derived_instance"

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"), index=True)
    source_instance_id: Mapped[int] = mapped_column(ForeignKey("instance.id"))
    sop_instance_uid: Mapped[str] = mapped_column(String(64), unique=True)
    path: Mapped[str] = mapped_column(String(255))  # relative to the folder of derived series
    sha256: Mapped[str] = mapped_column(String(64))  # of the file


class StructuredReport(Base):
    """The DICOM Structured Report on what a job made: one a round, all in a series of their own."""

    __tablename__ = "structured_report"

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"), unique=True)
    series_instance_uid: Mapped[str] = mapped_column(String(64), index=True)
    sop_instance_uid: Mapped[str] = mapped_column(String(64), unique=True)
    path: Mapped[str] = mapped_column(String(255))  # relative to the folder of derived series
    sha256: Mapped[str] = mapped_column(String(64))  # of the file


class Delivery(Base):
    """How far the derived instances of a job have come at one destination."""

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("job_id", "destination"),
        Index("ix_delivery_sent_at", "destination", "sent_at"),
        Index("ix_delivery_confirmed_at", "destination", "confirmed_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"))
    destination: Mapped[str] = mapped_column(String(64))
    sent_at: Mapped[datetime | None]
    sent_count: Mapped[int] = mapped_column(default=0)
    reports: Mapped[int] = mapped_column(default=0)  # Structured Reports among them
    sends: Mapped[int] = mapped_column(default=0)  # how often it was sent; a second time where too little arrived
    confirmed_at: Mapped[datetime | None]
    confirmed_count: Mapped[
        int | None
    ]  # instances that the destination says it holds, of the derived series and the reports on it


class HeldStudy(Base):
    """A study as DICOMweb finds it: what the first instance of it that came says of patient and study."""

    __tablename__ = "held_study"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(String(64), unique=True)
    study_date: Mapped[str] = mapped_column(String(8), index=True)  # values as in the header; "" where it has none
    study_time: Mapped[str] = mapped_column(String(16))
    accession_number: Mapped[str] = mapped_column(String(64), index=True)
    study_id: Mapped[str] = mapped_column(String(64))
    study_description: Mapped[str] = mapped_column(String(64))
    referring_physician_name: Mapped[str] = mapped_column(Text)  # names folded to one case: they are matched so
    patient_id: Mapped[str] = mapped_column(String(64), index=True)
    patient_name: Mapped[str] = mapped_column(Text, index=True)
    patient_birth_date: Mapped[str] = mapped_column(String(8))
    patient_sex: Mapped[str] = mapped_column(String(16))
    attributes: Mapped[dict[str, Any]]  # DICOM JSON, of patient and study

    series: Mapped[list[HeldSeries]] = relationship(back_populates="study")


class HeldSeries(Base):
    """A series as DICOMweb finds it, received or derived."""

    __tablename__ = "held_series"
    __table_args__ = (UniqueConstraint("study_id", "series_instance_uid"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("held_study.id"))
    series_instance_uid: Mapped[str] = mapped_column(String(64), index=True)
    modality: Mapped[str] = mapped_column(String(16))  # no index: nearly all are CT, and SQLite would go by it
    series_number: Mapped[int | None] = mapped_column(BigInteger)
    series_description: Mapped[str] = mapped_column(String(64))
    performed_date: Mapped[str] = mapped_column(String(8))  # Performed Procedure Step Start Date (0040,0244)
    performed_time: Mapped[str] = mapped_column(String(16))
    attributes: Mapped[dict[str, Any]]  # DICOM JSON, of the series
    source_id: Mapped[int] = mapped_column(
        ForeignKey("series.id"), index=True
    )  # what was received; of a derived one, its source
    series_id: Mapped[int | None] = mapped_column(ForeignKey("series.id"), unique=True)  # where it was received itself
    derived_instance_id: Mapped[int | None] = mapped_column(index=True)  # where the node made it: its newest instance

    study: Mapped[HeldStudy] = relationship(back_populates="series")


class Commitment(Base):
    """Storage commitment that a destination was asked for (PS3.4 annex J), and what it reported."""

    __tablename__ = "commitment"

    transaction_uid: Mapped[str] = mapped_column(String(64), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"), index=True)
    destination: Mapped[str] = mapped_column(String(64))
    instances: Mapped[dict[str, Any]]  # SOP Instance UID -> SOP Class UID
    asked_at: Mapped[datetime | None]  # when it took the request; None: whether it did is unknown
    looked_at: Mapped[datetime | None]  # when it was last looked for the report
    waited_s: Mapped[int] = mapped_column(default=0)  # how long that was waited for, whatever the wall clock did
    reported_at: Mapped[datetime | None]
    failed: Mapped[dict[str, Any] | None]  # SOP Instance UID -> Failure Reason (0008,1197); empty: it commits to all


class CommitmentRequest(Base):
    """Storage commitment that the node was asked for, and whether it has reported."""

    __tablename__ = "commitment_request"
    __table_args__ = (UniqueConstraint("transaction_uid", "calling_ae_title"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    transaction_uid: Mapped[str] = mapped_column(String(64))
    calling_ae_title: Mapped[str] = mapped_column(String(16))
    instances: Mapped[dict[str, Any]]  # SOP Instance UID -> SOP Class UID
    asked_at: Mapped[datetime]
    tries: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[datetime | None] = mapped_column(
        index=True
    )  # when it is to be reported; None: it was, or never will
    reported_at: Mapped[datetime | None]
    failed: Mapped[dict[str, Any] | None]  # as it was reported: SOP Instance UID -> Failure Reason (0008,1197)


class Quarantined(Base):
    """Bytes kept aside because they could not be accepted."""

    __tablename__ = "quarantined"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    path: Mapped[str] = mapped_column(String(255), unique=True)  # relative to the quarantine
    reason: Mapped[str] = mapped_column(Text)
    study_instance_uid: Mapped[str | None] = mapped_column(String(64))
    series_instance_uid: Mapped[str | None] = mapped_column(String(64))
    sop_instance_uid: Mapped[str | None] = mapped_column(String(64))
    calling_ae_title: Mapped[str] = mapped_column(String(16))
    address: Mapped[str] = mapped_column(String(64))


class AuditRecord(Base):
    """One event. Append-only (a trigger refuses UPDATE and DELETE) and chained by `hash`."""

    __tablename__ = "audit_record"
    __table_args__ = (
        Index("ix_audit_record_event", "event", "seq"),
        Index("ix_audit_record_series_instance_uid", "series_instance_uid", "seq"),
    )

    # 1, 2, 3 … without a gap. On SQLite an INTEGER is the row's own number and needs no index.
    seq: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False
    )
    at: Mapped[datetime] = mapped_column(index=True)
    event: Mapped[str] = mapped_column(String(32))  # audit.Event
    actor: Mapped[str] = mapped_column(String(64))  # "node", "worker-0", "user:root"
    study_instance_uid: Mapped[str | None] = mapped_column(String(64))
    series_instance_uid: Mapped[str | None] = mapped_column(String(64))
    message: Mapped[str] = mapped_column(Text)  # for the person who reads it
    detail: Mapped[dict[str, Any]]  # for the program that reads it
    previous_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))  # SHA-256 over previous_hash and every field above


class AuditHead(Base):
    """The last audit record, kept apart so that a cut-off tail is noticed."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(primary_key=True)  # always 1
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(String(64))


class AuditCursor(Base):
    """How far the trail has come at an audit server; what lies beyond waits, in the trail itself."""

    __tablename__ = "audit_cursor"

    server: Mapped[str] = mapped_column(String(64), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)  # the last record that it has
    delivered_at: Mapped[datetime | None]
    down_since: Mapped[datetime | None]  # None while it takes messages
    reason: Mapped[str | None] = mapped_column(Text)  # why it is down


class Notice(Base):
    """What people have been told of a problem that is there; gone when it is over."""

    __tablename__ = "notice"

    kind: Mapped[str] = mapped_column(String(32), primary_key=True)
    since: Mapped[datetime]
    told_at: Mapped[datetime]
    told: Mapped[int]  # how many things it concerned when it was last told of
    keys: Mapped[list[Any]]  # which
    gone_since: Mapped[datetime | None]  # None while it is there


class Posted(Base):
    """A notification that a channel has not taken yet."""

    __tablename__ = "posted"

    id: Mapped[int] = mapped_column(primary_key=True)
    channel: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(32))
    letter: Mapped[dict[str, Any]]  # notify.Letter.to_json()
    tries: Mapped[int]
    next_at: Mapped[datetime]


class Rule(Base):
    """One version of a rule; the newest of a name is the one in force."""

    __tablename__ = "rule"
    __table_args__ = (UniqueConstraint("name", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    version: Mapped[int]
    enabled: Mapped[bool]
    removed: Mapped[bool] = mapped_column(default=False)
    document: Mapped[dict[str, Any]]  # as written, validated by rules.model
    author: Mapped[str] = mapped_column(String(64))
    why: Mapped[str] = mapped_column(Text, default="")
    at: Mapped[datetime]


class Lease(Base):
    """Who is alive: a worker renews its row; a lapsed one's work is taken over."""

    __tablename__ = "lease"

    executor_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    renewed_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class Token(Base):
    """Who may use the web interface. The token itself is shown once, when it is made, and not kept."""

    __tablename__ = "token"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(48), unique=True)  # who, or which program; never used again
    role: Mapped[str] = mapped_column(String(16))  # web.roles.Role
    sha256: Mapped[str] = mapped_column(String(64), unique=True)  # of the token
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(64))
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]  # last, to within some minutes
    logged_out_at: Mapped[datetime | None]  # browser sessions that began before are over
