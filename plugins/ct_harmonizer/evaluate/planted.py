"""Whether nodules are kept and none is made up. `python -m plugins.ct_harmonizer.evaluate.planted --phantoms 2`.

Kept contrast of a planted nodule: `<D_h, D_t> / <D_t, D_t>`, summed over the voxels round it that lie nearer to no other nodule. D_h is the harmonized image with
nodules minus the one without, of the same patient with the same noise; D_t is the difference of the truths. 1 is all of it, 0 is an erased nodule.
A false nodule: the largest response, in lung away from vessels, of `<R, B> / <B, B>` over the places of B, with R what is harmonized minus the truth where no nodule
is, and B a ball of 4 mm of solid tissue in lung: 1 is a whole nodule that is not there.

A method is held against the truth as its target shows it: the network's has no blur, the filter's that of Br40, which truth and ball are given too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from plugins.ct_harmonizer.evaluate import acquire, methods
from plugins.ct_harmonizer.evaluate.each import command
from plugins.ct_harmonizer.evaluate.methods import Method, Rendered
from plugins.ct_harmonizer.mtf import FREQUENCY_PER_MM
from plugins.ct_harmonizer.physics.filter import Gain, apply
from plugins.ct_harmonizer.physics.kernels import TARGETS
from plugins.ct_harmonizer.simulate.phantom.patient import Lesion, Patient, random_patient
from plugins.ct_harmonizer.simulate.renditions import by_name
from plugins.ct_harmonizer.weights import shipped

RENDITIONS = ("Force Br40 100 mAs", "Force Br49 20 mAs", "Force Br59 20 mAs", "GE-like STANDARD")
NODULES = (  # from the head down: the largest in the middle of the stack, where they are whole
    Lesion(4.0, "solid", "smooth"),
    Lesion(6.0, "ground-glass", "smooth"),
    Lesion(10.0, "solid", "smooth"),
    Lesion(10.0, "ground-glass", "smooth"),
    Lesion(6.0, "solid", "smooth"),
    Lesion(4.0, "ground-glass", "smooth"),
)
SLICES = 14
MUST_KEEP, MUST_SHARE = 0.9, 0.99  # of a nodule's contrast, in that share of the nodules
BALL_MM, LUNG_HU, SOLID_HU = 4.0, -850.0, 40.0
AWAY_MM = 3.0  # of a ball's centre from all that is no lung: the ball and a millimetre more
_BLUR_MM = 3.0  # how far round a ball its blur is looked at
_FINER = 8  # points along each side of a voxel at which a ball's share is taken

Volume = NDArray[np.floating]
Spacing = tuple[float, float, float]
Placed = tuple[tuple[float, float, float], float]  # centre (slice, row, column) in voxels, diameter in mm


@dataclass(frozen=True, slots=True)
class Judged:
    """A method, what its images are blurred by before they are looked at, and the blur that its target then has."""

    method: Method
    read: Gain | None
    target: Gain | None


@dataclass(frozen=True, slots=True)
class Finding:
    """One image by one method."""

    phantom: int
    rendition: str
    method: str
    kept: tuple[float, ...]  # contrast of each of NODULES
    false: float  # the largest response


def judged() -> dict[str, Judged]:
    """The methods by name. The network stands twice: as it is, and blurred to Br40 afterwards, which asks after contrast and not after fine edges."""
    soft = Gain(FREQUENCY_PER_MM, TARGETS[methods.TARGET].mtf(FREQUENCY_PER_MM))
    network = methods.network(shipped())
    return {
        "identity": Judged(methods.identity, None, None),
        "Eq. 2 filter": Judged(methods.linear, None, soft),
        "network": Judged(network, None, None),
        "network, read at Br40": Judged(network, soft, soft),
    }


def seen(volume: Volume, target: Gain | None, spacing_mm: Spacing) -> NDArray[np.float32]:
    """A volume (slice, row, column) with a target's blur in the plane."""
    if target is None:
        return np.asarray(volume, np.float32)
    clear = np.zeros(volume.shape[1:], bool)
    return np.stack([apply(flat.astype(np.float32), clear, target, spacing_mm[1:]) for flat in volume])


def kept(harmonized: Volume, truth: Volume, nodules: Sequence[Placed], spacing_mm: Spacing) -> tuple[float, ...]:
    """Kept contrast of each nodule, from differences with minus without nodules, (slice, row, column) in HU.

    Raises:
        ValueError: a nodule changes nothing in the truth.
    """
    return tuple(_share(harmonized[own], truth[own]) for own in regions(truth.shape, nodules, spacing_mm))


def _share(found: Volume, true: Volume) -> float:
    whole = float(np.sum(true.astype(np.float64) ** 2))
    if whole <= 0:
        raise ValueError("a nodule changes nothing in the truth: expected one within the slices and the lung")
    return float(np.sum(found.astype(np.float64) * true)) / whole


def regions(shape: tuple[int, ...], nodules: Sequence[Placed], spacing_mm: Spacing) -> list[NDArray[np.bool_]]:
    """For each nodule the voxels within 1.5 radii and 2 mm of its centre whose nearest nodule's surface it is."""
    beyond = []
    for centre, diameter in nodules:
        squares = [((np.arange(n) - at) * step) ** 2 for n, at, step in zip(shape, centre, spacing_mm, strict=True)]
        distance = np.sqrt(squares[0][:, None, None] + squares[1][:, None] + squares[2])
        beyond.append((distance - diameter / 2).astype(np.float32))
    nearest = np.argmin(beyond, axis=0)
    return [
        (nearest == order) & (own <= diameter / 4 + 2)
        for order, (own, (_, diameter)) in enumerate(zip(beyond, nodules, strict=True))
    ]


