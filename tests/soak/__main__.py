"""`make soak`: mixed traffic and random kills for a while, and books that must balance in the end.

A real node with a worker and a real Orthanc run on free ports. Two threads send; a third kills the node, the worker,
both, or the PACS, and starts them again. What is chosen follows from the seed; what it meets does not.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa
from books import Held, Ledger, Observed, differences, table
from peers import ORTHANC, Orthanc, free_port
from rich.console import Console
from rich.table import Table
from running import AT_REST, SLOW_PLUGIN, RunningNode, install_plugin
from traffic import STORESCU, Traffic

from node import audit
from node.journey import State
from node.rules.load import parse_rule, save, set_enabled
from node.store.spool import Spool
from node.store.tables import AuditRecord, Delivery, DerivedInstance, Instance, Job, Quarantined, Series

BACKLOG = 12  # series on their way, beyond which the senders wait
out = Console(width=None if sys.stdout.isatty() else 140)


class Soak:
    """A node, a PACS, traffic and a killer."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.seed, self.ledger = seed, Ledger()
        self.pacs = Orthanc(folder / "pacs", SyncStorageArea=True)
        install_plugin(folder / "site", "slow", "Slow", SLOW_PLUGIN)
        there = {"ae_title": self.pacs.aet, "host": "127.0.0.1", "port": self.pacs.dicom_port, "timeout_s": 10}
        self.node = RunningNode(
            folder / "node",
            free_port(),
            {**os.environ, "PYTHONPATH": str(folder / "site")},
            {
                "complete": {"quiet_s": 3},
                "process": {"retry": {"attempts": 20, "first_delay_s": 1, "max_delay_s": 5}},
                "destinations": [{"kind": "dimse", "name": "pacs", **there}],
            },
        )
        self.node.start()
        self._rules()
        self.traffic = Traffic(folder / "sent", self.node.config.receive.port, self.ledger, seed)
        self._over = threading.Event()
        self._faults: list[BaseException] = []

    def run(self, seconds: float) -> None:
        """Traffic and kills for so long, then peace until all is at rest."""
        threads = [
            threading.Thread(target=self._guarded, args=(self._send, number), daemon=True) for number in range(2)
        ]
        killer = threading.Thread(target=self._guarded, args=(self._kill, 99), daemon=True)
        for thread in (*threads, killer):
            thread.start()
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._faults:
            time.sleep(10)
            self._say(until)
        self._over.set()
        if self._faults:
            raise self._faults[0]
        for thread in (killer, *threads):
            thread.join()
        self._settle()

    def close(self) -> None:
        self.node.stop()
        if self.node.database:
            self.node.database.close()
        self.pacs.kill()

    def _rules(self) -> None:
        database = self.node.database
        assert database
        with database.write() as session:
            set_enabled(session, "lung", enabled=False, author="soak", why="the soak brings its own")
            for kernel, plugin, parameters in (("B60f", "slow", {"seconds_a_slice": 0.05}), ("B70f", "identity", {})):
                match = {"tag": "ConvolutionKernel", "equals": kernel}
                rule = {"name": kernel, "match": match, "plugin": plugin, "parameters": parameters}
                save(session, parse_rule(rule), author="soak", why="for the soak")

    def _guarded(self, work: object, number: int) -> None:
        try:
            work(random.Random(f"{self.seed}-{number}"))  # type: ignore[operator]
        except BaseException as error:  # noqa: BLE001
            self._faults.append(error)

    def _send(self, rng: random.Random) -> None:
        while not self._over.is_set():
            self.traffic.one(rng)
            self.traffic.send_late(self._done())
            while not self._over.wait(rng.random() * 2) and self._on_their_way() > BACKLOG:
                pass

    def _kill(self, rng: random.Random) -> None:
        while not self._over.wait(rng.uniform(4, 15)):
            victim = rng.choice(["node", "worker", "both", "PACS", "node, stopped"])
            self.ledger.kills[victim] += 1
            if victim == "PACS":
                self.pacs.kill()
                self._over.wait(rng.uniform(1, 10))
                self.pacs.start()
            elif victim == "node, stopped":
                self.node.stop()
            elif victim != "worker":
                self.node.kill()
            if victim in {"worker", "both"}:
                for pid in workers_of(self.node):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            if victim.startswith(("node", "both")):
                self._over.wait(rng.uniform(0, 3))
                self.node.start()

    def _series(self) -> list[Series]:
        return self.node.series()

    def _done(self) -> set[str]:
        return {row.series_instance_uid for row in self._series() if row.state == State.DONE}

    def _on_their_way(self) -> int:
        return sum(State(row.state) not in AT_REST for row in self._series())

    def _say(self, until: float) -> None:
        states = {}
        for row in self._series():
            states[row.state] = states.get(row.state, 0) + 1
        left = max(0, until - time.monotonic())
        out.print(f"{left:5.0f} s left; kills {sum(self.ledger.kills.values())}; {states}", highlight=False)

    def _settle(self) -> None:
        """Wait for rest; send what is late, and take up what waits for a person."""
        deadline = time.monotonic() + 900
        while time.monotonic() < deadline:
            late = self.traffic.send_late(self._done())
            stuck = [row for row in self._series() if row.state in {State.WAITING, State.FAILED}]
            for row in stuck:
                self.ledger.retried += 1
                out.print(f"taken up by hand: {row.series_instance_uid} {row.state}: {row.reason}", highlight=False)
                self.node.cli("series", "retry", row.series_instance_uid)
            time.sleep(6)  # longer than the quiet time, so that what was sent last is under way
            if not stuck and not late and not self._on_their_way():
                return
        out.print("not everything came to rest", style="red")


