"""A worker keeps the memory of a series for the next one, gives it back when idle, and is not blamed for it."""

from __future__ import annotations

import subprocess
import sys

BEGIN = """
import time
import numpy as np
from node.workflow import memory
from node.workflow.watchdog import memory_limit, resident_mb

memory.keep()
before = resident_mb()

def series():
    volume = np.ones(300 << 20, np.uint8)
    del volume

def held():
    return resident_mb() - before
"""


def run(script: str) -> None:
    """In a process of its own, for what is kept is the process's."""
    subprocess.run([sys.executable, "-c", BEGIN + script], check=True, timeout=60)


def test_what_a_series_leaves_is_kept_and_used_again():
    run("""
series()
assert held() > 290, held()
series()
assert held() < 310, held()
""")


def test_a_worker_that_has_no_job_for_a_minute_gives_it_back():
    run("""
keeper = memory.Keeper()
keeper.look(busy=True)
series()
keeper.look(busy=False)
assert held() > 290, held()
memory.IDLE_S = 0.0
keeper.look(busy=False)
assert held() < 10, held()
""")


def test_a_step_is_not_ended_for_what_the_series_before_left():
    run("""
series()
assert held() > 290, held()
with memory_limit(before + 100, lambda used: print("ended at", used)):
    time.sleep(0.3)
assert held() < 10, held()
""")
