"""What is compared: each method turns an image that is not harmonized, with its MTF, into one that is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plugins.ct_harmonizer import modes
from plugins.ct_harmonizer.evaluate import bands
from plugins.ct_harmonizer.mtf import FREQUENCY_PER_MM
from plugins.ct_harmonizer.physics.filter import apply, gain_towards
from plugins.ct_harmonizer.physics.kernels import TARGETS
from plugins.ct_harmonizer.weights import PLAIN_FOLDER, Weights, shipped

TARGET = "Br40"
UNET = "U-Net"
SKIN_SHARE, MAX_GAIN, NOISE_TO_SIGNAL = 0.7, 2.0, 0.02  # as the plugin's defaults


@dataclass(frozen=True, slots=True)
class Rendered:
    """An image as a method gets it."""

    hu: NDArray[np.float32]  # (slice, row, column)
    spacing_mm: tuple[float, float, float]
    frequency_per_mm: NDArray[np.float64]
    mtf: NDArray[np.float64]  # at the skin
    lungs: NDArray[np.bool_]


Method = Callable[[Rendered], NDArray[np.float32]]


def identity(image: Rendered) -> NDArray[np.float32]:
    """Not harmonized."""
    return image.hu


def linear(image: Rendered) -> NDArray[np.float32]:
    """Eq. 2 as a regularised filter towards Br40, with the defaults of the plugin's classical mode."""
    frequency = image.frequency_per_mm
    gain = gain_towards(
        TARGETS[TARGET].mtf(frequency),
        np.interp(frequency * SKIN_SHARE, frequency, image.mtf),
        frequency,
        max_gain=MAX_GAIN,
        noise_to_signal=NOISE_TO_SIGNAL,
    )
    clear = np.zeros(image.hu.shape[1:], bool)
    return np.stack([apply(flat, clear, gain, image.spacing_mm[1:]) for flat in image.hu])


def network(weights: Weights) -> Method:
    """A network, anchored, as the plugin's network mode."""

    def harmonized(image: Rendered) -> NDArray[np.float32]:
        data = {"source": "skin", "segments_accepted": 0, "segments_seen": 0, "curve": {"mtf": _given(image)}}
        made = modes.network(data, SKIN_SHARE, weights).slices(
            image.hu, np.zeros(image.hu.shape, bool), image.spacing_mm[1:]
        )
        return np.stack(list(made))

    return harmonized


def alone(weights: Weights) -> Method:
    """A network and nothing after it; of the U-Net, no physics at all."""

    def harmonized(image: Rendered) -> NDArray[np.float32]:
        made = modes.harmonizer(weights.paths).slices(
            image.hu,
            np.zeros(image.hu.shape, bool),
            frequency_per_mm=FREQUENCY_PER_MM,
            mtf=_given(image),
            pixel_mm=image.spacing_mm[1:],
        )
        return np.stack(list(made))

    return harmonized


def _given(image: Rendered) -> NDArray[np.float64]:
    """The image's MTF at the frequencies that measurements have."""
    return np.interp(FREQUENCY_PER_MM, image.frequency_per_mm, image.mtf)


def band_energy(reference: bands.Reference) -> Method:
    """Band energies brought to the reference's."""

    def normalized(image: Rendered) -> NDArray[np.float32]:
        return bands.normalize(image.hu, image.lungs, image.spacing_mm[1:], reference)

    return normalized


def named(reference: bands.Reference, weights: Weights) -> dict[str, Method]:
    """All methods by the names that reports call them. Both networks stand with the anchor and without, since it knows the MTF too."""
    plain = shipped(PLAIN_FOLDER)
    return {
        "identity": identity,
        "Eq. 2 filter": linear,
        "band energy": band_energy(reference),
        UNET: alone(plain),
        f"{UNET}, anchored": network(plain),
        "network, not anchored": alone(weights),
        "network": network(weights),
    }
