"""Every error has one fate."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from node.errors import OperatorError, PermanentError, TransientError
from node.workflow.errors import classify, first_to_mend


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TransientError("down"), "transient"),
        (OSError(28, "No space left on device"), "transient"),
        (ConnectionResetError(), "transient"),
        (TimeoutError(), "transient"),
        (sa.exc.OperationalError("select", {}, Exception("locked")), "transient"),
        (FileNotFoundError(), "operator"),
        (PermissionError(), "operator"),
        (OperatorError("refused"), "operator"),
        (PermanentError("never"), "permanent"),
        (KeyError("x"), "permanent"),
        (MemoryError(), "permanent"),
    ],
)
def test_what_an_error_asks_for(error: Exception, kind: str):
    assert classify(error) == kind


def test_as_long_as_a_destination_may_come_back_it_is_tried_again():
    down, wrong, never = TransientError("down"), OperatorError("wrong"), PermanentError("never")
    assert first_to_mend([never, wrong, down]) is down
    assert first_to_mend([never, wrong]) is wrong