def workers_of(node: RunningNode) -> list[int]:
    """Processes of the workers of this node."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                command = (entry / "cmdline").read_bytes().split(b"\0")
                if str(node.file).encode() in command and b"worker" in command:
                    found.append(int(entry.name))
    return found


def observe(node: RunningNode, pacs: Orthanc) -> Observed:
    """What the node, its spool and the PACS say."""
    assert node.database
    held: dict[str, Held] = {}
    with node.database.read() as session:
        for series in session.scalars(sa.select(Series)):
            instances = session.scalars(sa.select(Instance).where(Instance.series_id == series.id))
            held[series.series_instance_uid] = one = Held(
                series.state, series.reason or "", {row.sop_instance_uid: row.sha256 for row in instances}
            )
            for job in session.scalars(sa.select(Job).where(Job.series_id == series.id).order_by(Job.round)):
                made = sa.select(DerivedInstance.sop_instance_uid).where(DerivedInstance.job_id == job.id)
                one.derived |= set(session.scalars(made))
                one.derived_series |= {job.derived_series_uid} - {None}
                one.confirmed = session.scalar(sa.select(Delivery.confirmed_count).where(Delivery.job_id == job.id))
        indexed = list(session.scalars(sa.select(Instance.path)))
        arrivals = session.scalars(sa.select(AuditRecord.detail).where(AuditRecord.event == str(audit.Event.ARRIVAL)))
        witnessed = sum(len(detail.get("instances", ())) for detail in arrivals)
        conflicts = sa.select(Quarantined.sop_instance_uid).where(Quarantined.reason.contains("other bytes"))
        kept = list(session.scalars(conflicts))
        _, flaws = audit.verify(session)
    objects = pacs.rest("/tools/find", method="POST", json={"Level": "Instance", "Query": {}, "Expand": True})
    series_uids = {
        series["ID"]: series["MainDicomTags"]["SeriesInstanceUID"]
        for series in pacs.rest("/tools/find", method="POST", json={"Level": "Series", "Query": {}, "Expand": True})
    }
    at_pacs = [(one["MainDicomTags"]["SOPInstanceUID"], series_uids[one["ParentSeries"]]) for one in objects]
    spool = list(Spool(node.config.spool_dir, 0).walk())
    return Observed(held, spool, indexed, at_pacs, kept, witnessed, [flaw.what for flaw in flaws])


def main() -> int:
    """Returns the exit status: 0 where the books balance."""
    arguments = argparse.ArgumentParser(description="Mixed traffic and random kills; the books must balance.")
    arguments.add_argument("--minutes", type=float, default=30)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--keep", type=Path, help="a folder for everything, which is kept")
    given = arguments.parse_args()
    if missing := [path for path in (ORTHANC, Path(STORESCU)) if not path.exists()]:
        out.print(f"{', '.join(map(str, missing))} missing: `make peers` installs what a soak needs")
        return 2
    with tempfile.TemporaryDirectory(prefix="harmonode-soak-") as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        soak = Soak(folder, given.seed)
        try:
            soak.run(60 * given.minutes)
            seen = observe(soak.node, soak.pacs)
        finally:
            soak.close()
        return told(soak.ledger, seen, given.seed)


def told(ledger: Ledger, seen: Observed, seed: int) -> int:
    """Print the books; returns 0 where they balance."""
    shown = Table("kind", "series", "received", "became", title=f"Soak, seed {seed}")
    for kind, series, instances, states in table(ledger, seen):
        shown.add_row(kind, str(series), str(instances), states)
    out.print(shown)
    kills = ", ".join(f"{victim} {count}" for victim, count in sorted(ledger.kills.items()))
    sends = ", ".join(f"{sender} {count}" for sender, count in sorted(ledger.sends.items()))
    out.print(f"killed: {kills or 'nothing'}\ninstances acknowledged: {sends}", highlight=False)
    out.print(
        f"{ledger.duplicates} instances sent again, {len(ledger.conflicts)} with other bytes, {ledger.not_ct} not CT; "
        f"{ledger.retried} series taken up by hand; {len(seen.pacs)} objects at the PACS",
        highlight=False,
    )
    wrong = list(differences(ledger, seen))
    for line in wrong:
        out.print(f"✗ {line}", style="red", highlight=False)
    if not wrong:
        received = sum(len(held.instances) for held in seen.series.values())
        out.print(
            f"✓ the books balance: {received} instances received, {len(seen.pacs)} derived and delivered once each"
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
