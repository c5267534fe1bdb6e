"""Lets the data set of a C-STORE request go where the node wants it, fragment by fragment, instead of into memory.

pynetdicom keeps a whole data set in memory, or (STORE_RECV_CHUNKED_DATASET) in a file of the system's temporary folder,
which stays behind when the association breaks and kills the association's thread when the disk is full.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Protocol

import structlog
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE, DimseServiceType
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket

_Message = tuple[None, None] | tuple[int, DimseServiceType]

_log = structlog.get_logger(__name__)

_LAST = 0x02  # message control header, PS3.8 annex E.2


class Sink(Protocol):
    """Where one data set goes. No method raises: they are called from the thread that reads the network."""

    def write(self, data: bytes) -> object:
        """Take the next piece."""
        ...

    def discard(self) -> None:
        """The association ended before the data set was whole, or before it was asked for."""
        ...

    def refuse(self, reason: str) -> None:
        """The data set is whole, and its request is not one that can be answered."""
        ...


OpenSink = Callable[[Association, str, str, str], Sink]
"""(association, Affected SOP Class UID, Affected SOP Instance UID, Transfer Syntax UID); the UIDs "" where missing."""


class DataSetStream(io.BytesIO):
    """Stands where pynetdicom keeps the data set: `event.request.DataSet`."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self.sink = sink

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.sink.write(data)
        return len(data)


def read_in_large_pieces(transport: AssociationSocket, max_pdu_bytes: int) -> None:
    """Replace the transport's `recv`, which reads 4096 bytes at a time and as many as a peer cares to announce."""

    def recv(nr_bytes: int) -> bytearray:
        if nr_bytes > max_pdu_bytes:
            raise OSError(f"a PDU of {nr_bytes} bytes is announced, at most {max_pdu_bytes} are taken")
        connection = transport.socket
        data, have = bytearray(nr_bytes), 0
        with memoryview(data) as view:
            while connection is not None and have < nr_bytes and (count := connection.recv_into(view[have:])):
                have += count
        return data[:have] if have < nr_bytes else data

    transport.recv = recv  # type: ignore[method-assign]


class StreamingDIMSE(DIMSEServiceProvider):
    """pynetdicom's DIMSE provider for one association, with a sink for the data set of each C-STORE request."""

    def __init__(self, assoc: Association, open_sink: OpenSink) -> None:
        super().__init__(assoc)
        self._open_sink = open_sink
        self._open: set[DataSetStream] = set()  # not yet taken by a handler
        self._lock = threading.Lock()
        self._connection = assoc.dul.socket.socket if assoc.dul.socket is not None else None

    def take(self, request: C_STORE) -> Sink | None:
        """The sink of a request, now the caller's to end; None where the request came without a data set."""
        stream = request.DataSet
        if not isinstance(stream, DataSetStream):
            return None
        with self._lock:
            if stream not in self._open:
                return None
            self._open.discard(stream)
        return stream.sink

    def close(self) -> None:
        """The connection is gone: what nobody has taken, nobody will."""
        with self._lock:
            left, self._open = self._open, set()
        for stream in left:
            stream.sink.discard()
        if self._connection is not None:
            self._connection.close()  # pynetdicom forgets it where the peer was faster

    def receive_primitive(self, primitive: P_DATA) -> None:
        # One value at a time: a request and the start of its data set may share a PDU.
        for value in primitive.presentation_data_value_list:
            try:
                part = P_DATA()
                part.presentation_data_value_list.append(value)
                super().receive_primitive(part)
                if self.message is not None:
                    self._divert(self.message, last=bool(value[1][0] & _LAST))
            except Exception as error:  # noqa: BLE001 - a peer may send anything
                _log.warning("a message cannot be understood; the association is aborted", error=repr(error))
                self.dul.event_queue.put("Evt19")  # PS3.8 section 9.2: invalid PDU
                return

    def get_msg(self, block: bool = False) -> _Message:
        """As the base class, but a C-STORE request that lacks a mandatory parameter ends the association.

        The base class ignores it, and the peer waits for an answer until it gives up.
        """
        found = super().get_msg(block)
        message = found[1]
        if isinstance(message, C_STORE) and message.MessageIDBeingRespondedTo is None and not message.is_valid_request:
            if sink := self.take(message):
                sink.refuse("the C-STORE request lacks a mandatory parameter (PS3.7 section 9.3.1.1)")
            self.assoc.abort()
            return None, None
        return found

    def _divert(self, message: DIMSEMessage, *, last: bool) -> None:
        """Called after each fragment of a message that goes on."""
        stream = message.data_set
        if isinstance(stream, DataSetStream):
            if last:  # yet not in the queue: its command could not be turned into a request
                with self._lock:
                    self._open.discard(stream)
                stream.sink.refuse("the C-STORE request has an invalid parameter (PS3.7 section 9.3.1.1)")
        elif isinstance(message, C_STORE_RQ):
            command = message.command_set
            syntaxes = {context.context_id: context.transfer_syntax[0] for context in self.assoc.accepted_contexts}
            sink = self._open_sink(
                self.assoc,
                str(command.get("AffectedSOPClassUID") or ""),
                str(command.get("AffectedSOPInstanceUID") or ""),
                str(syntaxes[message.context_id]),
            )
            stream = DataSetStream(sink)
            with self._lock:
                self._open.add(stream)
            message.data_set = stream
