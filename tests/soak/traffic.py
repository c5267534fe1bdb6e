"""The traffic of a soak: crafted series of every kind, sent until the node has acknowledged all of them."""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from books import Ledger, Sent
from crafted import slice_of
from peers import NO_DELAY
from pydicom import dcmread
from pydicom.uid import MRImageStorage

from node.config import DimseDestination
from node.errors import HarmonodeError
from node.send import send
from node.store.spool import data_set_sha256

STORESCU = "/usr/bin/storescu"
KINDS = {
    "lung": 6,  # selected, by either of two rules
    "soft": 2,  # selected by no rule
    "localizer": 1,
    "derived": 1,
    "malformed": 1,
    "late": 3,  # the last slices come when the series is done
    "two senders": 2,  # at the same time, under two AE titles
    "duplicate": 2,
    "conflict": 2,
    "not CT": 1,
}
_EXPECTED = {"soft": "passed", "localizer": "passed", "derived": "passed", "malformed": "refused"}
_PIECE = 8  # instances an association


class Traffic:
    """Makes series and sends them. Safe for threads; what they choose follows from the seed."""

    def __init__(self, folder: Path, port: int, ledger: Ledger, seed: int) -> None:
        self._folder, self._port, self.ledger, self._seed = folder, port, ledger, seed
        self._lock = threading.Lock()
        self._number = 0
        self._late: dict[str, list[Path]] = {}  # of a series: what is still to be sent once it is done
        self._whole: list[tuple[str, list[Path]]] = []  # series that are wholly sent, by our own sender

    def one(self, rng: random.Random) -> None:
        """Send something."""
        kind = rng.choices(list(KINDS), KINDS.values())[0]
        if kind in {"duplicate", "conflict"}:
            self._again(kind, rng)
        elif kind == "not CT":
            self._not_ct()
        else:
            uid, paths = self._make(kind, rng)
            if kind == "late":
                cut = rng.randint(1, 3)
                self._acknowledged(uid, paths[:-cut], rng)
                with self._lock:
                    self._late[uid] = paths[-cut:]
            elif kind == "two senders":
                twin = threading.Thread(target=self._acknowledged, args=(uid, paths[::-1], random.Random(0), "CT2"))
                twin.start()
                self._acknowledged(uid, paths, random.Random(1), "CT1")
                twin.join()
            else:
                self._acknowledged(uid, paths, rng)

    def send_late(self, done: set[str]) -> int:
        """Send the late slices of series that are done; returns how many series still wait for that."""
        with self._lock:
            ready = {uid: self._late.pop(uid) for uid in self._late.keys() & done}
        for uid, paths in ready.items():
            self._acknowledged(uid, paths, random.Random(0), "CT2")
        with self._lock:
            return len(self._late)

    def _make(self, kind: str, rng: random.Random) -> tuple[str, list[Path]]:
        with self._lock:
            self._number += 1
            number = self._number
            uid = f"1.2.826.0.1.{self._seed}.{number}"
            self.ledger.series[uid] = Sent(kind, _EXPECTED.get(kind, "done"))
        folder = self._folder / f"{number:05}"
        folder.mkdir(parents=True)
        kernel = "B30f" if kind == "soft" else rng.choice(["B60f", "B70f"])
        pixels = np.random.default_rng(number)
        paths = []
        for index in range(rng.randint(5, 16)):
            made = slice_of(index, side=64)
            made.StudyInstanceUID, made.SeriesInstanceUID = f"{uid}.0", uid
            made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"{uid}.{index + 1}"
            made.ConvolutionKernel = kernel
            made.PixelData = pixels.integers(0, 2000, (64, 64)).astype(np.uint16).tobytes()
            if kind == "localizer":
                made.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            if kind == "derived":
                made.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
            if kind == "malformed" and index == 2:
                made.ImagePositionPatient = [-100.0, -90.0, 10.0]  # where the first one lies
            path = folder / f"{index:03}.dcm"
            made.save_as(path, enforce_file_format=True)
            paths.append(path)
        return uid, paths

    def _acknowledged(self, uid: str, paths: Sequence[Path], rng: random.Random, ae_title: str = "") -> None:
        """Send until all is acknowledged, as a modality does that keeps its images."""
        with_dcmtk = not ae_title and rng.random() < 0.5
        ae_title = ae_title or rng.choice(["CT1", "CT2"])
        for start in range(0, len(paths), _PIECE):
            piece = paths[start : start + _PIECE]
            while not (_storescu(piece, self._port, ae_title) if with_dcmtk else self._send(piece, ae_title)):
                time.sleep(0.5)
            with self._lock:
                self.ledger.sends["storescu" if with_dcmtk else "own sender"] += len(piece)
                acknowledged = self.ledger.series[uid].instances
                acknowledged.update({f"{uid}.{int(path.stem) + 1}": data_set_sha256(path) for path in piece})
            time.sleep(rng.random() * 0.3)
        if not with_dcmtk and self.ledger.series[uid].kind == "lung":
            with self._lock:
                self._whole.append((uid, list(paths)))

    def _again(self, kind: str, rng: random.Random) -> None:
        with self._lock:
            if not self._whole:
                return
            uid, paths = rng.choice(self._whole)
        if kind == "duplicate":
            self._acknowledged(uid, paths, random.Random(0), "CT1")
            with self._lock:
                self.ledger.duplicates += len(paths)
            return
        path = rng.choice(paths)
        other = dcmread(path)
        other.PixelData = bytes(len(other.PixelData))
        changed = path.with_suffix(".other")
        other.save_as(changed, enforce_file_format=True)
        for _ in range(200):
            try:
                self._try([changed], "CT1")
            except HarmonodeError as error:
                if "C111" in str(error):
                    with self._lock:
                        self.ledger.conflicts.add(str(other.SOPInstanceUID))
                    return
            else:
                raise AssertionError(f"other bytes under {other.SOPInstanceUID} were taken")
            time.sleep(0.5)

    def _not_ct(self) -> None:
        image = slice_of(0)
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = MRImageStorage
        path = self._folder / f"mr-{threading.get_ident()}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save_as(path, enforce_file_format=True)
        assert not _storescu([path], self._port, "CT1")
        with self._lock:
            self.ledger.not_ct += 1

    def _send(self, paths: Sequence[Path], ae_title: str) -> bool:
        try:
            self._try(paths, ae_title)
        except HarmonodeError:
            return False
        return True

    def _try(self, paths: Sequence[Path], ae_title: str) -> None:
        door = DimseDestination(
            name="node",
            ae_title="HARMONODE",
            host="127.0.0.1",
            port=self._port,
            calling_ae_title=ae_title,
            timeout_s=20,
        )
        send(door, paths, lambda _: None)


def _storescu(paths: Sequence[Path], port: int, ae_title: str) -> bool:
    command = [
        STORESCU,
        "-to",
        "20",
        "-ta",
        "20",
        "-td",
        "20",
        "-aet",
        ae_title,
        "-aec",
        "HARMONODE",
        "127.0.0.1",
        str(port),
    ]
    done = subprocess.run([*command, *map(str, paths)], capture_output=True, env=NO_DELAY, check=False)
    return done.returncode == 0
