"""What is kept aside is kept, once, with its reason."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from node.series import Sender
from node.store.quarantine import Kept, Quarantine

SENDER = Sender("CT1", "HARMONODE", "10.1.2.3")


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    return Quarantine(tmp_path / "quarantine")


def test_a_file_is_moved_there_with_a_note(quarantine, tmp_path):
    source = tmp_path / "bad.part"
    source.write_bytes(b"bad")
    kept = quarantine.keep_aside(source, "it is bad", SENDER, sop_instance_uid="1.2.3")
    assert not source.exists()
    path = quarantine.root / kept.path
    assert path.read_bytes() == b"bad"
    note = json.loads(path.with_suffix(".json").read_text())
    assert (note["reason"], note["sop_instance_uid"], note["sender"]["calling_ae_title"]) == (
        "it is bad",
        "1.2.3",
        "CT1",
    )
    assert list(quarantine.walk()) == [kept]
    assert Kept.from_json(kept.to_json()) == kept


def test_the_same_bytes_are_kept_once_with_the_first_reason(quarantine):
    first = quarantine.keep_aside(b"bad", "first", SENDER)
    second = quarantine.keep_aside(b"bad", "second", SENDER)
    assert first.path == second.path
    assert [kept.reason for kept in quarantine.walk()] == ["first"]
    assert len(list(quarantine.root.rglob("*.dcm"))) == 1


def test_another_disk_is_copied_to(quarantine, tmp_path, monkeypatch):
    source = tmp_path / "bad.part"
    source.write_bytes(b"bad")
    replace = Path.replace

    def across(self: Path, target: Path) -> Path:
        if self == source:
            raise OSError(18, os.strerror(18))  # EXDEV
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", across)
    kept = quarantine.keep_aside(source, "it is bad", SENDER)
    assert (quarantine.root / kept.path).read_bytes() == b"bad"
    assert not source.exists()
    assert not [*quarantine.root.rglob("*.part"), *quarantine.root.rglob("*.tmp")]


def test_an_empty_quarantine_is_no_folder(quarantine):
    assert list(quarantine.walk()) == []
    assert not quarantine.root.exists()
