"""A whole node tells a real rsyslog what it does, from start to stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from crafted import Crafted
from running import RunningNode
from schema import parse
from syslogs import Rsyslog


@pytest.mark.slow
def test_a_node_tells_what_it_did(start_node: Callable[..., RunningNode], rsyslog: Rsyslog, crafted: Crafted):
    server: dict[str, Any] = {
        "name": "repository", "host": "localhost", "port": rsyslog.port, "tls": {"ca": str(rsyslog.authority.ca)},
    }  # fmt: skip
    node = start_node(audit={"servers": [server]}, process={"workers": 0})
    node.store(crafted.series(3))
    node.wait(lambda: sum("110104" in line for line in rsyslog.received), "the transfer is told")
    assert node.stop() == 0
    messages = [parse(line.partition("\ufeff")[2].encode()) for line in rsyslog.received]
    told = [
        (root.find("EventIdentification/EventID").get("csd-code"), root.find("EventIdentification/EventTypeCode"))
        for root in messages
    ]
    codes = [kind.get("csd-code") if kind is not None else event for event, kind in told]
    assert (codes[0], codes[-1]) == ("110120", "110121")
    assert "110104" in codes
    transfers = [root for root in messages if root.find("EventIdentification/EventID").get("csd-code") == "110104"]
    counted = sum(int(one.get("NumberOfInstances")) for root in transfers for one in root.iter("SOPClass"))
    assert counted == 3
    assert 'ParticipantObjectID="SECRET-1"' in "".join(rsyslog.received)
    assert "Jane" not in "".join(rsyslog.received)
