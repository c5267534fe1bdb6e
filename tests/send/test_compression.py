"""A real derived series, compressed by the way of each route to real peers: what arrives decodes to the same pixels."""

from __future__ import annotations

import io
import shutil
import subprocess
from datetime import UTC, datetime

import httpx
import numpy as np
import pytest
from pydicom import dcmread, uid
from structlog.testing import capture_logs

from node.config import Derive, DimseDestination, FolderDestination, OrthancDestination, StowDestination
from node.derive import derive
from node.dicom.codecs import decode
from node.dicom.volume import load_volume
from node.errors import OperatorError
from node.plugin import Measurement, Method
from node.send import confirm, send

SYNTAXES = {"jpeg-ls": uid.JPEGLSLossless, "jpeg-2000": uid.JPEG2000Lossless}
COUNT = 4


@pytest.fixture(scope="module")
def derived(data, tmp_path_factory):
    """Derived files by SOP Instance UID; the source pads outside its circle."""
    folder = tmp_path_factory.mktemp("derived")
    loaded = load_volume(sorted((data / "chest" / "lidc-0002-incomplete").glob("*.dcm"))[:COUNT])
    method, made_at = Method("identity", "1", "Nothing.", "00"), datetime(2026, 1, 2, tzinfo=UTC)
    made = derive(loaded, loaded.hu, method, Measurement(), Derive(), folder, None, made_at)
    assert loaded.padding.any()
    assert {dcmread(one.path).file_meta.TransferSyntaxUID for one in made} == {uid.ExplicitVRLittleEndian}
    return {one.sop_instance_uid: one.path for one in made}


def dimse(port, ae_title, compression):
    return DimseDestination(
        name="pacs", ae_title=ae_title, host="127.0.0.1", port=port, timeout_s=5, compression=compression
    )


def same(derived, received, syntax):
    """The received data sets are the derived ones in that transfer syntax."""
    assert {made.SOPInstanceUID for made in received} == derived.keys()
    for made in received:
        ours = dcmread(derived[made.SOPInstanceUID])
        assert made.file_meta.TransferSyntaxUID == syntax
        assert np.array_equal(decode(made), decode(ours))
        assert made.get("LossyImageCompression") == ours.get("LossyImageCompression") != "01"
        del made.PixelData, ours.PixelData
        assert made == ours


def held_by(orthanc):
    files = [httpx.get(f"{orthanc.url}/instances/{name}/file").content for name in orthanc.rest("/instances")]
    return [dcmread(io.BytesIO(file)) for file in files]


@pytest.mark.parametrize("compression", SYNTAXES)
def test_storescp_that_takes_all_gets_it_compressed(start_storescp, derived, progress, compression):
    storescp = start_storescp("--bit-preserving", "--accept-all")
    with capture_logs() as logs:
        assert send(dimse(storescp.port, storescp.aet, compression), list(derived.values()), progress.append) == COUNT
    same(derived, list(map(dcmread, storescp.files)), SYNTAXES[compression])
    assert logs == []


@pytest.mark.parametrize(
    ("option", "syntax"),
    [("--prefer-uncompr", uid.ExplicitVRLittleEndian), ("--implicit", uid.ImplicitVRLittleEndian)],
)
def test_storescp_that_takes_no_compression_gets_it_uncompressed_and_the_log_says_so_once(
    start_storescp, derived, progress, option, syntax
):
    storescp = start_storescp("--bit-preserving", option)
    with capture_logs() as logs:
        assert send(dimse(storescp.port, storescp.aet, "jpeg-ls"), list(derived.values()), progress.append) == COUNT
    same(derived, list(map(dcmread, storescp.files)), syntax)
    (line,) = logs
    assert "sent uncompressed" in line["event"]
    assert (line["destination"], line["compression"]) == ("pacs", "jpeg-ls")


def test_storescp_of_another_compression_gets_it_uncompressed(start_storescp, derived, progress):
    storescp = start_storescp("--bit-preserving", "--prefer-j2k-lossless")
    send(dimse(storescp.port, storescp.aet, "jpeg-ls"), list(derived.values()), progress.append)
    same(derived, list(map(dcmread, storescp.files)), uid.ExplicitVRLittleEndian)


@pytest.mark.parametrize("compression", SYNTAXES)
@pytest.mark.parametrize("route", ["dimse", "stow", "rest"])
def test_orthanc_gets_it_compressed_by_each_route(orthanc, derived, progress, route, compression):
    there = {
        "dimse": dimse(orthanc.dicom_port, orthanc.aet, compression),
        "stow": StowDestination(name="web", url=orthanc.dicomweb_url, timeout_s=5, compression=compression),
        "rest": OrthancDestination(name="rest", url=orthanc.url, timeout_s=5, compression=compression),
    }[route]
    for _ in range(2):  # sending again changes nothing
        assert send(there, list(derived.values()), progress.append) == COUNT
    same(derived, held_by(orthanc), SYNTAXES[compression])
    header = dcmread(next(iter(derived.values())), stop_before_pixels=True)
    assert confirm(there, header.StudyInstanceUID, header.SeriesInstanceUID) == COUNT


@pytest.mark.parametrize("compression", SYNTAXES)
def test_folder_gets_it_compressed_and_the_same_again(tmp_path, derived, progress, compression):
    there = FolderDestination(name="out", path=tmp_path / "out", compression=compression)
    send(there, list(derived.values()), progress.append)
    files = sorted(there.path.rglob("*.dcm"))
    before = [(file, file.stat().st_mtime_ns) for file in files]
    send(there, list(derived.values()), progress.append)
    assert [(file, file.stat().st_mtime_ns) for file in sorted(there.path.rglob("*.dcm"))] == before
    same(derived, list(map(dcmread, files)), SYNTAXES[compression])
    header = dcmread(files[0], stop_before_pixels=True)
    assert confirm(there, header.StudyInstanceUID, header.SeriesInstanceUID) == COUNT
    assert sum(file.stat().st_size for file in files) < 0.7 * sum(path.stat().st_size for path in derived.values())
    assert [errors_of_dciodvfy(file) for file in files] == [[]] * COUNT

    other = there.model_copy(update={"compression": "none"})
    with pytest.raises(OperatorError, match="is not overwritten"):
        send(other, list(derived.values()), progress.append)


def errors_of_dciodvfy(path):
    if not shutil.which("/usr/bin/dciodvfy"):
        pytest.skip("/usr/bin/dciodvfy is missing: install dicom3tools")
    done = subprocess.run(["/usr/bin/dciodvfy", path], capture_output=True, text=True, errors="replace", check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("Error", "Abort"))]
