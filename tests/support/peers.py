"""Real peers for tests, started on free loopback ports: Debian's Orthanc with DICOMweb, DCMTK's storescp.

Both set TCP_NODELAY only if their environment says so; without it each C-STORE stalls for about 45 ms.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

ORTHANC = Path("/usr/sbin/Orthanc")
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
STORESCP = Path("/usr/bin/storescp")  # by full path: pynetdicom puts its own on the PATH

START_S = 30.0
NO_DELAY = {**os.environ, "TCP_NODELAY": "1"}


class Peer:
    """A server process of a test; killed when the test ends, for Orthanc takes three seconds to stop."""

    def __init__(self, command: list[str], ports: list[int], folder: Path) -> None:
        self.command, self.ports, self.folder = command, ports, folder
        self.log = folder.parent / f"{folder.name}.log"
        self.start()

    def start(self) -> None:
        """Start the process (again) and wait until it listens on all its ports."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=subprocess.STDOUT, env=NO_DELAY, cwd=self.folder
            )
        deadline = time.monotonic() + START_S
        while not all(map(listens, self.ports)):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{self.command[0]} did not start: {self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the process; without effect where it has ended."""
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def kill(self) -> None:
        """End the process without warning, as a power cut would."""
        self.process.kill()
        self.process.wait()


class StoreScp(Peer):
    """DCMTK's storescp; what it receives lies in `folder`."""

    aet = "STORESCP"

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir()
        self.port = free_port()
        command = [str(STORESCP), "-v", "-pm", "-pdu", "131072", "-aet", self.aet]
        super().__init__([*command, "-od", str(folder), *options, str(self.port)], [self.port], folder)

    @property
    def files(self) -> list[Path]:
        """What it has stored."""
        return sorted(path for path in self.folder.iterdir() if path.is_file())


class Orthanc(Peer):
    """An Orthanc with an empty database; any of its settings can be overridden."""

    def __init__(self, folder: Path, **overrides: Any) -> None:
        folder.mkdir()
        self.dicom_port, self.http_port = free_port(), free_port()
        settings = {
            "Name": "test",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "index"),
            "Plugins": [str(DICOMWEB)],
            "HttpPort": self.http_port,
            "DicomPort": self.dicom_port,
            "DicomAet": "ORTHANC",
            "AuthenticationEnabled": False,
            "ExecuteLuaEnabled": False,
            "DicomAlwaysAllowEcho": True,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowGet": True,
            "DicomAlwaysAllowMove": True,
            "DicomScuTimeout": 10,
            "StableAge": 1,
            "SaveJobs": False,
            "SyncStorageArea": False,
            **overrides,
        }
        self.aet = str(settings["DicomAet"])
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.dicomweb_url = f"{self.url}/dicom-web"
        users = list(settings.get("RegisteredUsers", {}).items()) if settings["AuthenticationEnabled"] else []
        self.auth: tuple[str, str] | None = users[0] if users else None
        file = folder / "orthanc.json"
        file.write_text(json.dumps(settings, indent=1))
        super().__init__([str(ORTHANC), str(file)], [self.dicom_port, self.http_port], folder)

    def rest(self, path: str, *, method: str = "GET", **arguments: Any) -> Any:
        """The answer of its REST interface to a request, read as JSON; fails the test on an HTTP error."""
        with httpx.Client(base_url=self.url, auth=self.auth, timeout=60) as client:
            answer = client.request(method, path, **arguments)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json() if answer.content else None

    def upload(self, *files: Path) -> None:
        """Store files through REST."""
        for file in files:
            self.rest("/instances", method="POST", content=file.read_bytes())

    def series(self, series_instance_uid: str) -> dict[str, Any] | None:
        """Its record of a series ("MainDicomTags", "Instances", ...); None where it has none."""
        found = self.rest("/tools/lookup", method="POST", content=series_instance_uid)
        records = [self.rest(item["Path"]) for item in found if item["Type"] == "Series"]
        return records[0] if records else None

    def count(self, series_instance_uid: str) -> int:
        """How many instances of a series it holds."""
        record = self.series(series_instance_uid)
        return len(record["Instances"]) if record else 0

    def register(self, name: str, ae_title: str, port: int, host: str = "127.0.0.1") -> None:
        """Make a DICOM modality known."""
        self.rest(f"/modalities/{name}", method="PUT", json={"AET": ae_title, "Host": host, "Port": port})

    def forward(self, name: str, resource: str) -> dict[str, Any]:
        """C-STORE a resource, by its Orthanc identifier, to a registered modality; returns Orthanc's report."""
        report: dict[str, Any] = self.rest(f"/modalities/{name}/store", method="POST", json=resource)
        return report


def free_port() -> int:
    """A TCP port on loopback that nobody listens on, below those that the system gives to connections."""
    for port in random.sample(range(15000, 32000), 1000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port from 15000 to 32000")


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def start_orthanc(tmp_path: Path) -> Iterator[Callable[..., Orthanc]]:
    """Starts Orthancs, `start_orthanc(DicomAet="PACS", LuaScripts=[...])`; stopped when the test ends."""
    missing = [str(path) for path in (ORTHANC, DICOMWEB) if not path.exists()]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed: this test needs a real Orthanc (`make peers` says how)")
    with ExitStack() as stack:

        def start(**overrides: Any) -> Orthanc:
            peer = Orthanc(_new(tmp_path, "orthanc"), **overrides)
            stack.callback(peer.kill)
            return peer

        yield start


@pytest.fixture
def orthanc(start_orthanc: Callable[..., Orthanc]) -> Orthanc:
    """An empty Orthanc that accepts everything from everyone on this machine."""
    return start_orthanc()


@pytest.fixture
def start_storescp(tmp_path: Path) -> Iterator[Callable[..., StoreScp]]:
    """Starts DCMTK storescps with any options, `start_storescp("--bit-preserving")`; stopped when the test ends."""
    if not STORESCP.exists():
        pytest.skip(f"{STORESCP} is not installed: this test needs DCMTK (`make peers` says how)")
    with ExitStack() as stack:

        def start(*options: str) -> StoreScp:
            peer = StoreScp(_new(tmp_path, "storescp"), *options)
            stack.callback(peer.kill)
            return peer

        yield start


@pytest.fixture
def storescp(start_storescp: Callable[..., StoreScp]) -> StoreScp:
    """A storescp that keeps what it gets, byte by byte."""
    return start_storescp("--bit-preserving")


def _new(folder: Path, name: str) -> Path:
    return next(path for number in range(1, 100) if not (path := folder / f"{name}-{number}").exists())
