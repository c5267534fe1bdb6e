"""The clock calls sweeps, whatever they do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from node.schedule import Clock


@pytest.fixture
def clock() -> Iterator[Clock]:
    opened = Clock()
    opened.start()
    yield opened
    opened.stop()


def test_a_sweep_runs_at_once_and_again(clock: Clock):
    turns = threading.Semaphore(0)
    clock.every(0.05, "count", turns.release)
    began = time.monotonic()
    for _ in range(3):
        assert turns.acquire(timeout=5)
    assert time.monotonic() - began < 2


def test_a_sweep_that_fails_is_logged_and_runs_again(clock: Clock, capsys: pytest.CaptureFixture[str]):
    turns = threading.Semaphore(0)

    def fail() -> None:
        turns.release()
        raise RuntimeError("the database is gone")

    clock.every(0.05, "complete", fail)
    for _ in range(3):
        assert turns.acquire(timeout=5)
    logged = capsys.readouterr().out
    assert "a sweep failed and runs again at its next turn" in logged
    assert "the database is gone" in logged


def test_a_slow_sweep_never_runs_twice_at_a_time(clock: Clock):
    running, most, turns = 0, 0, threading.Semaphore(0)

    def slow() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.12)
        running -= 1
        turns.release()

    clock.every(0.02, "slow", slow)
    for _ in range(3):
        assert turns.acquire(timeout=5)
    assert most == 1


def test_stopping_waits_for_the_sweep_that_runs():
    clock, began, ended = Clock(), threading.Event(), threading.Event()

    def slow() -> None:
        began.set()
        time.sleep(0.2)
        ended.set()

    clock.every(60, "slow", slow)
    clock.start()
    assert began.wait(5)
    clock.stop()
    assert ended.is_set()


def test_a_sweep_that_looks_at_the_clock_while_that_stops_keeps_nobody():
    clock, begun, stopping = Clock(), threading.Event(), threading.Event()
    looked: list[bool] = []

    def sweep() -> None:
        begun.set()
        assert stopping.wait(10)
        time.sleep(0.2)  # until the clock waits for this sweep
        clock.sooner("looks", 0.1)
        looked.append(True)

    clock.every(60, "looks", sweep)
    clock.start()
    assert begun.wait(10)
    stopper = threading.Thread(target=clock.stop, daemon=True)
    stopper.start()
    stopping.set()
    stopper.join(10)
    assert not stopper.is_alive()
    assert looked == [True]


def test_a_clock_that_is_set_back_stops_no_sweep(clock: Clock, monkeypatch: pytest.MonkeyPatch):
    turns = threading.Semaphore(0)
    clock.every(0.2, "count", turns.release)
    assert turns.acquire(timeout=5)
    (job,) = clock._scheduler.get_jobs()
    job.modify(next_run_time=datetime.now(UTC) + timedelta(hours=1))  # as it stands once the clock was set back
    assert not turns.acquire(timeout=0.5)
    real = time.time
    monkeypatch.setattr("node.jumps.time.time", lambda: real() - 3600)
    assert turns.acquire(timeout=5)


def test_a_jump_is_told_before_any_other_sweep_begins(monkeypatch: pytest.MonkeyPatch):
    told: list[str] = []
    clock, swept = Clock(lambda moved_s: told.append(f"{moved_s:.0f}")), threading.Semaphore(0)

    def sweep() -> None:
        told.append("sweep")
        swept.release()

    real = time.time
    monkeypatch.setattr("node.jumps.time.time", lambda: real() + 3600)
    clock.every(60, "retention", sweep)
    clock.start()
    assert swept.acquire(timeout=5)
    clock.stop()
    assert told == ["3600", "sweep"]


def test_a_sweep_can_be_called_before_its_turn(clock: Clock):
    turns = threading.Semaphore(0)
    clock.every(60, "complete", turns.release)
    assert turns.acquire(timeout=5)
    clock.sooner("complete", 90)  # its turn comes before that
    (job,) = clock._scheduler.get_jobs()
    assert job.next_run_time < datetime.now(UTC) + timedelta(seconds=61)
    clock.sooner("complete", 0.05)
    assert turns.acquire(timeout=5)
