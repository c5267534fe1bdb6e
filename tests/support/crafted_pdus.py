"""PDUs as bytes, right and wrong, for tests that speak to a port themselves."""

from __future__ import annotations

import struct

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import build_context

from node.dicom import command, pdu
from node.dicom.command import Element, Field

CT, VERIFICATION, EXPLICIT, IMPLICIT = (
    "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.1", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2",
)  # fmt: skip
CT_CONTEXT, ECHO_CONTEXT = 1, 3


def associate_request(calling: str = "TESTER", called: str = "HARMONODE") -> bytes:
    """An A-ASSOCIATE-RQ for CT in context 1 and Verification in context 3."""
    asked = A_ASSOCIATE()
    asked.application_context_name = UID("1.2.840.10008.3.1.1.1")
    asked.calling_ae_title, asked.called_ae_title = calling, called
    contexts = [build_context(CT, EXPLICIT), build_context(VERIFICATION, IMPLICIT)]
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    asked.presentation_context_definition_list = contexts
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 16382
    implementation.implementation_class_uid = UID("1.2.3")
    asked.user_information = [length, implementation]
    encoded = A_ASSOCIATE_RQ()
    encoded.from_primitive(asked)
    return bytes(encoded.encode())


def echo_request(message_id: int = 1) -> bytes:
    """A C-ECHO-RQ in context 3."""
    made = command.encode(
        {
            Element.AFFECTED_SOP_CLASS_UID: VERIFICATION,
            Element.COMMAND_FIELD: Field.C_ECHO,
            Element.MESSAGE_ID: message_id,
            Element.COMMAND_DATA_SET_TYPE: command.NO_DATA_SET,
        }
    )
    return pdu.message(ECHO_CONTEXT, made)


def store_command(instance: str, **changes: str | int) -> bytes:
    """The command set of a C-STORE-RQ; keywords are names of `Element`."""
    values: dict[int, str | int] = {
        Element.AFFECTED_SOP_CLASS_UID: CT,
        Element.COMMAND_FIELD: Field.C_STORE,
        Element.MESSAGE_ID: 1,
        0x0700: 0,
        Element.COMMAND_DATA_SET_TYPE: 1,
        Element.AFFECTED_SOP_INSTANCE_UID: instance,
    }
    return command.encode({**values, **{Element[name]: value for name, value in changes.items()}})


def store_request(instance: str, data_set: bytes, max_length: int = 16382) -> bytes:
    """A C-STORE-RQ in context 1, its data set in Explicit VR Little Endian."""
    return pdu.message(CT_CONTEXT, store_command(instance), data_set, max_length=max_length)


def ct(series: str, number: int, pixels: bytes = bytes(512), **uids: str) -> bytes:
    """A small data set with the UIDs that an object must have."""
    instance = uids.get("instance", f"{series}.{number}")
    values = ((0x00080016, CT), (0x00080018, instance), (0x0020000D, "1.2.826.0.1"), (0x0020000E, series))
    made = b""
    for tag, uid in values:
        value = uid.encode() + b"\0" * (len(uid) % 2)
        made += struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, b"UI", len(value)) + value
    return made + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, len(pixels)) + pixels
