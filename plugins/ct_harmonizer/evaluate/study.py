"""Phantoms x renditions x methods, a row each, kept as lines of JSON so that a study that was stopped goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from plugins.ct_harmonizer.evaluate import acquire, bands
from plugins.ct_harmonizer.evaluate.density import density, density_error
from plugins.ct_harmonizer.evaluate.detectability import d_prime, disc, noise_power, transfer
from plugins.ct_harmonizer.evaluate.each import each
from plugins.ct_harmonizer.evaluate.image import image_error
from plugins.ct_harmonizer.evaluate.methods import Method, Rendered, named
from plugins.ct_harmonizer.evaluate.nodule import measure_nodule
from plugins.ct_harmonizer.evaluate.provenance import commit
from plugins.ct_harmonizer.evaluate.resolution import resolution
from plugins.ct_harmonizer.mtf import FREQUENCY_PER_MM
from plugins.ct_harmonizer.physics.filter import Gain, apply
from plugins.ct_harmonizer.simulate.phantom.patient import random_patient
from plugins.ct_harmonizer.simulate.renditions import Rendition, all_named, by_name
from plugins.ct_harmonizer.weights import FOLDER, PLAIN_FOLDER, shipped

REFERENCE_SEED, REFERENCE_PHANTOMS = 700_001, 4  # phantoms whose truth band energies are brought to
NODULE_MM = (6.0, 10.0)  # between these
_NODULE_RENDITIONS = ("Force Br32 100 mAs", "Force Br49 20 mAs", "Force Br59 100 mAs", "Force Qr49 20 mAs")
_AXIS = np.linspace(0.0, 0.5, 101)  # frequencies in cycles/mm at which d' is summed

Row = dict[str, Any]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is studied. The same plan gives the same rows."""

    phantoms: int = 8
    seed: int = 910_001  # of the first phantom; the network's weights were chosen on 900001 to 900003
    slices: int = 2
    matrix: int = 512
    nodules: bool = True
    weights: Path = FOLDER  # of the network

    @property
    def command(self) -> str:
        """What makes this study again."""
        words = f"--phantoms {self.phantoms} --seed {self.seed} --slices {self.slices} --matrix {self.matrix}"
        own = "" if self.weights == FOLDER else f" --weights {self.weights}"
        return (
            f"python -m plugins.ct_harmonizer.evaluate {words}{'' if self.nodules else ' --no-nodules'}{own} --out DIR"
        )

    def renditions(self) -> tuple[Rendition, ...]:
        """The paper's 32, other scanners', and kernels that nothing was trained on."""
        return all_named()


def run(plan: Plan, folder: Path, jobs: int, progress: Progress) -> list[Row]:
    """All rows of the plan. `folder` gets a file of lines a phantom; what it holds is not measured again. `progress` is told phantoms done, of how many.

    Raises:
        ValueError: the folder holds rows of other slices, matrix, nodules or weights; other phantoms may be in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    networks = [shipped(own).sha256[:12] for own in (plan.weights, PLAIN_FOLDER)]
    head = json.dumps({"slices": plan.slices, "matrix": plan.matrix, "nodules": plan.nodules, "weights": networks})
    told = folder / "plan.json"
    if told.exists() and told.read_text() != head:
        raise ValueError(f"{folder} holds rows of {told.read_text()}, not of {head}; choose another folder")
    told.write_text(head)
    seeds = range(plan.seed, plan.seed + plan.phantoms)
    rows: list[Row] = []
    progress(0, plan.phantoms)
    for done, own in enumerate(each(partial(_phantom, plan, reference(plan.matrix), folder), seeds, jobs)):
        rows += own
        progress(done + 1, plan.phantoms)
    return rows


def reference(matrix: int) -> bands.Reference:
    """Band energies of the truth of phantoms that are studied nowhere."""
    cases = (acquire.chest(random_patient(REFERENCE_SEED + n), 2, matrix) for n in range(REFERENCE_PHANTOMS))
    return bands.learn((case.truth_hu, case.lungs, case.spacing_mm[1:]) for case in cases)


def _phantom(plan: Plan, reference: bands.Reference, folder: Path, phantom: int) -> list[Row]:
    """All rows of one phantom, an image's rows written at a time."""
    rows_file = folder / f"{phantom}.jsonl"
    rows = _kept(rows_file)
    compared = named(reference, shipped(plan.weights))
    images = {(row["kind"], row["rendition"]) for row in rows}
    with rows_file.open("a") as lines:
        for kind, renditions in _jobs(plan):
            missing = [rendition for rendition in renditions if (kind, rendition.name) not in images]
            if not missing:
                continue
            case = _case(kind, phantom, plan)
            taker = acquire.Taker(case)
            for rendition in missing:
                hu = taker.take(rendition)
                made = _rows(kind, case, hu, rendition, compared)
                if kind == "nodule":  # the one kind whose slices lie side by side
                    made.append(_resolution(case, hu, rendition))
                lines.write(json.dumps(made) + "\n")
                lines.flush()
                rows += made
    return rows


