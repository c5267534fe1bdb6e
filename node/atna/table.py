"""Which event of the trail makes which audit message: `MESSAGES`, one line an event.

An event that is not there concerns nobody outside: what the rules said, what was measured, that a job was taken. Nor is
an audit server's own outage told: a message of it would wait for that same server. Patient ID and Patient's Name are
not in the trail; they are read from the received files, as far as `audit.patient` wants them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from pydicom.uid import CTImageStorage, EnhancedSRStorage
from sqlalchemy.orm import Session

from node.atna import codes
from node.atna.message import Message, Outcome, Participant, Source, Subject
from node.audit import Event
from node.config import Config, DimseDestination, FolderDestination
from node.dicom.headers import read_header
from node.errors import ConfigError, HarmonodeError
from node.store.tables import AuditRecord, Instance, Series

# Of the configuration: who may come in, and how connections are kept safe.
_OF_SECURITY = ("receive.peers", "receive.tls", "receive.check_called_ae_title", "web.", "audit.")


class Teller:
    """Makes the messages of one node."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.host = socket.gethostname()
        self.source = Source(config.audit.source_id or self.host, config.audit.enterprise_site_id)
        self._patient = lru_cache(maxsize=256)(self._read_patient)

    def message(self, session: Session, record: AuditRecord) -> Message | None:
        """What a repository is told of a record; None where there is nothing to tell."""
        make = MESSAGES.get(record.event)
        return make(self, session, record) if make else None

    def process(self, record: AuditRecord, *, requestor: bool = False, role: codes.Code | None = None) -> Participant:
        """The node's own process that wrote the record."""
        name = "node" if ":" in record.actor else record.actor
        return Participant(name, requestor, role, self.config.receive.ae_title, "harmonode", self.host)

    def actor(self, record: AuditRecord) -> tuple[Participant, ...]:
        """Who brought it about: the process, and before it the person or program where there was one."""
        kind, _, who = record.actor.partition(":")
        if not who:
            return (self.process(record, requestor=True),)
        person = Participant(f"{who}@{self.host}", requestor=True, name=who if kind == "user" else f"{kind} {who}")
        return person, self.process(record)

    def study(self, session: Session, record: AuditRecord, instances: Mapping[str, int]) -> tuple[Subject, ...]:
        """The study, with how many of its instances it is about, and the patient."""
        uid = record.study_instance_uid or ""
        study = Subject(uid, codes.STUDY_INSTANCE_UID, "2", "3", instances=instances)
        if self.config.audit.patient == "none":
            return (study,)
        identifier, name = self._patient(self._any_path(session, record))
        shown = name if self.config.audit.patient == "id-and-name" else ""
        return study, Subject(identifier, codes.PATIENT_NUMBER, "1", "1", shown)

    def sop_classes(self, session: Session, record: AuditRecord, count: int) -> dict[str, int]:
        """So many instances of a series by SOP Class; as unknown where it holds several classes, or none any more."""
        found = session.scalars(_instances(record).with_only_columns(Instance.sop_class_uid).distinct().limit(2)).all()
        return {found[0] if len(found) == 1 else "": count}

    def _any_path(self, session: Session, record: AuditRecord) -> Path | None:
        path = session.scalar(_instances(record).with_only_columns(Instance.path).limit(1))
        return self.config.spool_dir / path if path else None

    @staticmethod
    def _read_patient(path: Path | None) -> tuple[str, str]:
        """Patient ID and Patient's Name; empty where they are, or where the file has left the disk."""
        try:
            if path is None:
                return "", ""
            header = read_header(path)
            return str(header.get("PatientID") or ""), str(header.get("PatientName") or "")
        except (OSError, HarmonodeError, ValueError):
            return "", ""


def _instances(record: AuditRecord) -> sa.Select[Any]:
    return (
        sa.select(Instance)
        .join(Series, Series.id == Instance.series_id)
        .where(
            Series.study_instance_uid == record.study_instance_uid,
            Series.series_instance_uid == record.series_instance_uid,
        )
    )


