"""Scan a virtual chest, the truth beside it.

`--out chest.npz` writes pixels and truth into one file; any other `--out` is a folder that becomes a DICOM series, its truth in a file of that name with .truth.npz.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plugins.ct_harmonizer.simulate.phantom.patient import STANDARD_MAN, random_patient
from plugins.ct_harmonizer.simulate.renditions import all_named, by_name
from plugins.ct_harmonizer.simulate.series import DEFAULT_RENDITION, Request, Scan, scan_chest


def main() -> None:
    usual = Request()
    parser = argparse.ArgumentParser(
        prog="python -m plugins.ct_harmonizer.simulate",
        description=__doc__,
        epilog="renditions: " + ", ".join(one.name for one in all_named()),
    )
    parser.add_argument("--out", type=Path, required=True, help="an npz file, or a folder for a DICOM series")
    parser.add_argument("--patient", type=int, help="seed of a random patient; the standard man unless given")
    parser.add_argument("--rendition", help="scanner, kernel and dose by name, see below; sharp, 40 mAs unless given")
    parser.add_argument("--slices", type=int, default=usual.slices)
    parser.add_argument("--spacing", type=float, default=usual.spacing_mm, help="between slices, mm")
    parser.add_argument("--thickness", type=float, help="of slices, mm; the spacing unless given")
    parser.add_argument(
        "--profile", choices=("axial", "helical"), default=usual.profile, help="of a slice: box, or triangle"
    )
    parser.add_argument("--matrix", type=int, default=usual.matrix, help="pixels along a side")
    parser.add_argument("--field-of-view", type=float, default=usual.field_of_view_mm, help="mm along a side")
    parser.add_argument("--noise-seed", type=int, default=usual.noise_seed)
    chosen = parser.parse_args()
    try:
        rendition = by_name(chosen.rendition) if chosen.rendition else DEFAULT_RENDITION
    except ValueError as error:
        parser.error(str(error))
    request = replace(
        usual,
        slices=chosen.slices,
        spacing_mm=chosen.spacing,
        profile=chosen.profile,
        matrix=chosen.matrix,
        field_of_view_mm=chosen.field_of_view,
        patient=STANDARD_MAN if chosen.patient is None else random_patient(chosen.patient),
        rendition=rendition.at(thickness_mm=chosen.thickness or chosen.spacing),
        noise_seed=chosen.noise_seed,
    )
    scan = scan_chest(request, lambda done, total: print(f"\r{100 * done // total:3d} %", end="", file=sys.stderr))  # noqa: T201
    print(file=sys.stderr)  # noqa: T201
    if chosen.out.suffix == ".npz":
        np.savez_compressed(chosen.out, allow_pickle=False, hu=scan.hu, **truth(scan))
        print(f"{chosen.out}: {scan.hu.shape}, LAA-950 in truth {scan.truth.laa_950_percent:.1f} %")  # noqa: T201
        return
    # By name: what is under simulate/ runs where there is no pydicom.
    importlib.import_module("plugins.ct_harmonizer.virtual_series").write_scan(scan, chosen.out)
    beside = chosen.out.with_name(chosen.out.name + ".truth.npz")
    np.savez_compressed(beside, allow_pickle=False, **truth(scan))
    print(f"{chosen.out}: {len(scan.hu)} files; {beside}: LAA-950 {scan.truth.laa_950_percent:.1f} %")  # noqa: T201


def truth(scan: Scan) -> dict[str, NDArray[np.generic]]:
    """What is known of a scan, by name: volumes (slice, row, column), nodules' measures and meshes, the MTF at the isocentre."""
    request, known = scan.request, scan.truth
    frequency_per_mm = np.linspace(0, 1.6, 161)
    meshes = [nodule.mesh() for nodule in known.nodules]
    kept: dict[str, NDArray[np.generic]] = {
        "true_hu": known.hu,
        "lung": known.lung,
        "airway": known.airway,
        "vessel": known.vessel,
        "emphysema": known.emphysema,
        "nodule_centres_mm": np.array([nodule.centre_mm for nodule in known.nodules]).reshape(-1, 3),
        "nodule_diameters_mm": np.array([nodule.diameter_mm for nodule in known.nodules]),
        "nodule_volumes_mm3": np.array([mesh.volume_mm3 for mesh in meshes]),
        "nodule_areas_mm2": np.array([mesh.area_mm2 for mesh in meshes]),
        "nodule_sphericities": np.array([mesh.sphericity for mesh in meshes]),
        "nodule_kinds": np.array([(n.lesion.density, n.lesion.margin, n.lesion.place) for n in known.nodules], "U16"),
        "spacing_mm": np.array([request.spacing_mm, request.image.pixel_mm, request.image.pixel_mm]),
        "frequency_per_mm": frequency_per_mm,
        "mtf": request.rendition.mtf(frequency_per_mm),
    }
    for number, mesh in enumerate(meshes):
        kept |= {f"nodule_{number}_vertices_mm": mesh.vertices_mm, f"nodule_{number}_faces": mesh.faces}
    return kept


if __name__ == "__main__":
    main()
