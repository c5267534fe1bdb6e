"""The books of a soak: what was sent against what the node, its spool and the PACS say, line by line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Sent:
    """One series as its sender knows it."""

    kind: str
    expected: str  # the state it must come to
    instances: dict[str, str] = field(default_factory=dict)  # acknowledged: SOP Instance UID -> SHA-256 of the data set


@dataclass
class Ledger:
    """What the senders did, and what the node answered."""

    series: dict[str, Sent] = field(default_factory=dict)  # by Series Instance UID
    conflicts: set[str] = field(default_factory=set)  # SOP Instance UIDs that came with other bytes, and were refused
    not_ct: int = 0  # objects of other classes, none of which was taken
    duplicates: int = 0  # instances sent once more
    sends: Counter[str] = field(default_factory=Counter)  # by sender
    kills: Counter[str] = field(default_factory=Counter)  # by victim
    retried: int = 0  # series that a person had to take up again


@dataclass
class Held:
    """One series as the node has it."""

    state: str
    reason: str
    instances: dict[str, str]  # SOP Instance UID -> SHA-256
    derived: set[str] = field(default_factory=set)  # SOP Instance UIDs of what was made
    derived_series: set[str] = field(default_factory=set)
    confirmed: int | None = None  # instances of the derived series that the PACS said it holds


@dataclass
class Observed:
    """What is there when all has come to rest."""

    series: dict[str, Held]
    spool: list[str]  # paths that the spool holds
    indexed: list[str]  # paths that the database knows
    pacs: list[tuple[str, str]]  # (SOP Instance UID, Series Instance UID), one for each object
    conflicts: list[str]  # SOP Instance UIDs kept aside for other bytes
    witnessed: int  # instances of which the audit trail says that they arrived
    audit_flaws: list[str]


def differences(ledger: Ledger, seen: Observed) -> Iterator[str]:
    """Every line where the books do not balance; none where they do."""
    yield from _received(ledger, seen)
    yield from _delivered(seen)
    if Counter(seen.conflicts) != Counter(ledger.conflicts):
        yield f"{len(ledger.conflicts)} instances were refused for other bytes, {len(seen.conflicts)} are kept aside"
    yield from (f"audit: {flaw}" for flaw in seen.audit_flaws)


def _received(ledger: Ledger, seen: Observed) -> Iterator[str]:
    for uid, sent in ledger.series.items():
        held = seen.series.get(uid)
        if held is None:
            yield f"{sent.kind} {uid}: {len(sent.instances)} instances were acknowledged, the node knows no such series"
            continue
        if lost := sent.instances.keys() - held.instances.keys():
            yield f"{sent.kind} {uid}: acknowledged and lost: {', '.join(sorted(lost))}"
        if invented := held.instances.keys() - sent.instances.keys():
            yield f"{sent.kind} {uid}: never acknowledged in the end, and there: {', '.join(sorted(invented))}"
        if changed := [sop for sop, sha in sent.instances.items() if held.instances.get(sop, sha) != sha]:
            yield f"{sent.kind} {uid}: other bytes than were sent: {', '.join(changed)}"
        if held.state != sent.expected:
            yield f"{sent.kind} {uid} is {held.state}, not {sent.expected}: {held.reason}"
    if strangers := seen.series.keys() - ledger.series.keys():
        yield f"series that nobody sent: {', '.join(sorted(strangers))}"
    if Counter(seen.spool) != Counter(seen.indexed):
        yield f"the spool holds {len(seen.spool)} files, the database knows {len(seen.indexed)}, and not the same"
    total = sum(len(held.instances) for held in seen.series.values())
    if seen.witnessed != total:
        yield f"the audit trail witnessed {seen.witnessed} arrivals of {total} instances"


def _delivered(seen: Observed) -> Iterator[str]:
    at_pacs = Counter(sop for sop, _ in seen.pacs)
    made: set[str] = set()
    for uid, held in seen.series.items():
        if held.state != "done":
            continue
        made |= held.derived
        if len(held.derived) != len(held.instances):
            yield f"{uid}: {len(held.derived)} derived instances of {len(held.instances)} sources"
        if len(held.derived_series) != 1:
            yield f"{uid}: {len(held.derived_series)} derived series"
        if held.confirmed != len(held.instances):
            yield f"{uid}: the PACS confirmed {held.confirmed} of {len(held.instances)} instances"
        if missing := [sop for sop in held.derived if at_pacs[sop] != 1]:
            yield f"{uid}: not exactly once at the PACS: {', '.join(missing)}"
        if wrong := {series for sop, series in seen.pacs if sop in held.derived} - held.derived_series:
            yield f"{uid}: at the PACS in other series: {', '.join(wrong)}"
    if extra := at_pacs.keys() - made:
        yield f"{len(extra)} objects at the PACS that no finished series made, the first is {min(extra)}"


def table(ledger: Ledger, seen: Observed) -> Iterator[tuple[str, int, int, str]]:
    """For people: kind, series, instances received, what became of them."""
    kinds: dict[str, list[str]] = {}
    for uid, sent in ledger.series.items():
        kinds.setdefault(sent.kind, []).append(uid)
    for kind, uids in sorted(kinds.items()):
        states: Counter[str] = Counter()
        count = 0
        for uid in uids:
            held = seen.series.get(uid)
            states[held.state if held else "unknown"] += 1
            count += len(held.instances) if held else 0
        yield kind, len(uids), count, ", ".join(f"{number} {state}" for state, number in states.most_common())
