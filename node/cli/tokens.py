"""`harmonode tokens`: who may use the web interface."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.table import Table

from node.cli.context import JSON, actor, database, err, out, print_json
from node.errors import PermanentError
from node.store.tables import Token
from node.web import tokens
from node.web.roles import Role

tokens_app = typer.Typer(no_args_is_help=True, help="Tokens of the web interface: who may come in, and do what.")

Name = Annotated[str, typer.Argument(help="Who or what uses it; the audit trail names it so.")]

_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def register(app: typer.Typer) -> None:
    app.add_typer(tokens_app, name="tokens")


@tokens_app.command("add", epilog="Example: harmonode tokens add reading-room --role viewer --expires 90d")
def add_command(
    ctx: typer.Context,
    name: Name,
    role: Annotated[Role, typer.Option(help="viewer reads, operator also acts on series, admin also changes rules.")],
    expires: Annotated[
        str | None, typer.Option(help="How long it is good: 12h, 90d, 52w.", metavar="TIME", show_default="for ever")
    ] = None,
) -> None:
    """Make a token, and print it this one time: the node keeps its hash alone."""
    expires_at = datetime.now(UTC) + _duration(expires) if expires else None
    with database(ctx) as opened, opened.write() as session:
        token = tokens.add(session, name, role, expires_at=expires_at, actor=actor())
    err.print(
        f"Token {name}, role {role}{_until(expires_at)}. It is shown this one time:", markup=False, highlight=False
    )
    typer.echo(token)


@tokens_app.command("list", epilog="Example: harmonode tokens list")
def list_command(ctx: typer.Context, as_json: JSON = False) -> None:
    """Every token there is or was; never the tokens themselves."""
    with database(ctx) as opened, opened.read() as session:
        rows = tokens.listed(session)
    if as_json:
        print_json([_as_dict(row) for row in rows])
        return
    if not rows:
        out.print("There is no token yet: `harmonode tokens add NAME --role admin` makes one.")
        return
    table = Table("name", "role", "state", "made (UTC)", "by", "last used (UTC)", box=None, pad_edge=False)
    for row in rows:
        used = f"{row.used_at:%Y-%m-%d %H:%M}" if row.used_at else "never"
        table.add_row(row.name, row.role, _state(row), f"{row.created_at:%Y-%m-%d %H:%M}", row.created_by, used)
    out.print(table)


@tokens_app.command("revoke", epilog="Example: harmonode tokens revoke reading-room")
def revoke_command(ctx: typer.Context, name: Name) -> None:
    """Let a token be of no use from now on; browsers that came in by it are out."""
    with database(ctx) as opened, opened.write() as session:
        tokens.revoke(session, name, actor=actor())
    out.print(f"Token {name} is revoked.")


def _duration(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,5})([hdw])", text.strip())
    if not found:
        raise PermanentError(f"--expires is a number with h, d or w, such as 12h, 90d or 52w; got {text!r}")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _until(expires_at: datetime | None) -> str:
    return f", good until {expires_at:%Y-%m-%d %H:%M} UTC" if expires_at else ""


def _state(row: Token) -> str:
    if row.revoked_at is not None:
        return f"revoked {row.revoked_at:%Y-%m-%d %H:%M}"
    if row.expires_at is None:
        return "good"
    return f"{'good until' if tokens.is_good(row) else 'expired'} {row.expires_at:%Y-%m-%d %H:%M}"


def _as_dict(row: Token) -> dict[str, object]:
    times = ("created_at", "expires_at", "revoked_at", "used_at")
    return {
        "name": row.name,
        "role": row.role,
        "good": tokens.is_good(row),
        "created_by": row.created_by,
        **{name: getattr(row, name).isoformat() if getattr(row, name) else None for name in times},
    }
