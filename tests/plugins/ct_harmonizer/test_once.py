"""What is found in a loaded volume is found once, forgotten with it, and never taken for another's."""

from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np
import pytest

from node.plugin import Volume
from plugins.ct_harmonizer.once import once


@pytest.fixture
def volume() -> Volume:
    hu = np.full((2, 4, 4), -900, np.float32)
    padding = np.zeros(hu.shape, bool)
    hu.flags.writeable = padding.flags.writeable = False
    return Volume("1.2.3", hu, (1.0, 0.7, 0.7), 1.0, padding, ())


class Counting:
    """Finds an array, and how often it was asked to."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, volume: Volume) -> np.ndarray:
        self.calls += 1
        return volume.hu * volume.spacing_mm[0]


def test_it_is_found_once_whatever_the_headers_say(volume):
    counting = Counting()
    find = once(counting)
    first = find(volume)
    assert find(volume) is first
    assert find(replace(volume, headers=({"Manufacturer": "SIEMENS"},))) is first
    assert counting.calls == 1


def test_other_voxels_padding_or_spacing_are_another_volume(volume):
    counting = Counting()
    find = once(counting)
    find(volume)
    hidden = np.ones(volume.hu.shape, bool)
    hidden.flags.writeable = False
    for other in (
        replace(volume, hu=volume.hu[:1], padding=volume.padding[:1]),
        replace(volume, padding=hidden),
        replace(volume, spacing_mm=(2.0, 0.7, 0.7)),
        volume,
    ):
        np.testing.assert_array_equal(find(other), other.hu * other.spacing_mm[0])
    assert counting.calls == 5


def test_voxels_that_may_change_are_looked_at_anew():
    hu = np.zeros((1, 2, 2), np.float32)
    mutable = Volume("1.2.3", hu, (1.0, 1.0, 1.0), None, np.zeros(hu.shape, bool), ())
    find = once(Counting())
    assert find(mutable).max() == 0
    hu[:] = 7
    assert find(mutable).max() == 7


def test_it_goes_with_the_volume():
    hu = np.zeros((1, 2, 2), np.float32)
    padding = np.zeros(hu.shape, bool)
    hu.flags.writeable = padding.flags.writeable = False
    find = once(Counting())
    made = weakref.ref(find(Volume("1.2.3", hu, (1.0, 1.0, 1.0), None, padding, ())))
    assert made() is not None
    del hu
    assert made() is None
