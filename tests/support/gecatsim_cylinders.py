"""What gecatsim makes of two cylinders, as gecatsim_cylinders.json holds it: `PYTHONPATH=. python tests/support/gecatsim_cylinders.py` writes it anew.

gecatsim (XCIST, BSD-3; `pip install tqdm` and `pip install --no-deps gecatsim==1.5.4`) shares no code with the virtual scanner: fan beam, rays through
analytic objects, its own spectrum, cross sections, detector, noise and beam-hardening correction. Its fan is sorted into parallel views, so that one kernel
serves both: kernels differ more than physics does. It takes 15 s.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RECORD = Path(__file__).with_name("gecatsim_cylinders.json")
VIEWS, COLUMNS, PITCH_MM = 1000, 720, 0.5  # the pitch is that at the isocentre
SOURCE_MM, DETECTOR_MM = 595.0, 1085.6
MAS = 20.0
RADIUS_MM = {"lung": 40.0, "adipose": 15.0, "muscle": 15.0, "bone": 10.0}
CENTRE_MM = {"lung": (-60.0, 10.0), "adipose": (60.0, 70.0), "muscle": (70.0, -60.0), "bone": (10.0, -90.0)}
MATERIAL = {
    "water": ("water", 1.0),
    "lung": ("water", 0.15),  # relative to the material's own density
    "adipose": ("ICRU_adipose_adult2", 1.0),
    "muscle": ("ICRU_muscle_adult", 1.0),
    "bone": ("ICRU_skeleton_cortical_bone_adult", 1.0),
}


def simulate() -> dict[str, dict[str, float]]:
    """Scan with gecatsim a 30 cm cylinder of water with inserts, without noise, and a 20 cm one at 20 mAs and 1 mm, with noise."""
    inserts = {name: (RADIUS_MM[name], CENTRE_MM[name]) for name in RADIUS_MM}
    np.random.seed(1)  # noqa: NPY002 - what gecatsim draws from
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        with_inserts = _scan({"water": (150.0, (0.0, 0.0)), **inserts}, noise=False)
        noisy = _scan({"water": (100.0, (0.0, 0.0))}, noise=True)
    return {"hu_at_68_kev": _hu_at(68.0), **read(with_inserts, noisy)}


def read(with_inserts: NDArray[np.float32], noisy: NDArray[np.float32]) -> dict[str, dict[str, float]]:
    """HU of each material and noise in HU by kernel, from (view, bin) mm of water over half a turn."""
    import torch

    from plugins.ct_harmonizer.simulate.kernels import SHARP, SOFT
    from plugins.ct_harmonizer.simulate.polar import Grid
    from plugins.ct_harmonizer.simulate.reconstruct import reconstruct
    from plugins.ct_harmonizer.simulate.scanner import Scanner

    scanner, image = Scanner(views=len(noisy), bins=COLUMNS, pitch_mm=PITCH_MM), Grid(384, 0.977)
    across = (torch.arange(image.size) - image.size // 2) * image.pixel_mm

    def within(radius_mm: float, x_mm: float = 0.0, y_mm: float = 0.0) -> torch.Tensor:
        return torch.hypot(across[None, :] - x_mm, across[:, None] - y_mm) < radius_mm

    lines = torch.from_numpy(np.stack([with_inserts, noisy]))
    soft, sharp = (reconstruct(lines, scanner, kernel, image) for kernel in (SOFT, SHARP))
    hu = {name: float(soft[0][within(RADIUS_MM[name] - 5, *CENTRE_MM[name])].mean()) for name in RADIUS_MM}
    hu["water"] = float(soft[0][within(25.0, -20.0, 90.0)].mean())
    noise = {kernel.name: float(made[1][within(50.0)].std()) for kernel, made in ((SOFT, soft), (SHARP, sharp))}
    return {"hu": hu, "noise_hu": noise}


def _hu_at(energy_kev: float) -> dict[str, float]:
    """What a phantom would say of each material, by gecatsim's own cross sections."""
    from gecatsim.pyfiles.GetMu import GetMu

    water = float(np.ravel(GetMu("water", energy_kev))[0])
    return {
        name: 1000 * (share * float(np.ravel(GetMu(material, energy_kev))[0]) / water - 1)
        for name, (material, share) in MATERIAL.items()
    }