def _kept(rows_file: Path) -> list[Row]:
    """Rows of whole lines; a line that was cut short is taken off."""
    if not rows_file.exists():
        return []
    whole = rows_file.read_text()
    end = whole.rfind("\n") + 1
    if end < len(whole):
        rows_file.write_text(whole[:end])
    return [row for line in whole[:end].splitlines() for row in json.loads(line)]


def _jobs(plan: Plan) -> Iterator[tuple[str, tuple[Rendition, ...]]]:
    yield "chest", plan.renditions()
    if plan.nodules:
        yield "nodule", tuple(by_name(name).at(thickness_mm=acquire.NODULE_STEP_MM) for name in _NODULE_RENDITIONS)


def _case(kind: str, phantom: int, plan: Plan) -> acquire.Case:
    patient = random_patient(phantom)
    if kind == "chest":
        return acquire.chest(patient, plan.slices, plan.matrix)
    return acquire.nodule(patient, float(np.random.default_rng(phantom).uniform(*NODULE_MM)), plan.matrix)


def _rows(
    kind: str, case: acquire.Case, hu: NDArray[np.float32], rendition: Rendition, compared: Mapping[str, Method]
) -> list[Row]:
    image = Rendered(hu, case.spacing_mm, FREQUENCY_PER_MM, rendition.mtf(FREQUENCY_PER_MM, case.skin_mm), case.lungs)
    measure = _chest if kind == "chest" else _nodule
    heading = _heading(kind, case, rendition)
    return [{**heading, "method": name, **measure(case, method(image))} for name, method in compared.items()]


def _heading(kind: str, case: acquire.Case, rendition: Rendition) -> Row:
    return {
        "kind": kind,
        "phantom": case.phantom,
        "rendition": rendition.name,
        "kernel": rendition.kernel.name,
        "strength": rendition.strength,
        "mas": rendition.scanner.tube_current_time_mas,
        "commit": commit(),
    }


def _resolution(case: acquire.Case, hu: NDArray[np.float32], rendition: Rendition) -> Row:
    found = resolution(hu, case.spacing_mm, rendition, case.skin_mm)
    return {**_heading("resolution", case, rendition), "method": None, **asdict(found)}


def _chest(case: acquire.Case, made: NDArray[np.float32]) -> Row:
    found, true = (density(hu, case.lungs, case.spacing_mm) for hu in (made, case.truth_hu))
    pixel = case.spacing_mm[1:]
    seen = transfer(made, case.truth_hu, pixel, _AXIS)
    gain, clear = Gain(_AXIS, np.maximum(seen, 0.0)), np.zeros(made.shape[1:], bool)
    shown = np.stack([apply(flat, clear, gain, pixel) for flat in case.truth_hu])
    around = ndimage.binary_closing(case.lungs, np.ones((1, 5, 5), bool))  # vessels too
    noise = noise_power(made - shown, around, pixel, _AXIS)
    return {
        **asdict(image_error(made, case.truth_hu)),
        **asdict(found),
        **{f"true_{name}": value for name, value in asdict(true).items()},
        **{f"error_{name}": value for name, value in asdict(density_error(found, true)).items()},
        "d_prime": None if noise is None else float(d_prime(_AXIS, disc(_AXIS), seen, noise)),
    }


def _nodule(case: acquire.Case, made: NDArray[np.float32]) -> Row:
    (centre, diameter), *_ = case.nodules
    shapes = [measure_nodule(hu, centre, diameter, case.spacing_mm) for hu in (made, case.truth_hu)]
    row: Row = {"diameter_mm": diameter}
    for name, one in zip(("", "true_"), shapes, strict=True):
        row |= {
            f"{name}volume_mm3": None if one is None else one.volume_mm3,
            f"{name}area_per_volume": None if one is None else one.area_per_volume,
            f"{name}sphericity": None if one is None else one.sphericity,
        }
    return row


def of(rows: Sequence[Row], kind: str, method: str) -> list[Row]:
    """Rows of one kind and method."""
    return [row for row in rows if row["kind"] == kind and row["method"] == method]
