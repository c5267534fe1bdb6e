"""How fast a series is received, against DCMTK's storescp and Orthanc in the same run, alternating.

Only ratios within one run count. DCMTK's storescu sends; storescp does not sync its files, Orthanc comes as it is and
syncs, the node syncs, hashes and records. With TCP_NODELAY on both ends, for without it the benchmark measures Nagle's
algorithm alone; that is the last of the comparisons, and what a sender does that nobody has told better.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path
from statistics import median

import crafted_pdus as craft
import peers
import pydicom
import pytest
from pydicom.uid import generate_uid

STORESCU = Path("/usr/bin/storescu")
ROUNDS, SLICES = 5, 300
DEFAULT = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not STORESCU.exists(), reason="DCMTK is not installed (`make peers` says how)"),
]


@pytest.mark.parametrize(
    ("senders", "delayed", "slices"),
    [(1, False, SLICES), (4, False, SLICES), (1, True, 100)],
    ids=["one association", "four associations", "one association, default sender"],
)
def test_rate(start_node, start_orthanc, start_storescp, data, tmp_path, capsys, monkeypatch, senders, delayed, slices):
    if delayed:
        monkeypatch.setattr(peers, "NO_DELAY", DEFAULT)
    node = start_node(complete={"quiet_s": 3600})
    orthanc = start_orthanc(SyncStorageArea=True)
    storescp = start_storescp("--bit-preserving", "--fork")
    places = {
        "harmonode": ("HARMONODE", node.config.receive.port),
        "storescp": (storescp.aet, storescp.port),
        "orthanc": (orthanc.aet, orthanc.dicom_port),
    }
    seconds: dict[str, list[float]] = {name: [] for name in places}
    for number in range(ROUNDS + 1):
        for name, (ae_title, port) in places.items():
            folders = [tmp_path / f"{number}-{name}-{sender}" for sender in range(senders)]
            fresh_series(data, folders, slices)
            os.sync()  # what was written before is nobody's debt in this turn
            taken = store(folders, ae_title, port, DEFAULT if delayed else {"TCP_NODELAY": "1"})
            if number:  # the first round warms up
                seconds[name].append(taken)
    node.wait(
        lambda: sum(row.instance_count for row in node.series()) == (ROUNDS + 1) * slices, "every instance indexed"
    )
    rate = {name: slices / median(taken) for name, taken in seconds.items()}
    with capsys.disabled():
        how = "without TCP_NODELAY" if delayed else "with TCP_NODELAY on both ends"
        print(f"\nreceiving {slices} slices of 526 KB, senders: {senders}, {how}, median of {ROUNDS}:")
        for name, value in rate.items():
            print(f"  {name:10} {value:6.0f} slices/s")
        for peer in ("storescp", "orthanc"):
            print(f"  harmonode is {rate['harmonode'] / rate[peer]:.2f} x {peer}")


def test_memory_with_an_object_of_500_mb(start_node, tmp_path, capsys):
    node = start_node(complete={"quiet_s": 3600}, process={"workers": 0})
    before, whole = memory_mb(node.process.pid), memory_mb(node.process.pid, "VmRSS")
    large = tmp_path / "large.dcm"
    write_large(large, 500 << 20)
    start = time.perf_counter()
    port = str(node.config.receive.port)
    with subprocess.Popen(
        [STORESCU, "-aec", "HARMONODE", "127.0.0.1", port, large], env={"TCP_NODELAY": "1"}
    ) as sender:
        highest = before
        while sender.poll() is None:
            highest = max(highest, memory_mb(node.process.pid))
            time.sleep(0.02)
    taken = time.perf_counter() - start
    assert sender.returncode == 0
    with capsys.disabled():
        print(
            f"\nan enhanced object of 500 MB in {taken:.1f} s: {before:.0f} MB of memory before, {highest:.0f} at most; "
            f"with the pages of libraries, which it shares with its workers, {whole:.0f} before"
        )


def test_a_hundred_idle_associations(start_node, capsys):
    node = start_node(receive={"port": peers.free_port(), "max_associations": 128, "disk_reserve_mb": 10, "idle_timeout_s": 600},
                      complete={"quiet_s": 3600}, process={"workers": 0})  # fmt: skip
    without = cpu_share(node.process.pid)
    callers = [socket.create_connection(("127.0.0.1", node.config.receive.port)) for _ in range(100)]
    for caller in callers:
        caller.sendall(craft.associate_request())
        assert caller.recv(1) == b"\x02"
    share = cpu_share(node.process.pid)
    for caller in callers:
        caller.close()
    with capsys.disabled():
        print(f"\n100 idle associations: {share:.1%} of a core; {without:.1%} without them")


def store(folders: list[Path], ae_title: str, port: int, environment: dict[str, str]) -> float:
    """Seconds that as many senders as folders take, at the same time."""
    start = time.perf_counter()
    senders = [
        subprocess.Popen(
            [STORESCU, "+sd", "-pdu", "131072", "-aec", ae_title, "127.0.0.1", str(port), folder], env=environment
        )
        for folder in folders
    ]
    assert [sender.wait() for sender in senders] == [0] * len(senders)
    return time.perf_counter() - start


def fresh_series(data: Path, folders: list[Path], slices: int) -> None:
    """Instances of one new series, from thirty real slices, spread over the folders."""
    series = generate_uid()
    sources = sorted((data / "chest" / "lung-dx-a0002-b40f").glob("*.dcm"))
    for folder in folders:
        folder.mkdir()
    for number in range(slices):
        made = pydicom.dcmread(sources[number % len(sources)])
        made.SeriesInstanceUID, made.SOPInstanceUID = series, generate_uid()
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
        made.save_as(folders[number % len(folders)] / f"{number:03}.dcm")


def write_large(path: Path, size: int) -> None:
    """An Enhanced CT whose pixels are a hole in the file."""
    made = pydicom.Dataset()
    made.SOPClassUID, made.SOPInstanceUID = pydicom.uid.EnhancedCTImageStorage, generate_uid()
    made.StudyInstanceUID, made.SeriesInstanceUID, made.Modality = generate_uid(), generate_uid(), "CT"
    made.Rows = made.Columns = 512
    made.NumberOfFrames = size // (512 * 512 * 2)
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.SamplesPerPixel, made.PixelRepresentation = 15, 1, 0
    made.PhotometricInterpretation = "MONOCHROME2"
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    made.save_as(path, enforce_file_format=True)
    with path.open("ab") as file:
        file.write(b"\xe0\x7f\x10\x00OW\x00\x00" + size.to_bytes(4, "little"))
    os.truncate(path, path.stat().st_size + size)


def memory_mb(pid: int, what: str = "RssAnon") -> float:
    """Resident memory of a process: its own, or VmRSS, with the pages of files."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(what)]
    return int(line.split()[1]) / 1024


def cpu_share(pid: int, seconds: float = 10) -> float:
    """How much of one core a process uses."""

    def used() -> int:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:13]))

    before = used()
    time.sleep(seconds)
    return (used() - before) / os.sysconf("SC_CLK_TCK") / seconds
