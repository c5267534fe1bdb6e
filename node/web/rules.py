"""Rules: read, their history, asked of a past series, tried on past traffic; an administrator switches and changes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Form, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.orm import Session

from node import plugin
from node.errors import HarmonodeError, RuleError
from node.rules import load
from node.rules.history import history
from node.rules.model import Rule
from node.rules.replay import Change, Replay, ask_again, on_trial, past_series, replay
from node.store import tables
from node.store.tables import Series
from node.web.auth import Person, require
from node.web.pages import render
from node.web.roles import Role
from node.web.site import Site

router = APIRouter(prefix="/rules")

_EXAMPLES = 12
_MEANING = {
    Change.GAINED: "no rule selected it then, this one would now",
    Change.LOST: "it was selected then, and would not be now",
    Change.MOVED: "selected then and now, by another rule",
    Change.SAME: "selected by the same rule then and now",
}

Viewer = Annotated[Person, Depends(require(Role.VIEWER))]
Admin = Annotated[Person, Depends(require(Role.ADMIN))]


@router.get("")
def rules_page(request: Request, person: Viewer) -> Response:
    """Every rule as it stands, in the order in which they are asked."""
    site: Site = request.app.state.site
    with site.database.read() as session:
        rows = load.stored(session)
        counted = dict(
            session.execute(
                sa.select(Series.rule_name, sa.func.count())
                .where(Series.rule_name.is_not(None), Series.last_arrival_at > datetime.now(UTC) - timedelta(days=30))
                .group_by(Series.rule_name)
            ).all()
        )
    ordered = sorted(rows, key=lambda row: (not row.enabled, -int(row.document.get("priority", 0)), row.name))
    return render(request, "rules.html", {"person": person, "rules": ordered, "counted": counted, "problem": _problem})


@router.get("/{name}")
def rule_page(request: Request, name: str, person: Viewer, series: str = "", days: int = 0) -> Response:
    """One rule: as YAML, its versions, what it says of a past series (`series`), what it would have selected (`days`)."""
    site: Site = request.app.state.site
    with site.database.read() as session:
        context = _rule(session, name)
        if series.strip():
            context |= _asked(session, name, series.strip())
        if days:
            context |= {"replay": _replayed(session, load.loaded(load.find(session, name)).rule, days), "days": days}
    return render(request, "rule.html", {"person": person, "meaning": _MEANING, "Change": Change, **context})


@router.post("/{name}/try")
def try_change(
    request: Request, name: str, person: Viewer, document: Annotated[str, Form()], days: Annotated[int, Form()] = 30
) -> Response:
    """What a changed rule would have selected; nothing is kept."""
    site: Site = request.app.state.site
    with site.database.read() as session:
        context = _rule(session, name) | {"draft": document, "days": days}
        try:
            context["replay"] = _replayed(session, _read(site, name, document), days)
        except HarmonodeError as error:
            context["problem"] = str(error)
    return render(request, "rule.html", {"person": person, "meaning": _MEANING, "Change": Change, **context})


@router.post("/{name}/save")
def save_change(
    request: Request, name: str, person: Admin, document: Annotated[str, Form()], why: Annotated[str, Form()] = ""
) -> Response:
    """Put a changed rule in force, as a new version."""
    site: Site = request.app.state.site
    try:
        rule = _read(site, name, document)
        if not why.strip():
            raise RuleError("say why the rule is changed: who reads its history will ask")
        with site.database.write() as session:
            load.save(session, rule, author=person.actor, why=why.strip())
    except HarmonodeError as error:
        with site.database.read() as session:
            context = _rule(session, name) | {"draft": document, "problem": str(error)}
        context |= {"person": person, "meaning": _MEANING, "Change": Change}
        return render(request, "rule.html", context, HTTPStatus.CONFLICT)
    return RedirectResponse(f"/rules/{name}", HTTPStatus.SEE_OTHER)


@router.post("/{name}/switch")
def switch(
    request: Request, name: str, person: Admin, enabled: Annotated[bool, Form()], why: Annotated[str, Form()] = ""
) -> Response:
    """Enable or disable a rule."""
    site: Site = request.app.state.site
    with site.database.write() as session:
        load.set_enabled(session, name, enabled=enabled, author=person.actor, why=why.strip())
    return RedirectResponse(f"/rules/{name}", HTTPStatus.SEE_OTHER)


def _rule(session: Session, name: str) -> dict[str, Any]:
    try:
        row = load.find(session, name)
    except RuleError as error:
        raise HTTPException(HTTPStatus.NOT_FOUND, str(error)) from error
    text = load.as_yaml(row.document)
    return {
        "row": row,
        "text": text,
        "draft": text,
        "versions": history(session, name),
        "problem": _problem(row),
        "replay": None,
        "days": 30,
        "asked": None,
        "answer": None,
        "asked_problem": "",
    }


def _asked(session: Session, name: str, uid: str) -> dict[str, Any]:
    """What the rules in force say of a series that came before, and this one among them, enabled or not."""
    series = session.scalars(
        sa.select(Series).where(Series.series_instance_uid == uid).order_by(Series.id.desc())
    ).first()
    if series is None:
        return {"asked": uid, "asked_problem": f"no series {uid} is known"}
    try:
        decision = ask_again(session, series, [load.loaded(load.find(session, name)).rule])
    except HarmonodeError as error:
        return {"asked": uid, "asked_problem": str(error)}
    answer = next((one for one in decision.answers if one.rule == name), None)
    never = "; ".join(decision.never)
    return {
        "asked": uid,
        "answer": answer,
        "asked_problem": f"It can never be a candidate, whatever a rule says: {never}" if never else "",
    }


def _replayed(session: Session, rule: Rule, days: int) -> Replay:
    since = datetime.now(UTC) - timedelta(days=min(max(days, 1), 3650))
    return replay(past_series(session, since), on_trial(load.in_force(session), [rule]), [rule.name])


def _read(site: Site, name: str, text: str) -> Rule:
    """Raises RuleError where the text is no sound rule of that name."""
    rule = load.parse_text(text)
    if rule.name != name:
        raise RuleError(
            f"the rule is called {name!r}, and the text calls it {rule.name!r}: a new rule is added by command"
        )
    known = [destination.name for destination in site.config.destinations]
    load.check_references(rule, known, lambda named, given: plugin.parameters(plugin.load(named), given))
    return rule


def _problem(row: tables.Rule) -> str:
    """Why a stored rule is not sound for this release; nothing where it is."""
    try:
        load.loaded(row)
    except RuleError as error:
        return str(error)
    return ""