def ball(target: Gain | None, spacing_mm: Spacing) -> NDArray[np.float32]:
    """HU that a ball of 4 mm adds to lung, (slice, row, column) with its centre in the middle, as the target shows it."""
    reach = (BALL_MM / 2, BALL_MM / 2 + _BLUR_MM, BALL_MM / 2 + _BLUR_MM)
    axes = []
    for step, far in zip(spacing_mm, reach, strict=True):
        half = int(np.ceil(far / step))
        points = (np.arange(2 * half + 1) * _FINER + np.arange(_FINER)[:, None] + 0.5) / _FINER - half - 0.5
        axes.append(points.T.ravel() * step)
    inside = axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2 <= (BALL_MM / 2) ** 2
    counts = [len(axis) // _FINER for axis in axes]
    share = inside.reshape(counts[0], _FINER, counts[1], _FINER, counts[2], _FINER).mean(axis=(1, 3, 5))
    return seen((SOLID_HU - LUNG_HU) * share, target, spacing_mm)


def largest_false(residual: Volume, places: NDArray[np.bool_], template: Volume) -> float:
    """The largest response to the template of what should be nothing, over places (slice, row, column), as a share of a real one.

    Raises:
        ValueError: there is no place.
    """
    if not places.any():
        raise ValueError("no place in the lung is away from vessels: expected more slices or a larger matrix")
    flipped = template[::-1, ::-1, ::-1].astype(np.float64)
    response = signal.oaconvolve(residual.astype(np.float64), flipped, mode="same") / np.sum(flipped**2)
    return float(response[places].max())


def away(lungs: NDArray[np.bool_], spacing_mm: Spacing) -> NDArray[np.bool_]:
    """Lung (slice, row, column) that lies so far from all else that a ball is in lung alone; not the first slice nor the last."""
    far = ndimage.distance_transform_edt(lungs, spacing_mm) > AWAY_MM
    far[[0, -1]] = False
    return np.asarray(far)


def findings(
    phantom: int,
    patient: Patient | None = None,
    compared: dict[str, Judged] | None = None,
    slices: int = SLICES,
    matrix: int = 512,
) -> list[Finding]:
    """All renditions of one patient, a random one unless given, by all methods unless given."""
    pair = acquire.twins(patient or random_patient(phantom), NODULES, slices, matrix)
    plain, spacing = pair.plain, pair.plain.spacing_mm
    places, made = away(plain.lungs, spacing), []
    for name in RENDITIONS:
        rendition = by_name(name).at(thickness_mm=acquire.NODULE_STEP_MM)
        mtf = rendition.mtf(FREQUENCY_PER_MM, plain.skin_mm)
        images = [Rendered(hu, spacing, FREQUENCY_PER_MM, mtf, plain.lungs) for hu in pair.take(rendition)]
        harmonized: dict[Method, list[NDArray[np.float32]]] = {}
        for called, one in (compared or judged()).items():
            if one.method not in harmonized:
                harmonized[one.method] = [one.method(image) for image in images]
            with_nodules, without = (seen(hu, one.read, spacing) for hu in harmonized[one.method])
            truth, empty = (seen(case.truth_hu, one.target, spacing) for case in (pair.planted, plain))
            contrasts = kept(with_nodules - without, truth - empty, pair.planted.nodules, spacing)
            false = largest_false(without - empty, places, ball(one.target, spacing))
            made.append(Finding(phantom, name, called, contrasts, false))
    return made


def table(found: Sequence[Finding]) -> str:
    """A line a method and rendition: mean kept contrast by kind of nodule, how many are kept, the largest false nodule; Markdown."""
    kinds = sorted(NODULES, key=lambda lesion: (lesion.density != "solid", lesion.diameter_mm))
    titles = [f"{lesion.diameter_mm:g} mm {lesion.density}" for lesion in kinds]
    lines = [
        f"| method | rendition | {' | '.join(titles)} | least | at 0.9 or more | 99 % are | false, largest |",
        "| --- " * (len(titles) + 6) + "|",
    ]
    for method, rendition in product(
        *(dict.fromkeys(getattr(one, of) for one in found) for of in ("method", "rendition"))
    ):
        own = [one for one in found if (one.method, one.rendition) == (method, rendition)]
        contrast = np.array([one.kept for one in own])
        means = " | ".join(f"{contrast[:, NODULES.index(lesion)].mean():.2f}" for lesion in kinds)
        share = float((contrast >= MUST_KEEP).mean())
        lines.append(
            f"| {method} | {rendition} | {means} | {contrast.min():.2f} | {round(share * contrast.size)} of {contrast.size}"
            f" | {'pass' if share >= MUST_SHARE else 'FAIL'} | {max(one.false for one in own):.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    command(
        "python -m plugins.ct_harmonizer.evaluate.planted",
        __doc__,
        940_001,
        findings,
        told=lambda own: f"{own[0].phantom}: done",
        table=table,
    )


if __name__ == "__main__":
    main()
