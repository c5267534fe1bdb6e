"""C-GET and C-MOVE as a user, PS3.4 section C.4.2 and C.4.3, in the Study Root model.

With C-GET the objects come on the same association, for which the node is their provider; a data set goes where it is
wanted as it comes. With C-MOVE the peer opens an association of its own to the node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from pydicom import Dataset, uid
from pynetdicom.dsutils import encode
from pynetdicom.presentation import PresentationContext, build_context

from node.dicom import command as commands
from node.dicom.associations import CT_STORAGE, TRANSFER_SYNTAXES
from node.dicom.command import Element, Field, Message
from node.dicom.scu import FIND_CONTEXTS, Requestor
from node.dicom.upper_layer import DataSet, Ended, Silent
from node.errors import OperatorError, TransientError

STUDY_ROOT_MOVE = uid.UID("1.2.840.10008.5.1.4.1.2.2.2")
STUDY_ROOT_GET = uid.UID("1.2.840.10008.5.1.4.1.2.2.3")
"""Study Root Query/Retrieve Information Model, PS3.4 section C.6.2."""
_LITTLE_ENDIAN = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian)
_PENDING, _SUB_OPERATIONS_FAILED, _CANCELLED = 0xFF00, 0xB000, 0xFE00
_MOVE_DESTINATION_UNKNOWN = 0xA801
_MEDIUM = 0

MOVE_CONTEXTS = [*FIND_CONTEXTS, build_context(STUDY_ROOT_MOVE, list(_LITTLE_ENDIAN))]


def get_contexts() -> list[PresentationContext]:
    """Query, C-GET, and one context for each SOP class and transfer syntax, so that objects can come as they are kept."""
    storage = [build_context(sop_class, syntax) for sop_class in CT_STORAGE for syntax in TRANSFER_SYNTAXES]
    return [*FIND_CONTEXTS, build_context(STUDY_ROOT_GET, list(_LITTLE_ENDIAN)), *storage]


@dataclass(frozen=True, slots=True)
class Coming:
    """An object that a peer is about to send."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


class Sink(Protocol):
    """Where one object goes."""

    def write(self, data: bytes) -> object:
        """Take the next piece of the data set."""
        ...

    def finish(self) -> int:
        """It is whole: the status to answer with."""
        ...

    def discard(self) -> None:
        """It will not be whole."""
        ...


class Retriever(Requestor):
    """An association on which objects are asked for. Every method may raise NoResponse."""

    def get(self, identifier: Dataset, receive: Callable[[Coming], Sink]) -> None:
        """C-GET, PS3.4 section C.4.3: every object that matches goes to a sink of its own.

        What the peer could not send is for the caller to notice.

        Raises:
            TransientError, OperatorError: the peer refuses, or cannot do it now.
            Whatever `receive` and its sinks raise; the association is aborted.
        """
        self._ask(Field.C_GET, STUDY_ROOT_GET, identifier, {})
        coming: list[Sink] = []

        def opened(message: Message) -> Callable[[bytes], object] | None:
            if message.number(Element.COMMAND_FIELD) != Field.C_STORE:
                return None
            coming.append(receive(self._coming(message)))
            return coming[-1].write

        try:
            while True:
                message = self._next(Field.C_GET, opened)
                if message.number(Element.COMMAND_FIELD) == Field.C_STORE:
                    self._answer(message, coming.pop().finish() if coming else 0xC000)
                elif not self._is_pending(Field.C_GET, message):
                    return
        except BaseException:
            self._association.abort()
            raise
        finally:
            for sink in coming:
                sink.discard()

    def move(self, identifier: Dataset, destination: str) -> Iterator[None]:
        """C-MOVE, PS3.4 section C.4.2, to the AE title `destination`; goes on with each pending response. Raises as `get`."""
        self._ask(Field.C_MOVE, STUDY_ROOT_MOVE, identifier, {Element.MOVE_DESTINATION: destination})
        while self._is_pending(Field.C_MOVE, self._next(Field.C_MOVE)):
            yield

    def _ask(self, command: Field, model: str, identifier: Dataset, more: dict[int, int | str]) -> None:
        context_id = self._context(model, *_LITTLE_ENDIAN)
        implicit = self._association.transfer_syntaxes[context_id].is_implicit_VR
        fields: dict[int, int | str] = {Element.AFFECTED_SOP_CLASS_UID: model, Element.PRIORITY: _MEDIUM, **more}
        self._request(command, context_id, fields, DataSet.of(encode(identifier, implicit, True) or b""))

    def _next(
        self, command: Field, opened: Callable[[Message], Callable[[bytes], object] | None] | None = None
    ) -> Message:
        try:
            return self._association.receive(sink=opened)
        except (Ended, Silent) as error:
            raise self._no_response(command, error) from error

    def _coming(self, message: Message) -> Coming:
        syntax = self._association.transfer_syntaxes.get(message.context_id, "")
        sop_class, instance = (
            message.text(name) for name in (Element.AFFECTED_SOP_CLASS_UID, Element.AFFECTED_SOP_INSTANCE_UID)
        )
        return Coming(sop_class, instance, str(syntax))

    def _answer(self, request: Message, status: int) -> None:
        """C-STORE-RSP, PS3.7 section 9.3.1.2."""
        response: dict[int, int | str] = {
            Element.AFFECTED_SOP_CLASS_UID: request.text(Element.AFFECTED_SOP_CLASS_UID),
            Element.COMMAND_FIELD: Field.C_STORE | commands.RESPONSE,
            Element.MESSAGE_ID_BEING_RESPONDED_TO: request.number(Element.MESSAGE_ID) or 0,
            Element.COMMAND_DATA_SET_TYPE: commands.NO_DATA_SET,
            Element.STATUS: status,
            Element.AFFECTED_SOP_INSTANCE_UID: request.text(Element.AFFECTED_SOP_INSTANCE_UID),
        }
        try:
            self._association.send(request.context_id, commands.encode(response))
        except (Ended, Silent) as error:
            raise self._no_response(Field.C_GET, error) from error

    def _is_pending(self, command: Field, message: Message) -> bool:
        found = message.number(Element.COMMAND_FIELD), message.number(Element.MESSAGE_ID_BEING_RESPONDED_TO)
        status = message.number(Element.STATUS)
        if found != (command | commands.RESPONSE, self._message_id) or status is None:
            self._association.abort()
            raise TransientError(f"{self.peer} answered a {command} with another message")
        if status == _PENDING:
            return True
        if status not in (commands.SUCCESS, _SUB_OPERATIONS_FAILED):
            raise self._refused(command, status, message.text(Element.ERROR_COMMENT))
        return False

    def _refused(self, command: Field, status: int, comment: str) -> TransientError | OperatorError:
        said = f": {comment}" if comment else ""
        text = f"{self.peer} answers {command} with status 0x{status:04X}{said}"
        if status == _MOVE_DESTINATION_UNKNOWN:
            return OperatorError(
                f"{text}: it does not know where our AE title is; add the node to its list of modalities"
            )
        return TransientError(text) if status == _CANCELLED or status >> 8 == 0xA7 else OperatorError(text)
