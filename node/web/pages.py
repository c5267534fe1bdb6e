"""Templates: how a page is rendered, and what every page knows."""

from __future__ import annotations

import time
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import jinja2
from fastapi import Request
from fastapi.responses import HTMLResponse

import node
from node.journey import ACTIVE, TROUBLE, State
from node.web.formats import FILTERS, needs
from node.web.roles import Role
from node.web.sessions import mark_of
from node.web.site import Site

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    auto_reload=False,  # a node that runs while its files are upgraded stays of one piece
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters.update(FILTERS)
_TEMPLATES.globals.update(version=node.__version__, Role=Role, State=State, TROUBLE=TROUBLE, ACTIVE=ACTIVE, needs=needs)


def render(
    request: Request, template: str, context: Mapping[str, Any], status: HTTPStatus = HTTPStatus.OK
) -> HTMLResponse:
    """A page, or a part of one."""
    site: Site = request.app.state.site
    text = _TEMPLATES.get_template(template).render(
        {
            "config": site.config,
            "csrf": mark_of(site, request),
            "path": request.url.path,
            "zone": time.strftime("%Z"),
            "person": None,
            **context,
        }
    )
    return HTMLResponse(text, status)


def wants_html(request: Request) -> bool:
    """Whether a browser asks, and not a program."""
    return "text/html" in request.headers.get("accept", "")


def wants_part(request: Request) -> bool:
    """Whether htmx asks for the part of a page that changes, to lay it over the one that is shown."""
    return request.headers.get("hx-request") == "true"
