"""A plugin changes values, never where they are: its slices are held against their sources.

A slice that looks more like its source once it is mirrored, turned, moved or exchanged for another was put in the wrong
place. How much the values may differ is for the plugin's own check to say.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from node.errors import PermanentError
from node.plugin import Volume

_SLICES = 9  # compared, evenly spread over the volume
_STRUCTURE_HU = 20.0  # standard deviation below which a slice shows nothing to compare by
_LIKE = 0.5  # correlation; sharpening and smoothing leave more than 0.9
_MARGIN = 0.02  # by which another place must fit better


def require_same_geometry(plugin: str, volume: Volume, harmonized: NDArray[np.float32]) -> None:
    """
    Args:
        plugin: its name.
        volume: the source.
        harmonized: (slice, row, column), HU.

    Raises:
        PermanentError: a slice is not where its source is; says what would put it right.
    """
    last = len(volume.hu) - 1
    for index in np.unique(np.linspace(0, last, _SLICES).round().astype(int)):
        source, made = _seen(volume.hu[index]), _seen(harmonized[index])
        if source.std() < _STRUCTURE_HU:
            continue
        here = _correlation(source, made)
        if here >= 1.0 - _MARGIN:
            continue  # no other place can fit better by so much
        where = f"plugin {plugin!r} changed the geometry of series {volume.series_instance_uid}: its slice {index + 1}"
        fits = [
            (_correlation(source, moved), f"its source better when it is {how}") for how, moved in _moves(source, made)
        ]
        swapped = _correlation(_seen(volume.hu[last - index]), made)
        best, how = max(*fits, (swapped, f"slice {last - index + 1} of the source better than slice {index + 1}"))
        if best > here + _MARGIN and best > _LIKE:
            raise PermanentError(f"{where} fits {how}")
        if here < _LIKE:
            raise PermanentError(f"{where} does not show what its source shows (correlation {here:.2f})")


def _moves(source: NDArray[np.float32], made: NDArray[np.float32]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    yield "mirrored left to right", made[:, ::-1]
    yield "mirrored top to bottom", made[::-1]
    yield "turned by 180 degrees", made[::-1, ::-1]
    if made.shape[0] == made.shape[1]:
        yield "transposed", made.T
        yield "transposed the other way", made[::-1, ::-1].T
        yield "turned by 90 degrees", np.rot90(made)
        yield "turned by 270 degrees", np.rot90(made, 3)
    rows, columns = _shift(source, made)
    yield f"moved by {rows} rows and {columns} columns", np.roll(made, (rows, columns), (0, 1))


def _shift(source: NDArray[np.float32], made: NDArray[np.float32]) -> tuple[int, int]:
    """By how many rows and columns `made` is to be moved to lie on `source`: the peak of their cross-correlation."""
    product = np.fft.rfft2(source - source.mean()) * np.conj(np.fft.rfft2(made - made.mean()))
    peak = np.unravel_index(np.argmax(np.fft.irfft2(product, source.shape)), source.shape)
    rows, columns = (
        int(at) if at <= size // 2 else int(at) - size for at, size in zip(peak, source.shape, strict=True)
    )
    return rows, columns


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Pearson's; 0 where one of them shows nothing."""
    one, other = one - one.mean(), other - other.mean()
    norm = float(np.sqrt((one * one).sum() * (other * other).sum()))
    return float((one * other).sum()) / norm if norm else 0.0


def _seen(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """Between air and bone: metal and padding decide nothing."""
    return np.clip(np.asarray(hu, np.float32), -1000.0, 500.0)
