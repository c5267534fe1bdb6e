"""PDUs and command sets: read or refused, whatever the bytes."""

from __future__ import annotations

import crafted_pdus as craft

from node.dicom import command, pdu
from node.dicom.pdu import InvalidPDU
from node.errors import InvalidObject

SEEDS = [
    craft.echo_request()[6:],
    craft.store_request("1.2.3", craft.ct("1.2", 3), 200)[6:],
    craft.store_command("1.2.3"),
    pdu.message(1, craft.store_command("1.2.3"), b"data")[6:],
]


def one(data: bytes) -> None:
    """Presentation data values, and the command set that is in each; then the bytes as a command set."""
    total = 0
    try:
        for _, control, fragment in pdu.values(memoryview(data)):
            total += len(fragment)
            if control & pdu.COMMAND:
                _command(fragment)
    except InvalidPDU:
        pass
    assert total <= len(data)
    _command(memoryview(data))


def _command(data: memoryview) -> None:
    try:
        read = command.decode(data)
    except InvalidObject:
        return
    assert sum(map(len, read.values.values())) <= len(data)
    told = (read.field, read.message_id, read.has_data_set, read.sop_class_uid, read.sop_instance_uid)
    again = command.decode(command.response(read, 0, {}, data_set=False))
    assert again.number(command.Element.STATUS) == 0, told
