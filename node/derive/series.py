"""The plugin's slices become the instances of a new series in the source's study."""

from __future__ import annotations

import hashlib
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from node.config import Derive
from node.derive import check
from node.derive.elements import bulk, data_set, raw, unsigned
from node.derive.header import file_meta, header
from node.derive.making import Making, making
from node.derive.pixels import Representation, encode, representation
from node.dicom import uids
from node.dicom.headers import as_read, parse_header
from node.dicom.volume import LoadedVolume
from node.errors import PermanentError
from node.plugin import Measurement, Method
from node.store.durable import sync_folder, write_whole

_THREADS = 3  # some write and wait for the disk while another makes the next; more only wait for the interpreter


@dataclass(frozen=True, slots=True)
class Derived:
    """A derived instance, durable in a file."""

    source_sop_instance_uid: str
    sop_instance_uid: str
    path: Path
    sha256: str  # of the whole file
    clipped_pixels: int = 0  # harmonized pixels beyond what 16 bits hold, brought into range


def derived_series_uid(source_series_uid: str, method: Method) -> str:
    """Series Instance UID (0020,000E) of the series that `derive` makes of that source by that method."""
    return uids.derived_series_uid(source_series_uid, method.name, method.version, method.fingerprint)


def derive(  # noqa: PLR0917 - each is needed, and the workflow hands them on in this order
    loaded: LoadedVolume,
    harmonized: NDArray[np.float32],
    method: Method,
    measurement: Measurement,
    settings: Derive,
    folder: Path,
    only: AbstractSet[str] | None,
    made_at: datetime,
) -> list[Derived]:
    """Write one CT image (PS3.3 A.3) a slice into `folder`, each checked before it is there under its name.

    The same arguments give the same bytes, so that a repeated step makes nothing new.

    Args:
        loaded: the source.
        harmonized: (slice, row, column), HU, in the order of `loaded`; padding pixels are overwritten.
        method: how the slices were made.
        measurement: what was measured of the source.
        settings: how the series is named and what is copied.
        folder: where the files go; made where it is missing.
        only: SOP Instance UIDs of the source slices to derive; None for all. Slices that came late are given so: all
            that does not depend on the slice is then as in the first round.
        made_at: when the series was made, with its zone; in every round the same, as it belongs to the series.

    Returns:
        the derived instances in the order of the slices.

    Raises:
        PermanentError: a source lacks what must not be invented, a pixel cannot be stored, or an object fails our own
            checks; names the instance. Files made before stay, and no name stands for half a file.
    """
    if harmonized.shape != loaded.hu.shape:
        raise PermanentError(
            f"series {loaded.series_instance_uid} is {loaded.hu.shape} (slice, row, column), but the plugin made "
            f"{harmonized.shape}; the series is stopped"
        )
    common = making(method, measurement, settings, made_at)
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("*.tmp"):  # by a process that was killed
        left.unlink(missing_ok=True)
    uids = [raw(source, "SOPInstanceUID").decode("ascii", "replace") for source in loaded.sources]
    indices = [index for index, uid in enumerate(uids) if only is None or uid in only]
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="derive") as pool:
        derived = list(pool.map(partial(_derive, loaded, harmonized, common, folder), indices))
    sync_folder(folder)
    missing = sorted(set(only or ()).difference(uids))
    if missing:
        raise PermanentError(f"series {loaded.series_instance_uid} has no instance {', '.join(missing)} to derive from")
    return derived


def _derive(loaded: LoadedVolume, harmonized: NDArray[np.float32], common: Making, folder: Path, index: int) -> Derived:
    """One instance, checked and durable."""
    source = as_read(loaded.sources[index])  # what is looked at here is not for whoever derives next
    source_uid = raw(source, "SOPInstanceUID").decode("ascii", "replace")
    stored = representation(source, loaded.hu[index], loaded.padding[index])
    content, clipped = _instance(source, harmonized[index], loaded.padding[index], stored, common)
    uid, path = common.instance_uid(source_uid), folder / f"{index:04d}.dcm"
    _require_fit(content, source, uid, source_uid)
    write_whole(path, content, sync_name=False)  # the folder is synced once for all
    return Derived(source_uid, uid, path, hashlib.sha256(content).hexdigest(), clipped)


def _instance(
    source: Dataset, hu: NDArray[np.float32], padding: NDArray[np.bool_], stored: Representation, common: Making
) -> tuple[bytes, int]:
    """A whole Part 10 file, and how many pixels were clipped."""
    source_uid = raw(source, "SOPInstanceUID").decode("ascii", "replace")
    if hu.shape != (unsigned(source, "Rows"), unsigned(source, "Columns")):
        raise PermanentError(f"the harmonized slice of instance {source_uid} is {hu.shape}, which its header is not")
    try:
        pixels = encode(hu, padding, stored)
    except PermanentError as error:
        raise PermanentError(f"instance {source_uid} cannot be stored: {error}; the series is stopped") from error
    try:
        elements = header(source, common, stored) | bulk("PixelData", pixels.data, "OW")
    except PermanentError:
        raise
    except Exception as error:  # a malformed sequence makes pydicom raise nearly anything
        raise PermanentError(
            f"the header of instance {source_uid} cannot be copied: {error}; the series is stopped"
        ) from error
    return data_set(elements, after=file_meta(CTImageStorage, common.instance_uid(source_uid))), pixels.clipped


def _require_fit(content: bytes, source: Dataset, uid: str, source_uid: str) -> None:
    """Judge the object as a reader will see it: its bytes, read anew."""
    findings = check.findings(parse_header(BytesIO(content)), source)
    if findings:
        raise PermanentError(
            f"the instance {uid} derived from {source_uid} is not fit to be sent: {'; '.join(findings)}; "
            "the series is stopped"
        )