def _activity(kind: codes.Code) -> Callable[[Teller, Session, AuditRecord], Message | None]:
    """Application Activity, section A.5.3.1."""

    def make(teller: Teller, _session: Session, record: AuditRecord) -> Message | None:
        if record.series_instance_uid:  # a worker takes up a series
            return None
        process = teller.process(record, role=codes.APPLICATION)
        return Message(codes.APPLICATION_ACTIVITY, "E", record.at, (process,), kind=kind)

    return make


def _received(teller: Teller, session: Session, record: AuditRecord) -> Message | None:
    """DICOM Instances Transferred, section A.5.3.7: to us, who did not have them."""
    instances = record.detail.get("instances")
    if not isinstance(instances, list) or not record.study_instance_uid:
        return None  # a series is looked at again
    sender = record.detail.get("calling_ae_title") or "unknown"
    address = record.detail.get("address") or ""
    return Message(
        codes.INSTANCES_TRANSFERRED,
        "C",
        record.at,
        (
            Participant(sender, requestor=True, role=codes.SOURCE, ae_title=sender, access_point=address),
            teller.process(record, role=codes.DESTINATION),
        ),
        teller.study(session, record, teller.sop_classes(session, record, len(instances))),
    )


def _turned_away(teller: Teller, session: Session, record: AuditRecord) -> Message | None:
    """Instances that were refused and kept aside, where it is known of which study."""
    if not record.study_instance_uid:
        return None
    series = session.scalars(
        sa.select(Series).where(
            Series.study_instance_uid == record.study_instance_uid,
            Series.series_instance_uid == record.series_instance_uid,
        )
    ).first()
    sender, address = (series.calling_ae_title, series.address) if series else ("unknown", "")
    return Message(
        codes.INSTANCES_TRANSFERRED,
        "C",
        record.at,
        (
            Participant(sender, requestor=True, role=codes.SOURCE, ae_title=sender, access_point=address),
            teller.process(record, role=codes.DESTINATION),
        ),
        teller.study(session, record, {"": 1}),
        outcome=Outcome.MINOR,
        said=record.message,
    )


def _sent(teller: Teller, session: Session, record: AuditRecord) -> Message | None:
    """Begin Transferring, A.5.3.3, DICOM Instances Transferred, A.5.3.7, or into a folder Export, A.5.3.4."""
    name, count = record.detail.get("destination"), record.detail.get("instances")
    if not name or not isinstance(count, int):
        return None  # that all destinations have it
    begins = bool(record.detail.get("begins"))
    try:
        destination = teller.config.destination(name)
    except ConfigError:  # it has left the configuration since
        receiver = Participant(str(name), role=codes.DESTINATION)
    else:
        if isinstance(destination, FolderDestination):
            return None if begins else _exported(teller, session, record, destination, count)
        if isinstance(destination, DimseDestination):
            title, host = destination.ae_title, destination.host
            receiver = Participant(title, role=codes.DESTINATION, ae_title=title, name=str(name), access_point=host)
        else:
            host = urlsplit(destination.url).hostname or ""
            receiver = Participant(str(name), role=codes.DESTINATION, access_point=host)
    return Message(
        codes.BEGIN_TRANSFERRING if begins else codes.INSTANCES_TRANSFERRED,
        "E" if begins else "R",  # we do not know whether the receiver had them
        record.at,
        (teller.process(record, requestor=True, role=codes.SOURCE), receiver),
        teller.study(session, record, _of_ours(record, count)),
    )


def _of_ours(record: AuditRecord, count: int) -> dict[str, int]:
    """Derived images, and the Structured Reports among so many instances."""
    reports = int(record.detail.get("reports") or 0)
    return {str(CTImageStorage): count - reports} | ({str(EnhancedSRStorage): reports} if reports else {})


def _exported(
    teller: Teller, session: Session, record: AuditRecord, destination: FolderDestination, count: int
) -> Message:
    uri = destination.path.absolute().as_uri()
    return Message(
        codes.EXPORT,
        "R",
        record.at,
        (
            teller.process(record, requestor=True, role=codes.SOURCE),
            Participant(uri, role=codes.DESTINATION_MEDIA, name=destination.name, media=codes.MEDIA_URI),
        ),
        teller.study(session, record, _of_ours(record, count)),
    )


