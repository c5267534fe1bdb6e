"""The slices of a series before and after, one beside or over the other."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, HTTPException, Request, Response
from sqlalchemy.orm import Session

from node.audit import Event, record
from node.errors import HarmonodeError
from node.store.tables import Series
from node.web.labels import label_of
from node.web.pages import render
from node.web.series import Viewer, find
from node.web.site import Site
from node.web.slices import DIFFERENCE_HU, Pair, Show, Window, pairs, picture

router = APIRouter(prefix="/series")


@router.get("/{series_id:int}/viewer")
def viewer(request: Request, series_id: int, person: Viewer, slice: int = 0) -> Response:  # noqa: A002 - in the URL
    """The page; it shows one slice, counted from 1, without a script too. That somebody looked is recorded."""
    site: Site = request.app.state.site
    with site.database.read() as session:
        series = find(session, series_id)
        found = _pairs(session, site, series)
    with site.database.write() as session:
        message = f"{person.name} looked at the images of series {series.series_instance_uid}"
        record(session, Event.ACCESS, message, actor=person.actor, series=find(session, series_id))
    number = min(max(slice, 1), len(found)) if slice else (len(found) + 1) // 2
    context = {
        "person": person,
        "series": series,
        "label": label_of(series),
        "pairs": found,
        "number": number,
        "windows": {window: window.hu for window in Window},
        "difference_hu": DIFFERENCE_HU,
        "derived": any(pair.derived for pair in found),
    }
    return render(request, "viewer.html", context)


@router.get("/{series_id:int}/slices/{number:int}/{show}/{window}.png")
def slice_picture(
    request: Request, series_id: int, number: int, show: Show, window: Window, _person: Viewer
) -> Response:
    """One slice, counted from 1."""
    site: Site = request.app.state.site
    with site.database.read() as session:
        found = _pairs(session, site, find(session, series_id))
    if not 1 <= number <= len(found):
        raise HTTPException(HTTPStatus.NOT_FOUND, f"the series has slices 1 to {len(found)}")
    try:
        return Response(picture(found[number - 1], show, window), media_type="image/png")
    except (HarmonodeError, OSError) as error:
        raise _not_there(error) from error


def _pairs(session: Session, site: Site, series: Series) -> tuple[Pair, ...]:
    try:
        return pairs(session, site, series)
    except (HarmonodeError, OSError) as error:
        raise _not_there(error) from error


def _not_there(error: Exception) -> HTTPException:
    """Without paths, which are of no use to who looks at pictures."""
    what = str(error) if isinstance(error, HarmonodeError) or not getattr(error, "filename", None) else ""
    return HTTPException(HTTPStatus.NOT_FOUND, f"The slice cannot be shown: {what or 'its file is not on the disk'}")
