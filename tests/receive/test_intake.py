"""Objects that come without an association: the same checks, the same durability."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from node.dicom import part10
from node.receive import Intake, Outcome, Status
from node.series import Arrival, Sender
from node.store.quarantine import Kept
from node.store.spool import Spool

STOW = Sender("", "HARMONODE", "stow")


@pytest.fixture
def told() -> list:
    return []


@pytest.fixture
def intake(tmp_path, told) -> Intake:
    return Intake(Spool(tmp_path / "node" / "spool", 0), told.append)


def test_a_file_is_accepted_as_if_it_came_by_dicom(intake, told, slice_path):
    path = slice_path()
    assert intake.accept(io.BytesIO(path.read_bytes()), STOW) == Outcome(Status.SUCCESS)
    (arrival,) = told
    assert isinstance(arrival, Arrival)
    assert arrival.sender == STOW
    kept = intake._spool.root / arrival.path
    with kept.open("rb") as ours, path.open("rb") as theirs:
        assert part10.read(ours).address == "stow"
        part10.read(theirs)
        assert ours.read() == theirs.read()
    assert kept.stat().st_size == arrival.size_bytes


def test_real_series_are_accepted(intake, told, data):
    files = [*(data / "syntaxes").glob("wg04/CT*"), *(data / "chest" / "lidc-0002-incomplete").glob("*.dcm")]
    for path in files:
        with path.open("rb") as file:
            assert intake.accept(file, STOW) == Outcome(Status.SUCCESS), path
    assert len(told) == len(files) == 20


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "this is no DICOM file: there is no DICM after 128 bytes"),
        (b"just a text\n" * 100, "this is no DICOM file: there is no DICM after 128 bytes"),
        (bytes(128) + b"DICM", "the file does not say its Transfer Syntax UID (0002,0010)"),
        (bytes(128) + b"DICM\x02\x00\x10\x00UI\x14\x001.2", "the file breaks off inside (0002,0010)"),
        (
            bytes(128) + b"DICM\x02\x00\x01\x00OB\x00\x00\xff\xff\xff\xff",
            "the File Meta Information is longer than 65536 bytes at (0002,0001)",
        ),
    ],
)
def test_what_is_no_dicom_file_is_kept_aside(intake, told, content, reason):
    assert intake.accept(io.BytesIO(content), STOW) == Outcome(Status.CANNOT_UNDERSTAND, reason)
    (kept,) = told
    assert isinstance(kept, Kept)
    assert (intake._spool.quarantine.root / kept.path).read_bytes() == content


def test_a_sop_class_that_is_not_stored_here_is_refused(intake, told, data):
    with (data / "odd" / "no-pixel-data.dcm").open("rb") as file:
        outcome = intake.accept(file, STOW)
    assert outcome.status is Status.CLASS_NOT_SUPPORTED
    assert outcome.comment == "SOP class 1.2.840.10008.5.1.4.1.1.88.11 is not stored here"
    assert told[0].reason == outcome.comment


def test_a_file_whose_meta_lies_about_its_uid_is_refused(intake, slice_path):
    outcome = intake.accept(io.BytesIO(slice_path(SOPInstanceUID="1.2.3").read_bytes()), STOW)
    assert outcome.status is Status.CANNOT_UNDERSTAND
    assert outcome.comment.startswith("SOP Instance UID differs: 1.2.3 in the data set")
    assert len(outcome.error_comment) <= 64


def test_no_space_is_said_and_audited_once_a_minute(tmp_path, told, slice_path):
    intake = Intake(Spool(tmp_path / "node" / "spool", 1 << 60), told.append)
    for _ in range(3):
        outcome = intake.accept(io.BytesIO(slice_path().read_bytes()), STOW)
        assert outcome == Outcome(Status.OUT_OF_RESOURCES, "no space in the spool")
    (refusal,) = told
    assert "are kept free" in refusal.message


def test_an_instance_whose_name_was_made_and_whose_answer_failed_is_told_when_it_comes_again(
    intake, told, slice_path, monkeypatch
):
    content = slice_path().read_bytes()

    def fail(folder: Path) -> None:
        raise OSError(5, "Input/output error", str(folder))

    with monkeypatch.context() as failing:
        folder = intake._spool.root
        failing.setattr(
            "node.store.spool.sync_folder", lambda path: fail(path) if path.parent.parent == folder else None
        )
        assert intake.accept(io.BytesIO(content), STOW).status == Status.OUT_OF_RESOURCES
    assert not [item for item in told if isinstance(item, Arrival)]
    assert len(list(intake._spool.walk())) == 1
    assert intake.accept(io.BytesIO(content), STOW) == Outcome(Status.SUCCESS)
    (arrival,) = [item for item in told if isinstance(item, Arrival)]
    assert (arrival.again, [arrival.path]) == (True, list(intake._spool.walk()))


def test_nobody_else_looks_into_what_is_received(intake, slice_path):
    assert intake.accept(io.BytesIO(slice_path().read_bytes()), STOW) == Outcome(Status.SUCCESS)
    assert intake.accept(io.BytesIO(b"a text"), STOW).status == Status.CANNOT_UNDERSTAND
    folder = intake._spool.root.parent
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()} == {
        "spool": "0o700",
        "quarantine": "0o700",
    }
