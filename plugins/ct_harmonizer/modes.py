"""The two ways to harmonize: the paper's network, and its Eq. 2 as a filter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plugins.ct_harmonizer.mtf import FREQUENCY_PER_MM
from plugins.ct_harmonizer.physics.anchor import anchored
from plugins.ct_harmonizer.physics.clipping import floor_of
from plugins.ct_harmonizer.physics.filter import Gain, apply, gain_towards
from plugins.ct_harmonizer.physics.kernels import Kernel
from plugins.ct_harmonizer.weights import Weights

if TYPE_CHECKING:
    from plugins.ct_harmonizer.infer import Harmonizer

Slices = Callable[
    [NDArray[np.float32], NDArray[np.bool_], tuple[float, float]], Iterator[NDArray[np.float32]]
]  # of HU (slice, row, column), what is unknown of it, and pixels in mm

_SKIN = "skin"


@dataclass(frozen=True, slots=True)
class Mode:
    """A way to harmonize one series."""

    slices: Slices
    description: str  # for Derivation Description (0008,2111)
    fingerprint: str  # of what decides the pixels beside the parameters
    target: str  # in a word
    title: str  # of the target, in pictures
    source_mtf: NDArray[np.float64]  # at FREQUENCY_PER_MM, where the target is defined
    target_mtf: NDArray[np.float64]
    gain: Gain | None  # what the slices' frequencies are multiplied by, where that is known
    blur: Gain | None  # what the source's blur did to what the slices show, where that is known
    sharpens: bool
    smooths: bool


def classical(
    data: Mapping[str, Any], kernel: Kernel, skin_share: float, *, max_gain: float, noise_to_signal: float
) -> Mode:
    """Eq. 2 towards a kernel. `data` is the measurement's; the kernel is defined at the isocentre, so the source is taken there."""
    source = _at_isocentre(data, skin_share)
    target = kernel.mtf(FREQUENCY_PER_MM)
    gain = gain_towards(target, source, FREQUENCY_PER_MM, max_gain=max_gain, noise_to_signal=noise_to_signal)

    def slices(
        hu: NDArray[np.float32], unknown: NDArray[np.bool_], pixel_mm: tuple[float, float]
    ) -> Iterator[NDArray[np.float32]]:
        for image, missing in zip(hu, unknown, strict=True):
            yield apply(image, missing, gain, pixel_mm)

    heard = source > 0.1
    where = f" f50 at isocentre taken as {data['f50_per_mm'] / skin_share:.3f} /mm" if data["source"] == _SKIN else ""
    return Mode(
        slices,
        f"Resolution harmonized by a regularised linear filter, MTF target over MTF source (Zarei 2024, Eq. 2), gain at most {max_gain:g}."
        f" {_origin(data)}{';' if where else ''}{where}. Target {kernel.name}: f50 {kernel.f50_per_mm:.3f} /mm, f10 {kernel.f10_per_mm:.3f} /mm.",
        "",
        kernel.name,
        f"{kernel.name}, f50 {kernel.f50_per_mm:.2f} /mm",
        source,
        target,
        gain,
        None,
        sharpens=bool((gain.gain[heard] > 1.02).any()),
        smooths=bool((gain.gain[heard] < 0.98).any()),
    )


def network(data: Mapping[str, Any], skin_share: float, weights: Weights) -> Mode:
    """The physics-informed network, given the MTF at the skin, as it was trained; towards the patient without blur and noise."""
    source = at_skin(data, skin_share)
    blur = Gain(FREQUENCY_PER_MM, source)

    def slices(
        hu: NDArray[np.float32], unknown: NDArray[np.bool_], pixel_mm: tuple[float, float]
    ) -> Iterator[NDArray[np.float32]]:
        floor_hu = floor_of(hu, unknown)
        made = harmonizer(weights.paths).slices(
            hu, unknown, frequency_per_mm=FREQUENCY_PER_MM, mtf=source, pixel_mm=pixel_mm
        )
        for before, after, missing in zip(hu, made, unknown, strict=True):
            yield anchored(before, after, missing, blur=blur, floor_hu=floor_hu, pixel_mm=pixel_mm)

    provisional = " The weights are PROVISIONAL: a small network trained on a processor." if weights.provisional else ""
    return Mode(
        slices,
        "Resolution and noise harmonized by a physics-informed deep neural network (Zarei et al., IEEE TBME 2024) trained on virtual scans,"
        f" weights {weights.name}.{provisional} {_origin(data)}. Target: the patient's attenuation at 120 kVp without blur and noise.",
        weights.sha256,
        "network",
        "no blur, no noise",
        source,
        np.ones_like(FREQUENCY_PER_MM),
        None,
        blur,
        sharpens=True,
        smooths=True,
    )


@cache
def harmonizer(paths: tuple[Path, ...]) -> Harmonizer:
    """Weights are read once a process; torch is imported where a network is asked for."""
    from plugins.ct_harmonizer.infer import Harmonizer

    return Harmonizer.load(paths)


def _at_isocentre(data: Mapping[str, Any], skin_share: float) -> NDArray[np.float64]:
    """The source's curve at the isocentre: the skin's with its frequencies stretched by 1 / skin_share."""
    mtf = np.array(data["curve"]["mtf"])
    return mtf if data["source"] != _SKIN else _stretched(mtf, 1 / skin_share)


def at_skin(data: Mapping[str, Any], skin_share: float) -> NDArray[np.float64]:
    """The source's curve at the skin: a kernel table's, of the isocentre, with its frequencies shrunk by skin_share."""
    mtf = np.array(data["curve"]["mtf"])
    return mtf if data["source"] == _SKIN else _stretched(mtf, skin_share)


def _stretched(mtf: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """The curve whose every frequency is `factor` times as high; what would come from beyond the last is the last."""
    return np.asarray(np.interp(FREQUENCY_PER_MM / factor, FREQUENCY_PER_MM, mtf))


def _origin(data: Mapping[str, Any]) -> str:
    if data["source"] == _SKIN:
        return f"MTF measured at the skin on {data['segments_accepted']} of {data['segments_seen']} segments"
    return f"MTF not measured but taken from the {data['source']}, since: {_short(str(data['distrust']))}"


def _short(text: str) -> str:
    """A reason without what it goes on to list: a header's text is of 1024 characters."""
    return text if len(text) <= 200 else f"{text[:197]}..."
