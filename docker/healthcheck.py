"""Asks the node in this container by C-ECHO whether it takes associations; status 1, and why, where it does not.

`harmonode doctor` asks the destinations too, and a PACS that is down is no fault of this container.
"""

from __future__ import annotations

import sys

from node.config import DimseDestination, load
from node.errors import HarmonodeError
from node.send import echo

try:
    receive = load().receive
    echo(
        DimseDestination(
            name="this node",
            ae_title=receive.ae_title,
            calling_ae_title=receive.ae_title,
            host="127.0.0.1",
            port=receive.port,
            timeout_s=10,
        )
    )
except HarmonodeError as error:
    sys.exit(str(error))
