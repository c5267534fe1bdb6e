"""Single slices as pictures: which files, in which order, and how HU become grey."""

from __future__ import annotations

import io
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from PIL import Image
from sqlalchemy.orm import Session

from node.dicom.geometry import stack
from node.dicom.headers import read_header
from node.dicom.values import numbers
from node.dicom.volume import slice_hu
from node.errors import InvalidObject
from node.store.tables import DerivedInstance, Instance, Job, Series
from node.web.site import Site

DIFFERENCE_HU = 200.0  # at which the map of differences is at its brightest

_SLICES = 96  # decoded, of 512 KiB each for 512 x 512
_STACKS = 32
_FAST = 1  # of zlib: higher costs more time than it saves on the way


class Window(StrEnum):
    """Grey levels by their use: centre and width in HU (PS3.3 C.11.2.1.2)."""

    LUNG = "lung"
    MEDIASTINUM = "mediastinum"
    EMPHYSEMA = "emphysema"

    @property
    def hu(self) -> tuple[float, float]:
        """Centre and width."""
        return {Window.LUNG: (-600.0, 1500.0), Window.MEDIASTINUM: (40.0, 400.0), Window.EMPHYSEMA: (-900.0, 300.0)}[
            self
        ]


class Show(StrEnum):
    """What of a slice is shown."""

    BEFORE = "before"
    AFTER = "after"
    DIFFERENCE = "difference"


@dataclass(frozen=True, slots=True)
class Pair:
    """A slice as it came, and what the node made of it."""

    source: Path
    derived: Path | None
    position_mm: float  # along the normal of the slices


def pairs(session: Session, site: Site, series: Series) -> tuple[Pair, ...]:
    """Every slice in its order along the normal, the top of a patient who lies on the back first.

    Raises:
        InvalidObject, OSError: a file cannot be read, or has no place among the others.
    """
    rows = session.execute(
        sa.select(Instance.id, Instance.path)
        .where(Instance.series_id == series.id, Instance.removed_at.is_(None))
        .order_by(Instance.id)
    ).all()
    made = session.execute(
        sa.select(DerivedInstance.source_instance_id, DerivedInstance.path)
        .join(Job, Job.id == DerivedInstance.job_id)
        .where(Job.series_id == series.id)
        .order_by(DerivedInstance.id)  # of two, by two versions of a method, the later one
    ).all()
    config = site.config
    derived = {source: config.derived_dir / path for source, path in made}
    return _ordered(tuple((config.spool_dir / path, derived.get(source)) for source, path in rows))


def picture(pair: Pair, show: Show, window: Window) -> bytes:
    """PNG of one slice.

    Raises:
        FileNotFoundError: the node keeps no such slice, or not any more.
        InvalidObject, CodecMissing, OSError: it cannot be read.
    """
    if show is not Show.BEFORE and pair.derived is None:
        raise FileNotFoundError("of this slice nothing was derived")
    before = _hu(pair.source) if show is not Show.AFTER else None
    after = _hu(pair.derived) if show is not Show.BEFORE and pair.derived else None
    if before is not None and after is not None:
        return _difference(before, after)
    shown = before if before is not None else after
    assert shown is not None
    centre, width = window.hu
    grey = np.clip((shown - (centre - width / 2)) * (255 / width), 0, 255).astype(np.uint8)
    return _png(Image.fromarray(grey))


def _hu(path: Path) -> NDArray[np.float32]:
    return _stored(path, path.stat().st_mtime_ns).astype(np.float32)


@lru_cache(_SLICES)
def _stored(path: Path, _written_ns: int) -> NDArray[np.int16]:
    """HU as they are kept in memory; a file that was written anew is read anew."""
    return np.clip(np.rint(slice_hu(path)), -32768, 32767).astype(np.int16)


@lru_cache(_STACKS)
def _ordered(files: tuple[tuple[Path, Path | None], ...]) -> tuple[Pair, ...]:
    if not files:
        raise FileNotFoundError("the files of this series are not on the disk any more")
    headers = [read_header(source) for source, _derived in files]
    orientation = numbers(headers[0], "ImageOrientationPatient")
    places = [numbers(header, "ImagePositionPatient") for header in headers]
    if len(orientation) != 6 or any(len(place) != 3 for place in places):
        raise InvalidObject("the slices do not say where they lie")
    geometry = stack(orientation, places)
    ordered = zip(geometry.order, geometry.positions_mm, strict=True)
    return tuple(Pair(*files[index], position) for index, position in ordered)[::-1]


def _difference(before: NDArray[np.float32], after: NDArray[np.float32]) -> bytes:
    """After minus before: darker where it fell (blue), where it rose (orange), black where it is as it was."""
    if before.shape != after.shape:
        raise InvalidObject(f"the derived slice has shape {after.shape}, its source {before.shape}")
    index = np.clip((after - before) * (127 / DIFFERENCE_HU) + 128, 0, 255).astype(np.uint8)
    image = Image.fromarray(index, "P")
    image.putpalette(_PALETTE)
    return _png(image)


def _palette() -> bytes:
    share = np.abs(np.arange(256) - 128) / 127
    blue = np.array([70, 160, 255]) * np.minimum(share, 1)[:, None]
    orange = np.array([255, 165, 60]) * np.minimum(share, 1)[:, None]
    colours = np.where(np.arange(256)[:, None] < 128, blue, orange)
    return bytes(colours.astype(np.uint8).tobytes())


_PALETTE = _palette()


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=_FAST)
    return file.getvalue()