def _accessed(action: Any) -> Callable[[Teller, Session, AuditRecord], Message | None]:
    """DICOM Instances Accessed, section A.5.3.6."""

    def make(teller: Teller, session: Session, record: AuditRecord) -> Message | None:
        if not record.study_instance_uid:
            return None
        return Message(
            codes.INSTANCES_ACCESSED, action, record.at, teller.actor(record), teller.study(session, record, {})
        )

    return make


def _rejected(teller: Teller, _session: Session, record: AuditRecord) -> Message | None:
    """Security Alert, section A.5.3.11: one who has no business here was kept out."""
    address = record.detail.get("address")
    if record.series_instance_uid or not address or "offered" in record.detail:
        return None  # a series that is malformed, a service that we do not have
    title = record.detail.get("calling_ae_title") or ""
    return _alert(
        record,
        (
            teller.process(record, requestor=True),
            Participant(title or str(address), ae_title=title, access_point=str(address)),
        ),
        codes.NODE_AUTHENTICATION,
        Subject(str(address), codes.NODE_ID, "2", "13", detail={"Alert Description": record.message}),
        Outcome.MINOR,
    )


def _configured(teller: Teller, _session: Session, record: AuditRecord) -> Message:
    """Security Alert, informative: a rule or the configuration changed."""
    changed = record.detail.get("changed") or {}
    security = any(str(key).startswith(_OF_SECURITY) for key in changed)
    return _alert(
        record,
        teller.actor(record),
        codes.SECURITY_CONFIGURATION if security else codes.SOFTWARE_CONFIGURATION,
        Subject(teller.host, codes.NODE_ID, "2", "5", detail={"Alert Description": record.message}),
    )


def _alarmed(teller: Teller, _session: Session, record: AuditRecord) -> Message:
    """Security Alert: tokens made or revoked, guessing at them, a trail that does not hold."""
    address = record.detail.get("address")
    if record.detail.get("flaws"):  # somebody changed records that nobody may change
        outcome, kind = Outcome.MAJOR, codes.RESTRICTED_FUNCTION
    elif address:
        outcome, kind = Outcome.MINOR, codes.NODE_AUTHENTICATION
    else:
        outcome, kind = Outcome.SUCCESS, codes.USER_SECURITY_ATTRIBUTES
    performing = (Participant(str(address), access_point=str(address)),) if address else ()
    subject = Subject(
        str(address or teller.host), codes.NODE_ID, "2", "13", detail={"Alert Description": record.message}
    )
    return _alert(record, (*teller.actor(record), *performing), kind, subject, outcome)


def _authenticated(teller: Teller, _session: Session, record: AuditRecord) -> Message:
    """User Authentication, section A.5.3.12. Without a word of success it is a logout."""
    success = record.detail.get("success")
    who = record.detail.get("token") or "unknown"
    person = Participant(str(who), requestor=True, access_point=str(record.detail.get("address") or teller.host))
    return Message(
        codes.USER_AUTHENTICATION,
        "E",
        record.at,
        (person, Participant("node", name="harmonode", access_point=teller.host)),
        kind=codes.LOGOUT if success is None else codes.LOGIN,
        outcome=Outcome.MINOR if success is False else Outcome.SUCCESS,
        said=record.message if success is False else "",
    )


def _alert(
    record: AuditRecord,
    participants: tuple[Participant, ...],
    kind: codes.Code,
    subject: Subject,
    outcome: Outcome = Outcome.SUCCESS,
) -> Message:
    return Message(
        codes.SECURITY_ALERT,
        "E",
        record.at,
        participants,
        (subject,),
        kind=kind,
        outcome=outcome,
        said=record.message if outcome else "",
    )


MESSAGES: dict[str, Callable[[Teller, Session, AuditRecord], Message | None]] = {
    Event.START: _activity(codes.APPLICATION_START),
    Event.STOP: _activity(codes.APPLICATION_STOP),
    Event.CONFIGURATION: _configured,
    Event.ARRIVAL: _received,
    Event.CONFLICT: _turned_away,
    Event.QUARANTINE: _turned_away,
    Event.REFUSAL: _rejected,
    Event.DERIVATION: _accessed("C"),
    Event.TRANSMISSION: _sent,
    Event.AUTHENTICATION: _authenticated,
    Event.ALERT: _alarmed,
    Event.ACCESS: _accessed("R"),
    Event.RETENTION: _accessed("D"),
}
