"""What an A-ASSOCIATE-RQ asks for, and the A-ASSOCIATE-AC that answers it; pynetdicom knows how both are encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext, negotiate_as_acceptor

from node.dicom.pdu import HEADER_BYTES, InvalidPDU, PDUType
from node.dicom.pdu import encode as encode_pdu
from node.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"  # PS3.7 section A.2.1
_MAX_CONTEXTS = 128
_MAX_REQUEST_BYTES = 1 << 18  # 128 presentation contexts with every transfer syntax need four fifths of it
_FIXED_BYTES = 68  # up to the variable items, PS3.8 Table 9-11
_CALLED, _CALLING = slice(4, 20), slice(20, 36)


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context."""

    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Titles:
    """The fixed part of an A-ASSOCIATE-RQ: enough to know whether to read on."""

    calling_ae_title: str
    called_ae_title: str
    version_1: bool  # whether protocol version 1 is among those it speaks


@dataclass(frozen=True, slots=True)
class Requested:
    """An A-ASSOCIATE-RQ, read."""

    application_context: str
    max_pdu_bytes: int  # the longest P-DATA-TF it takes; 0 for any
    primitive: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class Agreed:
    """What comes of a request: the answer, and what may be sent after it."""

    answer: bytes
    contexts: Mapping[int, Context]
    refused: Sequence[UID]  # abstract syntaxes of the contexts that were not accepted


def titles(body: bytes) -> Titles:
    """Read the fixed part of what follows the header of an A-ASSOCIATE-RQ.

    Raises:
        InvalidPDU: it is too short, or longer than any that asks for what there is.
    """
    if not _FIXED_BYTES <= len(body) <= _MAX_REQUEST_BYTES:
        raise InvalidPDU(
            f"an A-ASSOCIATE-RQ of {len(body)} bytes came, {_FIXED_BYTES} to {_MAX_REQUEST_BYTES} are taken"
        )
    return Titles(_title(body[_CALLING]), _title(body[_CALLED]), bool(int.from_bytes(body[:2]) & 1))


def read(body: bytes) -> Requested:
    """Read what follows the header of an A-ASSOCIATE-RQ.

    Raises:
        InvalidPDU: it is none.
    """
    decoded = A_ASSOCIATE_RQ()
    try:
        decoded.decode(encode_pdu(PDUType.ASSOCIATE_RQ, body))
        asked = decoded.to_primitive()
        identifiers = [context.context_id for context in asked.presentation_context_definition_list]
        made = Requested(str(asked.application_context_name or ""), int(asked.maximum_length_received or 0), asked)
    except Exception as error:  # whatever a peer sends, and whatever pynetdicom makes of it
        raise InvalidPDU(f"an A-ASSOCIATE-RQ came that cannot be read: {error!r}"[:300]) from error
    if len(set(identifiers)) < len(identifiers) or len(identifiers) > _MAX_CONTEXTS:
        raise InvalidPDU("an A-ASSOCIATE-RQ came with two presentation contexts of one ID")
    return made


def _title(raw: bytes) -> str:
    """An AE title without padding; what is no printable character shows as "?"."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in raw.rstrip(b"\0")).strip()


def agree(asked: Requested, supported: Sequence[PresentationContext], max_pdu_bytes: int) -> Agreed:
    """Negotiate presentation contexts, and roles where they are asked for (PS3.7 section D.3.3.4)."""
    roles: dict[UID, tuple[bool | None, bool | None]] = {
        UID(item.sop_class_uid or ""): (bool(item.scu_role), bool(item.scp_role))
        for item in asked.primitive.user_information
        if isinstance(item, SCP_SCU_RoleSelectionNegotiation)
    }
    offered = asked.primitive.presentation_context_definition_list
    whole = [context for context in offered if context.abstract_syntax and context.transfer_syntax]
    results, agreed_roles = negotiate_as_acceptor(whole, list(supported), roles)
    results = [*results, *(_refused(context) for context in offered if context not in whole)]
    answer = A_ASSOCIATE()
    answer.application_context_name = UID(APPLICATION_CONTEXT)
    answer.calling_ae_title = asked.primitive.calling_ae_title
    answer.called_ae_title = asked.primitive.called_ae_title
    answer.result, answer.result_source = 0x00, 0x01
    answer.presentation_context_definition_results_list = results
    answer.user_information = [*_about_us(max_pdu_bytes), *agreed_roles]
    encoded = A_ASSOCIATE_AC()
    encoded.from_primitive(answer)
    return Agreed(
        answer=encoded.encode(),
        contexts={
            int(result.context_id or 0): Context(str(result.abstract_syntax), str(result.transfer_syntax[0]))
            for result in results
            if result.result == 0x00
        },
        refused=[UID(result.abstract_syntax or "") for result in results if result.result != 0x00],
    )


def _refused(asked: PresentationContext) -> PresentationContext:
    """The answer to a context without an abstract syntax, or without a transfer syntax, that is a UID."""
    made = PresentationContext()
    made.context_id = asked.context_id
    if asked.abstract_syntax:
        made.abstract_syntax = asked.abstract_syntax
    made.transfer_syntax = [ImplicitVRLittleEndian]  # one must stand there, and is not looked at
    made.result = 0x04 if asked.abstract_syntax else 0x03  # not supported: transfer syntaxes, abstract syntax
    return made


def _about_us(max_pdu_bytes: int) -> list[Any]:
    """User information, PS3.7 section D.3.3."""
    length = MaximumLengthNotification()
    length.maximum_length_received = max_pdu_bytes - HEADER_BYTES
    class_uid = ImplementationClassUIDNotification()
    class_uid.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return [length, class_uid, version]
