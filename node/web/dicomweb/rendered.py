"""Rendered images and thumbnails, PS3.18 sections 10.4.1.1.3 and 10.4.1.1.4: what a window makes of HU, as PNG or JPEG."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO

import numpy as np
from fastapi import APIRouter, Depends, Request, Response
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset

from node.dicom.values import number, numbers, text
from node.errors import InvalidObject
from node.web.dicomweb.accept import wanted
from node.web.dicomweb.answers import Refused
from node.web.dicomweb.frames import numbers_of, uncompressed_frame
from node.web.dicomweb.held import Held, Scope
from node.web.dicomweb.retrieve import require_one, require_some
from node.web.dicomweb.witness import reader

router = APIRouter(dependencies=[Depends(reader)])

_SERIES = "/studies/{study}/series/{series}"
_INSTANCE = _SERIES + "/instances/{instance}"
_FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG"}  # the first is the default, PS3.18 Table 8.7.4-1
_THUMBNAIL_PIXELS = 128
_MAX_PIXELS = 4096
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)")

HU = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Window:
    """Window Center and Width, and the function between them (PS3.3 section C.11.2.1.3)."""

    centre: float
    width: float
    function: str = "linear"

    def apply(self, hu: HU) -> NDArray[np.uint8]:
        """(row, column) in HU -> 0 to 255."""
        if self.function == "sigmoid":
            shown = 1 / (1 + np.exp(np.clip(-4 * (hu - self.centre) / self.width, -80, 80)))
        elif self.function == "linear-exact":
            shown = (hu - self.centre) / self.width + 0.5
        else:
            shown = (hu - (self.centre - 0.5)) / max(self.width - 1, 1e-6) + 0.5
        levels: NDArray[np.uint8] = np.round(np.clip(shown, 0, 1) * 255).astype(np.uint8)
        return levels


@router.get(_INSTANCE + "/rendered")
def rendered_instance(request: Request, study: str, series: str, instance: str) -> Response:
    return _rendered(request, require_one(request, Scope(study, series, instance)), 1)


@router.get(_INSTANCE + "/frames/{numbers}/rendered")
def rendered_frame(request: Request, study: str, series: str, instance: str, numbers: str) -> Response:
    several = numbers_of(numbers)
    if len(several) > 1:
        raise Refused(HTTPStatus.BAD_REQUEST, "one frame is rendered at a time")
    return _rendered(request, require_one(request, Scope(study, series, instance)), several[0])


@router.get("/studies/{study}/thumbnail")
def study_thumbnail(request: Request, study: str) -> Response:
    return _thumbnail(request, Scope(study))


@router.get(_SERIES + "/thumbnail")
def series_thumbnail(request: Request, study: str, series: str) -> Response:
    return _thumbnail(request, Scope(study, series))


@router.get(_INSTANCE + "/thumbnail")
def instance_thumbnail(request: Request, study: str, series: str, instance: str) -> Response:
    return _thumbnail(request, Scope(study, series, instance))


def _thumbnail(request: Request, scope: Scope) -> Response:
    """The middle instance of the first series tells most."""
    found = require_some(request, scope)
    of_first = [one for one in found if one.series_instance_uid == found[0].series_instance_uid and one.path.is_file()]
    if not of_first:
        raise Refused(HTTPStatus.GONE, f"no file of {scope} is still here")
    return _rendered(request, of_first[len(of_first) // 2], 1, (_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS))


def _rendered(request: Request, held: Held, frame: int, largest: tuple[int, int] | None = None) -> Response:
    query = request.query_params
    media = _media(request)
    viewport = _viewport(query.get("viewport")) or largest
    quality = _quality(query.get("quality"))
    asked = _window(query.get("window"))
    body, header = uncompressed_frame(held, frame)
    try:
        picture = _picture(body, header, asked)
    except InvalidObject as error:
        raise Refused(HTTPStatus.NOT_ACCEPTABLE, str(error)) from error
    if viewport:
        scale = min(viewport[0] / picture.width, viewport[1] / picture.height)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    buffer = BytesIO()
    picture.save(buffer, _FORMATS[media], **({"quality": quality} if media == "image/jpeg" else {}))
    return Response(buffer.getvalue(), media_type=media)


def _picture(body: bytes, header: Dataset, asked: Window | None) -> Image.Image:
    hu = _hu(body, header)
    window = asked or _window_of(header, hu)
    shown = window.apply(hu)
    if text(header, "PhotometricInterpretation") == "MONOCHROME1":
        shown = 255 - shown
    return Image.fromarray(shown)


def _hu(body: bytes, header: Dataset) -> HU:
    bits, samples = int(number(header, "BitsAllocated") or 0), number(header, "SamplesPerPixel") or 1
    if bits not in (8, 16, 32) or samples != 1:
        raise InvalidObject(f"{bits} bits and {samples:g} samples a pixel are not rendered")
    signed = "i" if number(header, "PixelRepresentation") else "u"
    stored = np.frombuffer(body, f"<{signed}{bits // 8}")
    shape = (int(number(header, "Rows") or 0), int(number(header, "Columns") or 0))
    slope, intercept = number(header, "RescaleSlope"), number(header, "RescaleIntercept")
    hu = stored.reshape(shape) * np.float32(slope or 1) + np.float32(intercept or 0)
    return hu.astype(np.float32, copy=False)


def _window_of(header: Dataset, hu: HU) -> Window:
    """The first of the header, else all there is."""
    centre, width = numbers(header, "WindowCenter"), numbers(header, "WindowWidth")
    if centre and width and width[0] >= 1:
        return Window(centre[0], width[0])
    low, high = float(hu.min()), float(hu.max())
    return Window((low + high) / 2, max(high - low, 1.0), "linear-exact")


def _window(value: str | None) -> Window | None:
    """`centre,width,function`, PS3.18 section 8.3.5.1.4."""
    if value is None:
        return None
    centre, width, function, *more = *value.split(","), "linear", ""
    functions = ("linear", "linear-exact", "sigmoid")
    sound = _NUMBER.fullmatch(centre) and _NUMBER.fullmatch(width) and function.lower() in functions and len(more) <= 2
    if not sound or not math.isfinite(float(width)) or float(width) < (1 if function == "linear" else 1e-6):
        raise Refused(
            HTTPStatus.BAD_REQUEST,
            f"window={value[:60]} is not centre,width,function with a function of {', '.join(functions)}",
        )
    return Window(float(centre), float(width), function.lower())


def _viewport(value: str | None) -> tuple[int, int] | None:
    """`width,height`; a region of the source is not cut out."""
    if value is None:
        return None
    items = value.split(",")
    if len(items) != 2 or not all(
        item.isascii() and item.isdigit() and 0 < int(item[:6]) <= _MAX_PIXELS for item in items
    ):
        raise Refused(
            HTTPStatus.BAD_REQUEST, f"viewport={value[:60]} is not width,height of at most {_MAX_PIXELS} pixels"
        )
    return int(items[0]), int(items[1])


def _quality(value: str | None) -> int:
    if value is None:
        return 90
    if not (value.isascii() and value.isdigit() and 1 <= int(value[:4]) <= 100):
        raise Refused(HTTPStatus.BAD_REQUEST, f"quality={value[:20]} is no number from 1 to 100")
    return int(value)


def _media(request: Request) -> str:
    for one in wanted(request.headers.getlist("accept"), request.query_params.get("accept")):
        for media in _FORMATS:
            if one.matches(media):
                return media
    raise Refused(HTTPStatus.NOT_ACCEPTABLE, f"images are rendered as {' or '.join(_FORMATS)}")
