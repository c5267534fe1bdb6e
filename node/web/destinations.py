"""The destinations: where results go, whether they can be reached, and what is on its way there."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from node.config import Destination, DimseDestination, FolderDestination
from node.overview import overview
from node.send.http import public_url
from node.web.auth import Person, require
from node.web.pages import render, wants_part
from node.web.roles import Role
from node.web.site import Site

router = APIRouter(prefix="/destinations")


@router.get("")
def destinations_page(request: Request, person: Annotated[Person, Depends(require(Role.VIEWER))]) -> Response:
    """Each destination with its last echo."""
    site: Site = request.app.state.site
    with site.database.read() as session:
        at = {there.name: there for there in overview(session, site.config, limit=0).destinations}
    context: dict[str, Any] = {
        "person": person,
        "destinations": [(one, _where(one), at[one.name]) for one in site.config.destinations],
        "echoes": site.echoes.last,
    }
    return render(request, "_destinations.html" if wants_part(request) else "destinations.html", context)


@router.post("/{name}/echo")
def ask_again(request: Request, name: str, _person: Annotated[Person, Depends(require(Role.OPERATOR))]) -> Response:
    """Ask one destination now."""
    site: Site = request.app.state.site
    for destination in site.config.destinations:
        if destination.name == name:
            site.echoes.ask(destination)
            return RedirectResponse("/destinations", HTTPStatus.SEE_OTHER)
    raise HTTPException(HTTPStatus.NOT_FOUND, f"there is no destination {name}")


def _where(destination: Destination) -> str:
    """Where it is, without anything secret."""
    if isinstance(destination, DimseDestination):
        secure = " with TLS" if destination.tls else ""
        return f"{destination.ae_title} at {destination.host}:{destination.port}{secure}"
    return str(destination.path) if isinstance(destination, FolderDestination) else public_url(destination.url)
