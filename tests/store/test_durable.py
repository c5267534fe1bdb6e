"""Files are whole or not there; folders are synced while their files are, and who waits for one shares its fsync."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from node.store import durable
from node.store.durable import FolderSyncer, write_whole


def test_those_that_come_while_a_folder_is_synced_share_the_next_sync(tmp_path: Path, monkeypatch):
    synced: list[Path] = []
    goes_on, begun = threading.Event(), threading.Event()

    def slow(folder: Path) -> None:
        synced.append(folder)
        begun.set()
        assert goes_on.wait(10)

    monkeypatch.setattr(durable, "sync_folder", slow)
    syncer = FolderSyncer(threads=1)  # a second one might take up the first of the three before the others have come
    first = syncer.begin(tmp_path)
    assert begun.wait(10)
    later = [syncer.begin(tmp_path) for _ in range(3)]
    goes_on.set()
    for wait in (first, *later):
        wait()
    assert synced == [tmp_path, tmp_path]


def test_a_disk_that_refuses_is_told_to_all_that_wait(tmp_path: Path):
    syncer = FolderSyncer(threads=1)
    for wait in [syncer.begin(tmp_path / "gone") for _ in range(3)]:
        with pytest.raises(FileNotFoundError):
            wait()
    syncer.begin(tmp_path)()


def test_a_file_is_whole_under_its_name_or_not_there(tmp_path: Path):
    write_whole(tmp_path / "whole", b"first")
    write_whole(tmp_path / "whole", b"second")
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "taken", b"third")
    assert (tmp_path / "whole").read_bytes() == b"second"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken", "whole"]
