"""A DICOM audit message, PS3.15 section A.5, and its XML by the schema of section A.5.1."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from ipaddress import ip_address
from typing import Literal
from xml.etree import ElementTree as ET

from node.atna.codes import Code

_APPLICATION_SERVER = "4"  # AuditSourceTypeCode, section A.5.1.2.1
_LONGEST = 4000  # characters of a text: a receiver need not take messages of more than 32768 bytes (section A.6)
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0 section 2.2


class Outcome(IntEnum):
    """EventOutcomeIndicator."""

    SUCCESS = 0
    MINOR = 4  # what was tried did not happen, and no more than that
    SERIOUS = 8
    MAJOR = 12  # the system may have been compromised


@dataclass(frozen=True, slots=True)
class Participant:
    """A person, process or medium that took part (ActiveParticipant)."""

    user_id: str
    requestor: bool = False
    role: Code | None = None
    ae_title: str = ""
    name: str = ""
    access_point: str = ""  # a host name or an IP address
    media: Code | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """What it was about (ParticipantObjectIdentification)."""

    identifier: str
    id_type: Code
    type_code: Literal["1", "2"]  # person, system object
    role: Literal["1", "3", "5", "13"] | None = None  # patient, report, master file, security resource
    name: str = ""
    detail: Mapping[str, str] = field(default_factory=dict)
    instances: Mapping[str, int] = field(default_factory=dict)  # by SOP Class UID; "" where it is not known


@dataclass(frozen=True, slots=True)
class Source:
    """Who tells (AuditSourceIdentification)."""

    source_id: str
    site_id: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One event for a repository. The same record of the trail always makes the same message."""

    event: Code
    action: Literal["C", "R", "U", "D", "E"]
    at: datetime
    participants: tuple[Participant, ...]
    subjects: tuple[Subject, ...] = ()
    kind: Code | None = None  # EventTypeCode
    outcome: Outcome = Outcome.SUCCESS
    said: str = ""  # EventOutcomeDescription

    def to_xml(self, source: Source) -> bytes:
        """UTF-8, in one line."""
        root = ET.Element("AuditMessage")
        event = ET.SubElement(
            root,
            "EventIdentification",
            EventActionCode=self.action,
            EventDateTime=self.at.astimezone(UTC).isoformat(timespec="microseconds"),
            EventOutcomeIndicator=str(int(self.outcome)),
        )
        _code(event, "EventID", self.event)
        if self.kind:
            _code(event, "EventTypeCode", self.kind)
        if self.said:
            ET.SubElement(event, "EventOutcomeDescription").text = _text(self.said)
        for participant in self.participants:
            _participant(root, participant)
        told = {"AuditEnterpriseSiteID": _text(source.site_id)} if source.site_id else {}
        told["AuditSourceID"] = _text(source.source_id)
        identification = ET.SubElement(root, "AuditSourceIdentification", told)
        ET.SubElement(identification, "AuditSourceTypeCode", {"csd-code": _APPLICATION_SERVER})
        for subject in self.subjects:
            _subject(root, subject)
        return b'<?xml version="1.0" encoding="UTF-8"?>' + bytes(ET.tostring(root, encoding="utf-8"))


def _participant(root: ET.Element, participant: Participant) -> None:
    told = {"UserID": _text(participant.user_id)}
    if participant.ae_title:
        told["AlternativeUserID"] = f"AETITLES={_text(participant.ae_title)}"  # section A.5.2.2
    if participant.name:
        told["UserName"] = _text(participant.name)
    told["UserIsRequestor"] = str(participant.requestor).lower()
    if participant.access_point:
        told["NetworkAccessPointID"] = _text(participant.access_point)
        told["NetworkAccessPointTypeCode"] = "2" if _is_address(participant.access_point) else "1"
    element = ET.SubElement(root, "ActiveParticipant", told)
    if participant.role:
        _code(element, "RoleIDCode", participant.role)
    if participant.media:
        _code(ET.SubElement(element, "MediaIdentifier"), "MediaType", participant.media)


def _subject(root: ET.Element, subject: Subject) -> None:
    told = {"ParticipantObjectID": _text(subject.identifier), "ParticipantObjectTypeCode": subject.type_code}
    if subject.role:
        told["ParticipantObjectTypeCodeRole"] = subject.role
    element = ET.SubElement(root, "ParticipantObjectIdentification", told)
    _code(element, "ParticipantObjectIDTypeCode", subject.id_type)
    # The schema wants a name or a query; a name that is not to be told is empty.
    ET.SubElement(element, "ParticipantObjectName").text = _text(subject.name)
    for kind, value in subject.detail.items():
        encoded = base64.b64encode(_text(value).encode()).decode()
        ET.SubElement(element, "ParticipantObjectDetail", type=kind, value=encoded)
    if subject.instances:
        description = ET.SubElement(element, "ParticipantObjectDescription")
        for uid, count in subject.instances.items():
            ET.SubElement(description, "SOPClass", {**({"UID": uid} if uid else {}), "NumberOfInstances": str(count)})


def _code(parent: ET.Element, name: str, code: Code) -> None:
    told = {"csd-code": code.value, "codeSystemName": code.scheme, "originalText": code.meaning}
    ET.SubElement(parent, name, told)


def _text(value: str) -> str:
    """What XML can hold of it: a calling AE title may be any bytes."""
    return _NO_XML.sub("\ufffd", value)[:_LONGEST]


def _is_address(access_point: str) -> bool:
    try:
        ip_address(access_point)
    except ValueError:
        return False
    return True
