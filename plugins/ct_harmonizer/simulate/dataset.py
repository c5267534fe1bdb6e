"""Examples to learn from: slices of random patients in random renditions, beside what was truly there.

A patient is drawn once, projected once, and exposed and reconstructed many times. `make` does it in memory; `Pool` keeps patients on the disk for machines
that simulate slower than they train.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count as count_from
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from plugins.ct_harmonizer.simulate import renditions
from plugins.ct_harmonizer.simulate.phantom.chest import build
from plugins.ct_harmonizer.simulate.phantom.patient import Patient, random_patient
from plugins.ct_harmonizer.simulate.polar import Grid
from plugins.ct_harmonizer.simulate.renditions import Rendition
from plugins.ct_harmonizer.simulate.scanner import expose, project
from plugins.ct_harmonizer.simulate.series import Integrate
from plugins.ct_harmonizer.simulate.slices import Profile, cut

FREQUENCY_PER_MM: NDArray[np.float64] = np.linspace(0.0, 1.6, 81)
SKIN_MM = 150.0  # from the isocentre to the skin of the standard man, on average round the chest

_HEIGHTS_MM = (-110.0, 60.0)  # where lungs are, of the standard man
_HELICAL = 0.6  # of the patients
_TRUTH_STEP_HU = 0.125  # truth is stored in whole steps of this


@dataclass(frozen=True, slots=True)
class Shots:
    """Slices of one patient, true and in several renditions."""

    hu: NDArray[np.int16]  # (rendition, slice, row, column), as stored
    true_hu: NDArray[np.float32]  # (slice, row, column), integrated over the pixels, no blur but theirs, no noise
    lung: NDArray[np.bool_]  # (slice, row, column)
    mtf: NDArray[np.float32]  # (rendition, frequency) at the skin, at FREQUENCY_PER_MM
    pixel_mm: float
    thickness_mm: float
    names: tuple[str, ...]  # of the renditions

    def save(self, path: Path) -> None:
        """Write an npz beside the path and rename it, so that no half file is ever read."""
        draft = path.with_name(f".{path.stem}-{np.random.default_rng().integers(2**32):x}.npz")
        np.savez(
            draft,
            hu=self.hu,
            true_steps=np.round(self.true_hu / _TRUTH_STEP_HU).astype(np.int16),
            lung=self.lung,
            mtf=self.mtf,
            geometry=np.array([self.pixel_mm, self.thickness_mm]),
            names=np.array(self.names),
        )
        draft.rename(path)

    @classmethod
    def load(cls, path: Path) -> Shots:
        with np.load(path) as kept:
            pixel_mm, thickness_mm = kept["geometry"].tolist()
            return cls(
                kept["hu"],
                kept["true_steps"].astype(np.float32) * np.float32(_TRUTH_STEP_HU),
                kept["lung"],
                kept["mtf"],
                pixel_mm,
                thickness_mm,
                tuple(kept["names"].tolist()),
            )


def make(
    patient: Patient,
    chosen: Sequence[Rendition],
    image: Grid,
    z_mm: NDArray[np.float64],
    *,
    thickness_mm: float,
    seed: int,
    profile: Profile = "axial",
    detail: float = 1.0,
    device: torch.device | None = None,
) -> Shots:
    """Scan some slices of a patient in these renditions.

    Args:
        patient: who.
        chosen: how; all of as many views and as wide a detector.
        image: the geometry of the images.
        z_mm: (slice,) heights, two at least.
        thickness_mm: of the slices.
        seed: of the noise.
        profile: what a slice averages along the table.
        detail: share of the finest vessels, as `phantom.chest.build`.
        device: where to project and reconstruct.
    """
    device = device or torch.device("cpu")
    scanner = renditions.sharpest(chosen)
    drawn = renditions.drawn_on(scanner)
    slices = cut(z_mm, thickness_mm, drawn, profile)
    integrate = Integrate(drawn, image)
    fine = list(slices.of(build(slices.canvas, patient, detail, lambda _share: None)))
    truth = np.stack([integrate(one.hu + 1000).numpy() - 1000 for one in fine])
    lung = np.stack([integrate(one.lung).numpy() >= 0.5 for one in fine])
    volume = torch.stack([one.hu for one in fine]).to(device)
    paths = project(volume, drawn, scanner, drawn.pixel_mm)
    generator = torch.Generator(device).manual_seed(seed)
    images = []
    for rendition in chosen:
        taken = rendition.at(thickness_mm=thickness_mm)
        images.append(taken.render(expose(paths, taken.scanner), image, generator).to(torch.int16))
    mtf = [rendition.mtf(FREQUENCY_PER_MM, SKIN_MM * patient.size) for rendition in chosen]
    names = tuple(rendition.name for rendition in chosen)
    return Shots(
        torch.stack(images).cpu().numpy(),
        truth,
        lung,
        np.stack(mtf).astype(np.float32),
        image.pixel_mm,
        thickness_mm,
        names,
    )


@dataclass(frozen=True, slots=True)
class Session:
    """Who is scanned and how."""

    patient: Patient
    chosen: tuple[Rendition, ...]
    image: Grid
    z_mm: NDArray[np.float64]  # (slice,)
    thickness_mm: float
    profile: Profile


def random_session(seed: int, *, slices: int, count: int, matrix: int = 512) -> Session:
    """Any patient in `count` random renditions: field of view, centre, thickness and heights drawn too. The seed decides all."""
    rng = np.random.default_rng([seed, 11])
    patient = random_patient(seed)
    field_mm = float(rng.uniform(300, 480)) * max(patient.size, 0.95)
    image = Grid(matrix, field_mm / matrix, (float(rng.uniform(-15, 15)), float(rng.uniform(-15, 15))))
    low, high = _HEIGHTS_MM
    spacing = float(rng.uniform(8, (high - low) / slices))
    start = float(rng.uniform(low, high - spacing * (slices - 1)))
    z_mm = (start + spacing * np.arange(slices, dtype=np.float64)) * patient.size
    thickness = float(np.exp(rng.uniform(np.log(0.6), np.log(4.0))))
    chosen = tuple(renditions.random(rng) for _ in range(count))
    profile: Profile = "helical" if rng.random() < _HELICAL else "axial"
    return Session(patient, chosen, image, z_mm, thickness, profile)


def scan(session: Session, seed: int, device: torch.device | None = None) -> Shots:
    """The session's slices in its renditions; the seed is the noise's."""
    return make(
        session.patient,
        session.chosen,
        session.image,
        session.z_mm,
        thickness_mm=session.thickness_mm,
        seed=seed,
        profile=session.profile,
        device=device,
    )


class Pool:
    """Shots on the disk, one file a patient."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def growing(
        self,
        seeds: Sequence[int],
        *,
        first: int,
        slices: int,
        count: int,
        matrix: int,
        jobs: int,
        tell: Callable[[str], None],
    ) -> Iterator[None]:
        """Draw the patients that are not there yet on so many processes: the block begins when `first` are there, and the others are drawn beside it.

        At its end those that are not drawn yet are let go of; another time they are drawn. `tell` gets a line a patient, and one where a patient cannot be
        drawn; one of the first that cannot raises its error here.
        """
        for draft in self._folder.glob(".*.npz"):  # of a process that was killed
            draft.unlink(missing_ok=True)
        paths = {seed: self._folder / f"{seed:06d}.npz" for seed in seeds}
        missing = {seed: path for seed, path in paths.items() if not path.exists()}
        kept = len(paths) - len(missing)
        there = count_from(kept + 1)

        def told(path: Path) -> None:
            tell(f"{path.name}: {next(there)} of {len(paths)} patients")

        def failed(error: BaseException) -> None:
            tell(f"a patient could not be drawn: {error!r}")

        draw = partial(_draw, slices=slices, count=count, matrix=matrix)
        with get_context("spawn").Pool(jobs, initializer=torch.set_num_threads, initargs=(1,)) as processes:
            drawn = [processes.apply_async(draw, job, {}, told, failed) for job in missing.items()]
            for one in drawn[: max(first - kept, 0)]:
                one.get()
            yield

    def files(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("*.npz") if not path.name.startswith("."))


def _draw(seed: int, path: Path, *, slices: int, count: int, matrix: int) -> Path:
    scan(random_session(seed, slices=slices, count=count, matrix=matrix), seed).save(path)
    return path
