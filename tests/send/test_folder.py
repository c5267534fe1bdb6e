"""A folder as destination."""

import pytest
from pydicom import dcmread

from node.config import FolderDestination
from node.errors import OperatorError, PermanentError
from node.send import confirm, echo, send


def test_folder_holds_copies_in_one_subfolder_a_series(tmp_path, write_series, progress):
    there = FolderDestination(name="out", path=tmp_path / "out" / "deep")
    first, second = write_series(3), write_series(2)
    assert send(there, first.paths, progress.append) == 3
    assert send(there, second.paths, progress.append) == 2
    assert confirm(there, first.study, first.series) == 3
    assert confirm(there, second.study, second.series) == 2
    assert len(list(there.path.iterdir())) == 2
    files = sorted(there.path.rglob("*.dcm"))
    assert {file.read_bytes() for file in files} == {path.read_bytes() for path in first.paths + second.paths}
    assert not [file for file in there.path.rglob("*") if file.is_file() and file.suffix != ".dcm"]


def test_names_hold_no_value_of_a_header(tmp_path, write_series, progress):
    sent, there = write_series(1), FolderDestination(name="out", path=tmp_path / "out")
    send(there, sent.paths, progress.append)
    (file,) = there.path.rglob("*.dcm")
    assert file.stem.isalnum()
    for value in (sent.series, sent.instances[0], "Test"):
        assert value not in str(file.relative_to(there.path))


def test_sending_again_changes_nothing(tmp_path, write_series, progress):
    sent, there = write_series(3), FolderDestination(name="out", path=tmp_path / "out")
    send(there, sent.paths[:2], progress.append)
    before = {file: file.stat().st_mtime_ns for file in there.path.rglob("*.dcm")}
    send(there, sent.paths, progress.append)
    assert confirm(there, sent.study, sent.series) == 3
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_file_with_other_bytes_is_not_overwritten(tmp_path, write_series, progress):
    sent, there = write_series(1), FolderDestination(name="out", path=tmp_path / "out")
    send(there, sent.paths, progress.append)
    changed = dcmread(sent.paths[0])
    changed.SeriesDescription = "another"
    changed.save_as(sent.paths[0])
    (file,) = there.path.rglob("*.dcm")
    before = file.read_bytes()
    with pytest.raises(OperatorError, match="is not overwritten") as error:
        send(there, sent.paths, progress.append)
    assert sent.instances[0] in str(error.value)
    assert file.read_bytes() == before


def test_unreadable_and_foreign_files_do_not_count(tmp_path, write_series, progress):
    sent, there = write_series(3), FolderDestination(name="out", path=tmp_path / "out")
    send(there, sent.paths, progress.append)
    files = sorted(there.path.rglob("*.dcm"))
    files[0].write_bytes(b"damaged")
    assert confirm(there, sent.study, sent.series) == 2
    files[1].write_bytes(write_series(1).paths[0].read_bytes())
    assert confirm(there, sent.study, sent.series) == 1
    assert confirm(there, "1.2.3", sent.series) == 0
    files[2].write_bytes(files[2].read_bytes()[:-100])
    assert confirm(there, sent.study, sent.series) == 0


def test_folder_that_cannot_be_written_is_a_matter_for_a_person(tmp_path, write_series, progress):
    (tmp_path / "file").write_text("in the way")
    there = FolderDestination(name="out", path=tmp_path / "file" / "out")
    with pytest.raises(OperatorError, match="Not a directory"):
        send(there, write_series(1).paths, progress.append)
    with pytest.raises(OperatorError, match="Not a directory"):
        echo(there)


def test_text_file_is_refused(tmp_path, progress):
    text = tmp_path / "notes.txt"
    text.write_text("no image")
    with pytest.raises(PermanentError, match=r"notes\.txt"):
        send(FolderDestination(name="out", path=tmp_path / "out"), [text], progress.append)


def test_echo_leaves_nothing_behind(tmp_path):
    there = FolderDestination(name="out", path=tmp_path / "out")
    assert str(there.path) in echo(there)
    assert not list(there.path.iterdir())
