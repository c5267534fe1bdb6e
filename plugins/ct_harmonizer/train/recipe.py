"""What is minimised, and how."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Recipe:
    """The defaults are the paper's (Zarei et al. 2024, section II-C)."""

    huber: float = 1000.0
    huber_delta: float = 0.5  # in normalised units, 1024 HU
    texture: float = 50.0  # needs ImageNet features: left out where there are none
    adversarial: float = 1.0
    penalty: float = 10.0  # of the critic's gradient
    critic_rate: float = 1e-4
    lung: float = 0.0  # how much more a voxel of lung counts than another
    batch: int = 16
    crop: int = 512  # pixels along a side
    rate: float = 1e-4  # lowest learning rate of a cycle
    rate_top: float = 4e-4
    cycle: int = 2000  # steps from the lowest rate to the top and back
    gradient_norm: float = 1.0  # gradients are scaled down to it
    ema: float = 0.999
    noise_hu: float = 10.0  # added to the input, at most
    jitter_hu: float = 4.0  # of the input's level, at most
    jitter_gain: float = 0.005  # of the input's contrast, at most
    mtf_stretch: float = 0.04  # standard deviation of the MTF's frequencies, as a share: how well it is measured
    mtf_noise: float = 0.01  # standard deviation of smooth deviations of the MTF


PAPER = Recipe()
# Trials found no gain in the adversary, and there is no time for it on a processor. Lungs count more: they are what is measured.
PROCESSOR = replace(
    PAPER, texture=0.0, adversarial=0.0, lung=4.0, batch=2, crop=256, rate=2e-4, rate_top=1.5e-3, cycle=6000, ema=0.998
)
RECIPES = {"paper": PAPER, "huber": replace(PAPER, texture=0.0, adversarial=0.0), "processor": PROCESSOR}
