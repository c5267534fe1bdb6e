"""The network at work: slices in, harmonized slices out, on a GPU or on all cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plugins.ct_harmonizer.network.build import Network, channels_last, read
from plugins.ct_harmonizer.network.normalisation import from_hu, mtf_2d, to_hu
from plugins.ct_harmonizer.physics.filter import fill

_MOST_AT_ONCE = 64
_SHARE_OF_MEMORY = 0.6
_MAPS_AT_ONCE = 60  # of fp32 values a pixel, while the full generator works
_LEAST_HU, _MOST_HU = -1024.0, 3071.0  # what the network has seen


class _Queued(NamedTuple):
    """A batch on its way: (slice, 1, row, column) in HU, whole once `done`."""

    result: Tensor
    done: torch.cuda.Event | None


Made = TypeVar("Made")


def fitting(count: int, at_once: int, work: Callable[[slice], Made]) -> Iterator[tuple[slice, Made]]:
    """What `work` makes of all of `count`, `at_once` at a time, and half as many each time that memory does not suffice.

    Raises:
        torch.OutOfMemoryError: it does not suffice for one.
    """
    first = 0
    while first < count:
        part = slice(first, min(first + at_once, count))
        try:
            made = work(part)
        except torch.OutOfMemoryError:
            if at_once == 1:
                raise
            at_once = max(1, (part.stop - part.start) // 2)
            torch.cuda.empty_cache()
            continue
        yield part, made
        first = part.stop


class Harmonizer:
    """A network on a device."""

    def __init__(self, network: Network, device: torch.device | None = None) -> None:
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = network.eval().to(self.device)
        channels_last(self._network)

    @classmethod
    def load(cls, paths: tuple[Path, ...], device: torch.device | None = None) -> Harmonizer:
        return cls(read(list(paths))[0], device)

    def slices(
        self,
        hu: NDArray[np.float32],
        padding: NDArray[np.bool_],
        *,
        frequency_per_mm: NDArray[np.float64],
        mtf: NDArray[np.float64],
        pixel_mm: tuple[float, float],
        batch: int | None = None,
    ) -> Iterator[NDArray[np.float32]]:
        """Harmonize slice by slice.

        Args:
            hu: (slice, row, column) in HU, of any matrix.
            padding: the same shape; its pixels come back as they were, and none of them counts.
            frequency_per_mm: (frequency,), evenly rising from 0, cycles/mm.
            mtf: (frequency,), of these images at the skin.
            pixel_mm: rows, columns. The curve is laid on the image's own frequencies: images are never resampled.
            batch: slices at a time on a GPU; by its free memory unless given. A processor takes one slice at a time whatever is given, so its bytes do not depend on it.
        """
        curve = torch.from_numpy(np.asarray(mtf, np.float32))[None]
        laid = mtf_2d(torch.from_numpy(frequency_per_mm), curve, pixel_mm).to(self.device)
        at_once = 1 if self.device.type == "cpu" else min(batch or self._most(hu.shape[1:]), _MOST_AT_ONCE)
        waiting: deque[tuple[slice, _Queued]] = deque()
        for part, queued in fitting(len(hu), at_once, lambda part: self._start(hu[part], padding[part], laid)):
            waiting.append((part, queued))
            if len(waiting) > 1 or self.device.type == "cpu":  # a GPU works at the next while this one is copied back
                yield from self._finish(*waiting.popleft(), hu, padding)
        for part, queued in waiting:
            yield from self._finish(part, queued, hu, padding)

    @torch.inference_mode()
    def _start(self, hu: NDArray[np.float32], padding: NDArray[np.bool_], mtf: Tensor) -> _Queued:
        """Queue a batch; on a GPU the result is copied to pinned memory without waiting."""
        filled = np.stack([fill(image, pad) for image, pad in zip(hu, padding, strict=True)])
        filled = np.clip(filled, _LEAST_HU, _MOST_HU)
        image = torch.from_numpy(filled)[:, None]
        if self.device.type == "cpu":
            alone: Tensor = to_hu(self._network(from_hu(image), mtf))
            return _Queued(alone, None)
        image = image.pin_memory().to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16):
            result = to_hu(self._network(from_hu(image), mtf.expand(len(image), -1, -1, -1)).float())
        pinned = torch.empty(result.shape, pin_memory=True)
        pinned.copy_(result, non_blocking=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record()
        return _Queued(pinned, done)

    def _finish(
        self, part: slice, queued: _Queued, hu: NDArray[np.float32], padding: NDArray[np.bool_]
    ) -> Iterator[NDArray[np.float32]]:
        if queued.done is not None:
            queued.done.synchronize()  # this batch alone: the next one is being worked on
        for image, before, pad in zip(queued.result[:, 0].numpy(), hu[part], padding[part], strict=True):
            yield np.where(pad, before, image).astype(np.float32)

    def _most(self, shape: tuple[int, ...]) -> int:
        free, _total = torch.cuda.mem_get_info(self.device)
        return max(1, int(_SHARE_OF_MEMORY * free / (4 * _MAPS_AT_ONCE * shape[0] * shape[1])))
