"""The supervision of workers."""

from __future__ import annotations

import sys
import threading

import pytest

from node import service


def test_a_worker_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(service, "_RESTART_DELAY_S", 0.01)
    worker, reached = service.Worker("worker-0", None), threading.Event()
    starts: list[float] = []
    real = service.subprocess.Popen

    def popen(command: list[str], **arguments: object) -> object:
        starts.append(0)
        if len(starts) == 1:
            raise OSError(12, "Cannot allocate memory")
        reached.set()
        return real([sys.executable, "-c", "input()"], **arguments)

    monkeypatch.setattr(service.subprocess, "Popen", popen)
    worker.start()
    assert reached.wait(5)
    worker.stop()
    assert len(starts) == 2