def _scan(objects: dict[str, tuple[float, tuple[float, float]]], *, noise: bool) -> NDArray[np.float32]:
    """(view, bin) mm of water over half a turn, sorted into parallel views."""
    import gecatsim as xc

    Path("phantom.ppm").write_text(_phantom(objects))
    ct = xc.CatSim()
    ct.resultsName = "scan"
    ct.phantom.callback, ct.phantom.projectorCallback = "Phantom_Analytic", "C_Projector_Analytic"
    ct.phantom.filename = str(Path("phantom.ppm").resolve())
    ct.phantom.projectorNumThreads = 1
    ct.scanner.sid, ct.scanner.sdd = SOURCE_MM, DETECTOR_MM
    magnified = DETECTOR_MM / SOURCE_MM
    ct.scanner.detectorRowsPerMod = ct.scanner.detectorRowCount = 1
    ct.scanner.detectorColCount, ct.scanner.detectorColSize = COLUMNS, PITCH_MM * magnified
    ct.scanner.detectorRowSize, ct.scanner.detectorColOffset = 1.0 * magnified, -0.5  # a bin on the central ray
    ct.scanner.detectorMaterial, ct.scanner.detectorDepth = "GOS", 1.4
    ct.scanner.focalspotWidth, ct.scanner.focalspotLength = 0.5, 0.5
    ct.protocol.viewsPerRotation = ct.protocol.viewCount = VIEWS
    ct.protocol.stopViewId = VIEWS - 1
    ct.protocol.mA, ct.protocol.rotationTime, ct.protocol.bowtie = MAS, 1.0, []
    ct.physics.enableQuantumNoise = ct.physics.enableElectronicNoise = int(noise)
    ct.physics.viewSampleCount = ct.physics.srcXSampleCount = ct.physics.srcYSampleCount = ct.physics.rowSampleCount = 1
    ct.physics.colSampleCount = 1 if noise else 2
    ct.physics.callback_post_log = "Prep_BHC_Accurate"
    ct.physics.EffectiveMu, ct.physics.BHC_poly_order = 0.2, 5  # 1/cm: line integrals over 0.02 are mm of water
    ct.physics.BHC_max_length_mm, ct.physics.BHC_length_step_mm = 320, 10
    ct.run_all()
    fan = xc.rawread("scan.prep", [VIEWS, COLUMNS], "float") / 0.02
    return _parallel(fan)


def _phantom(objects: dict[str, tuple[float, tuple[float, float]]]) -> str:
    """gecatsim's own format: cylinders, each of which takes the place of what was there."""
    lines = [f"materialList = {{{' '.join(repr(MATERIAL[name][0]) for name in objects)} }};", ""]
    for number, (name, (radius, (x, y))) in enumerate(objects.items(), 1):
        lines += [
            f"object.center({number},:) = [{x:f} {y:f} 0.000000];",
            f"object.half_axes({number},:) = [{radius:f} {radius:f} 100.000000];",
            f"object.euler_angs({number},:) = [0.000000 0.000000 0.000000];",
            f"object.density({number}) = {MATERIAL[name][1]:f};",
            f"object.type({number}) = 2;",
            f"object.material({number}) = {number};",
            f"object.axial_lims({number},:) = [0 0];",
            f"object.shape({number}) = 0;",
            f"object.clip{{{number}}} = [];",
            "",
        ]
    return "\n".join(lines)


def _parallel(fan: NDArray[np.float32]) -> NDArray[np.float32]:
    """A full turn of an equiangular fan as half a turn of parallel views.

    The nearest view is taken, so that every ray is used once and its noise stays; bins are interpolated by cubic splines; opposite rays are averaged.
    """
    from scipy.interpolate import CubicSpline

    gamma = (np.arange(COLUMNS) - COLUMNS // 2) * PITCH_MM / SOURCE_MM
    turned = np.round(gamma / (2 * np.pi / VIEWS)).astype(int)
    views = np.arange(VIEWS)
    by_angle = np.stack([fan[(views - turn) % VIEWS, column] for column, turn in enumerate(turned)], axis=1)
    wanted = (np.arange(COLUMNS) - COLUMNS // 2) * PITCH_MM
    even = CubicSpline(SOURCE_MM * np.sin(gamma), by_angle, axis=1)(wanted)
    opposite = np.roll(even[VIEWS // 2 :, ::-1], 1, axis=1)  # bin j lies where bin -j lay
    return np.asarray((even[: VIEWS // 2] + opposite) / 2, np.float32)


if __name__ == "__main__":
    RECORD.write_text(json.dumps(simulate(), indent=2) + "\n")
    sys.stdout.write(RECORD.read_text())
