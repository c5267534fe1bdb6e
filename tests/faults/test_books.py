"""The books of the soak find what is lost, invented, changed, or delivered otherwise than once."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[1] / "soak" / "books.py"


@pytest.fixture(scope="module")
def books():
    spec = importlib.util.spec_from_file_location("soak_books", SOAK)
    module = importlib.util.module_from_spec(spec)
    sys.modules["soak_books"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def balanced(books):
    """A ledger of two series, and what is there when all went well."""
    ledger = books.Ledger(conflicts={"1.1"})
    ledger.series = {
        "1": books.Sent("lung", "done", {"1.1": "a", "1.2": "b"}),
        "2": books.Sent("soft", "passed", {"2.1": "c"}),
    }
    seen = books.Observed(
        series={
            "1": books.Held("done", "", {"1.1": "a", "1.2": "b"}, {"9.1", "9.2"}, {"9"}, 2),
            "2": books.Held("passed", "", {"2.1": "c"}),
        },
        spool=["x", "y", "z"],
        indexed=["z", "y", "x"],
        pacs=[("9.1", "9"), ("9.2", "9")],
        conflicts=["1.1"],
        witnessed=3,
        audit_flaws=[],
    )
    return ledger, seen


def test_they_balance(books, balanced):
    assert list(books.differences(*balanced)) == []
    assert list(books.table(*balanced)) == [("lung", 1, 2, "1 done"), ("soft", 1, 1, "1 passed")]


WRONG = {
    "acknowledged and lost: 1.2": lambda _, seen: seen.series["1"].instances.pop("1.2"),
    "never acknowledged": lambda _, seen: seen.series["2"].instances.update({"2.2": "d"}),
    "other bytes than were sent: 2.1": lambda _, seen: seen.series["2"].instances.update({"2.1": "d"}),
    "the node knows no such series": lambda _, seen: seen.series.pop("2"),
    "is failed, not done: why": lambda _, seen: vars(seen.series["1"]).update(state="failed", reason="why"),
    "1 derived instances of 2": lambda _, seen: seen.series["1"].derived.discard("9.1"),
    "2 derived series": lambda _, seen: seen.series["1"].derived_series.add("8"),
    "confirmed 1 of 2": lambda _, seen: vars(seen.series["1"]).update(confirmed=1),
    "not exactly once at the PACS: 9.2": lambda _, seen: seen.pacs.pop(),
    "not exactly once at the PACS: 9.1": lambda _, seen: seen.pacs.append(("9.1", "9")),
    "at the PACS in other series: 8": lambda _, seen: seen.pacs.__setitem__(0, ("9.1", "8")),
    "1 objects at the PACS that no finished": lambda _, seen: seen.pacs.append(("9.3", "9")),
    "the spool holds 2 files": lambda _, seen: seen.spool.pop(),
    "witnessed 2 arrivals of 3": lambda _, seen: vars(seen).update(witnessed=2),
    "1 instances were refused for other bytes, 2": lambda _, seen: seen.conflicts.append("1.1"),
    "audit: record 7": lambda _, seen: seen.audit_flaws.append("record 7 is missing"),
}


@pytest.mark.parametrize("told", WRONG)
def test_what_is_wrong_is_told(books, balanced, told):
    WRONG[told](*balanced)
    found = list(books.differences(*balanced))
    assert any(told in line for line in found), found


def test_a_series_that_nobody_sent(books, balanced):
    ledger, seen = balanced
    seen.series["3"] = books.Held("passed", "", {})
    assert list(books.differences(ledger, seen)) == ["series that nobody sent: 3"]
