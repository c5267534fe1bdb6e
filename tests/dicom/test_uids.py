from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.dicom import uids

METHOD = ("ct_harmonizer", "1.0", "abcdef")


def test_a_retry_makes_the_same_uids() -> None:
    assert uids.derived_series_uid("1.2.3", *METHOD) == uids.derived_series_uid("1.2.3", *METHOD)
    assert uids.derived_instance_uid("1.2.3", *METHOD) == uids.derived_instance_uid("1.2.3", *METHOD)


@pytest.mark.parametrize("place", range(4))
def test_each_part_makes_another_uid(place: int) -> None:
    parts = ["1.2.3", *METHOD]
    changed = [part + "1" if index == place else part for index, part in enumerate(parts)]
    assert uids.derived_series_uid(*parts) != uids.derived_series_uid(*changed)
    assert uids.derived_instance_uid(*parts) != uids.derived_instance_uid(*changed)


def test_parts_do_not_run_into_each_other() -> None:
    assert uids.derived_series_uid("1.2", "ab", "c", "d") != uids.derived_series_uid("1.2", "a", "bc", "d")


def test_a_series_and_an_instance_of_one_uid_differ() -> None:
    assert uids.derived_series_uid("1.2.3", *METHOD) != uids.derived_instance_uid("1.2.3", *METHOD)


@given(source=st.text(max_size=64), name=st.text(max_size=32), fingerprint=st.text(max_size=64))
def test_every_uid_is_a_uuid_under_2_25(source: str, name: str, fingerprint: str) -> None:
    uid = uids.derived_instance_uid(source, name, "1", fingerprint)
    assert uids.is_valid(uid)
    assert uuid.UUID(int=int(uid.removeprefix("2.25."))).version == 8
    assert uuid.UUID(int=int(uid.removeprefix("2.25."))).variant == uuid.RFC_4122


def test_our_devices_are_told_from_others() -> None:
    mine = uids.device_uid("identity", "1.0")
    assert uids.is_valid(mine)
    assert mine != uids.device_uid("identity", "1.1") != uids.device_uid("ct_harmonizer", "1.1")
    assert uids.is_own_device(mine)
    for other in (uids.derived_series_uid("1.2.3", *METHOD), "1.2.3", "2.25.1", "2.25.x", "", mine + "0", mine[:-1]):
        assert not uids.is_own_device(other)


@pytest.mark.parametrize(
    ("uid", "valid"),
    [
        ("1.2.840.10008.1.2", True),
        ("2.25.0", True),
        ("1", False),
        ("", False),
        ("1.2.03", False),
        ("1..2", False),
        ("1.2.", False),
        ("1.2.a", False),
        ("1.2\n", False),
        ("1." + "2" * 62, True),
        ("1." + "2" * 63, False),
    ],
)
def test_valid(uid: str, valid: bool) -> None:
    assert uids.is_valid(uid) is valid


def test_what_the_node_says_of_itself_fits() -> None:
    assert uids.is_valid(uids.IMPLEMENTATION_CLASS_UID)
    assert 0 < len(uids.IMPLEMENTATION_VERSION_NAME) <= 16
