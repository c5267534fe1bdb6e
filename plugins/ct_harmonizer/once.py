"""What measuring, checking and reporting ask of the same volume is found once."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray


class Voxels(Protocol):
    """What is looked at of a volume."""

    @property
    def hu(self) -> NDArray[np.float32]: ...
    @property
    def padding(self) -> NDArray[np.bool_]: ...
    @property
    def spacing_mm(self) -> tuple[float, float, float]: ...


T = TypeVar("T")
V = TypeVar("V", bound=Voxels)


def once(find: Callable[[V], T]) -> Callable[[V], T]:
    """`find`, remembering what it found in the volume that it was asked about last, for as long as that is in memory.

    `find` must look at the voxels, the padding and the spacing alone. Voxels that somebody may still change are looked
    at anew each time; those of a loaded series are read-only.
    """
    last: list[tuple[weakref.ref[NDArray[Any]], weakref.ref[NDArray[Any]], tuple[float, ...], T]] = []

    def found(volume: V) -> T:
        if volume.hu.flags.writeable or volume.padding.flags.writeable:
            return find(volume)
        for hu, padding, spacing_mm, made in last:
            if hu() is volume.hu and padding() is volume.padding and spacing_mm == volume.spacing_mm:
                return made
        last.clear()  # before the next is made: a mask of the lungs has a byte for each voxel
        made = find(volume)
        forget: Callable[[Any], None] = lambda _gone: last.clear()  # noqa: E731 - it is the references' value
        last.append((weakref.ref(volume.hu, forget), weakref.ref(volume.padding), volume.spacing_mm, made))
        return made

    return found
