"""WADO-RS: bytes as in the files and as a real Orthanc has them; pictures as the window makes them."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pydicom
import pytest
import sqlalchemy as sa
from PIL import Image

from node.dicom import part10
from node.dicom.multipart import boundary_of, media_type, parts
from node.store.tables import AuditRecord

ANY = 'multipart/related; type="application/dicom"; transfer-syntax=*'
OCTETS = 'multipart/related; type="application/octet-stream"'


def bodies(answer: httpx.Response) -> list[bytes]:
    assert answer.status_code in (200, 206), answer.text
    kind, parameters = media_type(answer.headers["content-type"])
    assert kind == "multipart/related"
    return [b"".join(part) for part in parts([answer.content], boundary_of(parameters))]


def data_set(content: bytes) -> bytes:
    file = BytesIO(content)
    part10.read(file)
    return file.read()


def test_objects_come_as_they_were_stored(service, chest, sharp):
    service.hold([*chest.paths, *sharp.paths])
    original = [data_set(path.read_bytes()) for path in chest.paths]
    assert [data_set(body) for body in bodies(service.get(chest.path, ANY))] == original
    assert len(bodies(service.get(f"studies/{chest.study}", ANY))) == 7
    one = service.get(f"{chest.path}/instances/{chest.uids[1]}", "application/dicom")
    assert (one.headers["content-type"], data_set(one.content)) == ("application/dicom", original[1])
    # They are in Explicit VR Little Endian, which is what a client that does not say gets.
    for accept in (
        "*/*",
        'multipart/related; type="application/dicom"',
        "multipart/related;type=application/dicom;transfer-syntax=1.2.840.10008.1.2.1",
    ):
        assert [data_set(body) for body in bodies(service.get(chest.path, accept))] == original
    assert service.get(chest.path, "image/png").status_code == 406
    assert (
        service.get(
            chest.path, 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.80'
        ).status_code
        == 406
    )
    assert service.get("studies/1.2.3", ANY).status_code == 404
    assert service.get("studies/1.2.3/series/1.2/instances/1.9", ANY).status_code == 404
    assert service.get("studies/nonsense", ANY).status_code == 400


def test_frames_and_metadata_are_those_of_orthanc(service, orthanc, chest):
    orthanc.upload(*chest.paths)
    service.hold(chest.paths)
    path = f"{chest.path}/instances/{chest.uids[0]}"

    def theirs(path: str, accept: str) -> httpx.Response:
        return httpx.get(f"{orthanc.dicomweb_url}/{path}", headers={"Accept": accept}, timeout=60)

    ours = bodies(service.get(f"{path}/frames/1", OCTETS))
    assert ours == bodies(theirs(f"{path}/frames/1", OCTETS))
    assert ours == [pydicom.dcmread(chest.paths[0]).PixelData]

    for where in (path, chest.path):
        of_ours = {one["00080018"]["Value"][0]: one for one in service.get(f"{where}/metadata").json()}
        of_theirs = {
            one["00080018"]["Value"][0]: one for one in theirs(f"{where}/metadata", "application/dicom+json").json()
        }
        assert of_ours.keys() == of_theirs.keys()
        for uid, metadata in of_ours.items():
            assert metadata.keys() == of_theirs[uid].keys()
            differ = [
                (tag, metadata[tag], of_theirs[uid][tag])
                for tag in metadata
                if metadata[tag].get("Value") != of_theirs[uid][tag].get("Value") and tag != "00080005"
            ]
            assert differ == []


def test_bulk_data_are_where_the_metadata_say(service, chest):
    service.hold(chest.paths)
    (metadata,) = service.get(f"{chest.path}/instances/{chest.uids[0]}/metadata").json()
    url = metadata["7FE00010"]["BulkDataURI"]
    pixels = pydicom.dcmread(chest.paths[0]).PixelData
    assert url.startswith(service.url)
    path = url.removeprefix(service.url + "/")
    assert service.get(path, "application/octet-stream").content == pixels
    assert bodies(service.get(path, OCTETS)) == [pixels]
    root = path.rpartition("/")[0]
    assert service.get(f"{root}/00100010", "*/*").status_code == 404
    assert service.get(f"{root}/nonsense", "*/*").status_code == 400
    assert service.get(f"{root}/00081140/1/00081155", "*/*").status_code == 404


def test_another_library_retrieves(service, chest):
    service.hold(chest.paths)
    viewer = service.viewer()
    series = viewer.retrieve_series(chest.study, chest.series)
    assert [str(one.SOPInstanceUID) for one in series] == chest.uids
    (frame,) = viewer.retrieve_instance_frames(chest.study, chest.series, chest.uids[0], [1])
    assert frame == pydicom.dcmread(chest.paths[0]).PixelData
    metadata = viewer.retrieve_series_metadata(chest.study, chest.series)
    assert pydicom.Dataset.from_json(metadata[0]).Rows == 512
    picture = viewer.retrieve_instance_rendered(chest.study, chest.series, chest.uids[0], media_types=("image/png",))
    assert Image.open(BytesIO(picture)).size == (512, 512)


@pytest.mark.parametrize("name", ["JPEG-LS", "J2KR", "RLE", "JPLL"])
def test_compressed_objects_are_kept_and_decoded_for_who_asks(service, data: Path, name: str):
    """NEMA's CT1 in each lossless syntax: what is decoded is the same for all, and the same as pydicom's own."""
    wanted = {"JPEG-LS": "JLSL", "RLE": "RLE"}.get(name, name)
    path = next(
        path
        for path in sorted((data / "syntaxes" / "wg04").rglob("*"))
        if "CT1" in path.name.upper() and wanted in path.name.upper()
    )
    header = pydicom.dcmread(path, stop_before_pixels=True)
    service.hold([path])
    uid = f"studies/{header.StudyInstanceUID}/series/{header.SeriesInstanceUID}/instances/{header.SOPInstanceUID}"
    (kept,) = bodies(service.get(uid, ANY))
    assert data_set(kept) == data_set(path.read_bytes())
    (plain,) = bodies(service.get(uid, 'multipart/related; type="application/dicom"'))
    decoded = pydicom.dcmread(BytesIO(plain))
    assert decoded.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    (frame,) = bodies(service.get(f"{uid}/frames/1", OCTETS))
    assert frame == decoded.PixelData
    assert np.array_equal(decoded.pixel_array, pydicom.dcmread(path).pixel_array) or name == "JPLL"
    (compressed,) = bodies(
        service.get(f"{uid}/frames/1", 'multipart/related; type="application/octet-stream"; transfer-syntax=*')
    )
    assert len(compressed) < len(frame)
    answer = service.get(f"{uid}/frames/1", f"{OCTETS}; transfer-syntax={header.file_meta.TransferSyntaxUID}")
    assert bodies(answer) == [compressed]


def test_frames_are_numbered_from_one(service, chest, data):
    service.hold([*chest.paths[:1], data / "odd" / "enhanced-ct-perfusion.dcm"])
    path = f"{chest.path}/instances/{chest.uids[0]}/frames"
    assert service.get(f"{path}/2", OCTETS).status_code == 404
    for wrong in ("0", "x", "1,,2", "-1"):
        assert service.get(f"{path}/{wrong}", OCTETS).status_code == 400
    single = service.get(f"{path}/1", "application/octet-stream")
    assert single.headers["content-type"] == "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
    assert len(single.content) == 512 * 512 * 2
    enhanced = pydicom.dcmread(data / "odd" / "enhanced-ct-perfusion.dcm")
    of_it = (
        f"studies/{enhanced.StudyInstanceUID}/series/{enhanced.SeriesInstanceUID}/instances/{enhanced.SOPInstanceUID}"
    )
    first, second = bodies(service.get(f"{of_it}/frames/1,2", OCTETS))
    assert first + second == enhanced.PixelData


def test_a_slice_is_rendered_by_its_window(service, chest):
    service.hold(chest.paths[:1])
    path = f"{chest.path}/instances/{chest.uids[0]}/rendered"
    read = pydicom.dcmread(chest.paths[0])
    hu = read.pixel_array * float(read.RescaleSlope) + float(read.RescaleIntercept)

    def picture(accept: str = "image/png", **parameters: str) -> np.ndarray:
        answer = service.get(path, accept, **parameters)
        assert answer.status_code == 200, answer.text
        return np.asarray(Image.open(BytesIO(answer.content)))

    lung = picture(window="-600,600,linear")
    assert (lung[hu < -600 - 300].max(), lung[hu > -600 + 300].min()) == (0, 255)
    middle = lung[np.abs(hu + 600) < 2]
    assert abs(float(middle.mean()) - 127.5) < 1
    assert picture(window="40,400,sigmoid").std() > 10
    centre, width = (np.atleast_1d(value)[0] for value in (read.WindowCenter, read.WindowWidth))
    assert np.array_equal(picture(), picture(window=f"{centre},{width},linear"))
    assert picture(viewport="100,50").shape == (50, 50)
    jpeg = service.get(path, "*/*")
    assert jpeg.headers["content-type"] == "image/jpeg"
    assert service.get(path, "image/gif").status_code == 406
    for wrong in (
        {"window": "a,b,linear"},
        {"window": "40,0,linear"},
        {"window": "40,400,cubic"},
        {"viewport": "0,1"},
        {"quality": "101"},
    ):
        assert service.get(path, "image/png", **wrong).status_code == 400, wrong
    thumbnail = Image.open(BytesIO(service.get(f"{chest.path}/thumbnail", "image/png").content))
    assert thumbnail.size == (128, 128)


def test_who_reads_is_recorded_once(service, chest):
    service.hold(chest.paths)
    for uid in chest.uids:
        service.get(f"{chest.path}/instances/{uid}", ANY)
    with service.web.database.read() as session:
        (record,) = session.scalars(sa.select(AuditRecord).where(AuditRecord.event == "access"))
    assert (record.actor, record.series_instance_uid) == ("token:scanner", chest.series)
    assert record.message == f"scanner at 127.0.0.1 reads series {chest.series} by DICOMweb"


def test_a_file_that_is_gone_is_told_of(service, chest):
    service.hold(chest.paths)
    lost = next(iter(service.spool.walk()))
    (service.spool.root / lost).unlink()
    answer = service.get(chest.path, ANY)
    assert answer.status_code == 206
    assert "1 instances are no longer here" in answer.headers["warning"]
    assert len(bodies(answer)) == 3
    statuses = [service.get(f"{chest.path}/instances/{uid}", ANY).status_code for uid in chest.uids]
    assert sorted(statuses) == [200, 200, 200, 410]
