"""The trail reaches its servers: in order, at least once, whatever befalls them, and without auditing itself for ever."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from syslogs import OddServer, Rsyslog

from node.atna import shipper as module
from node.atna.shipper import Shipper, standing
from node.audit import Event, verify
from node.config import AuditServer, Config
from node.store.session import Database
from node.store.tables import AuditRecord

Happen = Callable[..., int]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.05)
    monkeypatch.setattr(module, "_FIRST_DELAY_S", 0.05)
    monkeypatch.setattr(module, "_MAX_DELAY_S", 0.2)


@contextmanager
def shipping(config: Config, database: Database, server: AuditServer) -> Iterator[Shipper]:
    running = Shipper(config, database, server)
    running.start()
    try:
        yield running
    finally:
        running.stop()


def until(condition: Callable[[], object], what: str, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def descriptions(lines: list[str]) -> list[str]:
    """Which workers the messages say started, in their order."""
    return [found.group(1) for line in lines if (found := re.search(r'UserID="(w\d+)"', line))]


def outages(database: Database) -> list[bool]:
    with database.read() as session:
        query = sa.select(AuditRecord).where(AuditRecord.event == str(Event.REPOSITORY)).order_by(AuditRecord.seq)
        return [row.detail["up"] for row in session.scalars(query)]


def waiting(database: Database, config: Config, server: AuditServer) -> int:
    told = config.model_copy(update={"audit": config.audit.model_copy(update={"servers": (server,)})})
    with database.read() as session:
        return standing(session, told)[0].waiting


def in_order(seen: list[str], count: int) -> bool:
    """Every one is there, and first comes first; again is allowed."""
    first = list(dict.fromkeys(seen))
    return first == [f"w{number}" for number in range(count)]


def test_what_happened_while_the_server_was_down_comes_in_order(
    rsyslog: Rsyslog, config: Config, database: Database, happen: Happen
):
    server = rsyslog.server()
    rsyslog.stop()
    happen(Event.START, actor="node")
    with shipping(config, database, server):
        for number in range(150):
            happen(Event.START, actor=f"w{number}")
        until(lambda: outages(database) == [False], "the outage is recorded")
        time.sleep(0.5)  # some more tries
        assert outages(database) == [False]
        assert waiting(database, config, server) == 151
        rsyslog.start()
        until(lambda: outages(database) == [False, True], "the end of the outage is recorded")
    assert descriptions(rsyslog.received) == [f"w{number}" for number in range(150)]
    assert waiting(database, config, server) == 0
    with database.read() as session:
        assert verify(session) == (153, [])


def test_a_server_killed_in_the_middle_loses_nothing(
    rsyslog: Rsyslog, config: Config, database: Database, happen: Happen
):
    happen(Event.START, actor="node")
    with shipping(config, database, rsyslog.server()):
        for number in range(120):
            happen(Event.START, actor=f"w{number}")
            if number in {30, 70}:
                until(lambda: descriptions(rsyslog.received), "messages arrive")
                rsyslog.kill()
            if number in {50, 90}:
                rsyslog.start()
        until(lambda: f"w{119}" in descriptions(rsyslog.received), "the last one arrives")
    assert in_order(descriptions(rsyslog.received), 120)
    told = outages(database)
    assert len(told) <= 4  # twice gone and back, where the gap was noticed at all
    assert told == [False, True] * (len(told) // 2)


def test_a_node_that_starts_again_goes_on_where_it_stopped(
    rsyslog: Rsyslog, config: Config, database: Database, happen: Happen
):
    server = rsyslog.server()
    for run in range(3):
        happen(Event.START, actor="node")
        with shipping(config, database, server):
            happen(Event.START, actor=f"w{run}")
        happen(Event.STOP, actor="worker-0")  # after the shipper's end: the next run brings it
    assert descriptions(rsyslog.received) == ["w0", "w1", "w2"]
    assert sum("Application Stop" in line for line in rsyslog.received) == 2


def test_a_new_server_begins_with_the_start_that_first_knew_it(
    rsyslog: Rsyslog, config: Config, database: Database, happen: Happen
):
    happen(Event.START, actor="node")
    happen(Event.START, actor="w7")
    happen(Event.START, actor="node")
    happen(Event.START, actor="w0")
    with shipping(config, database, rsyslog.server()):
        until(lambda: "w0" in descriptions(rsyslog.received), "it arrives")
    assert descriptions(rsyslog.received) == ["w0"]
    assert len(rsyslog.received) == 2


def test_a_server_that_resets_every_session_still_gets_on(
    odd_server: OddServer, config: Config, database: Database, happen: Happen
):
    happen(Event.START, actor="node")
    for number in range(12):
        happen(Event.START, actor=f"w{number}")
    odd_server.reset_after = 3
    with shipping(config, database, odd_server.server()):
        until(lambda: waiting(database, config, odd_server.server()) == 0, "all is delivered")
    assert in_order(descriptions([message.decode() for message in odd_server.received]), 12)
    assert outages(database)[0] is False
    assert len(outages(database)) <= 2


def test_a_slow_server_gets_all_and_holds_up_nobody(
    odd_server: OddServer, rsyslog: Rsyslog, config: Config, database: Database, happen: Happen
):
    happen(Event.START, actor="node")
    odd_server.pause_s = 0.1
    for number in range(10):
        happen(Event.START, actor=f"w{number}")
    slow = odd_server.server(timeout_s=0.8)
    with shipping(config, database, slow), shipping(config, database, rsyslog.server()):
        until(lambda: len(rsyslog.received) >= 11, "the quick one has all")
        until(lambda: waiting(database, config, slow) == 0, "the slow one too")
    assert in_order(descriptions([message.decode() for message in odd_server.received]), 10)


def test_a_record_that_makes_no_message_holds_up_nothing(
    rsyslog: Rsyslog, config: Config, database: Database, happen: Happen
):
    happen(Event.START, actor="node")
    happen(Event.CONFIGURATION, detail={"changed": 7})  # no map: what nobody foresaw
    happen(Event.START, actor="w0")
    with shipping(config, database, rsyslog.server()):
        until(lambda: descriptions(rsyslog.received) == ["w0"], "the next one arrives")
