"""`harmonode config`: every key, what it is set to here, and by what."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.table import Table
from rich.text import Text

from node import manual
from node.cli.context import JSON, out, print_json, settings
from node.config import VARIABLE_PREFIX, Config, file_of
from node.send.http import public_url


def register(app: typer.Typer) -> None:
    app.command("config", epilog="Example: harmonode --config /etc/harmonode.yaml config --changed")(config)


def config(
    ctx: typer.Context,
    changed: Annotated[bool, typer.Option("--changed", help="Only what differs from the default.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="The manual: every key with its default.")] = False,
    as_json: JSON = False,
) -> None:
    """Every key of the configuration: its value here, where that comes from, and what it means. Shows no password."""
    if markdown:
        typer.echo(as_markdown(), nl=False)
        return
    rows = list(_rows(settings(ctx), file_of(ctx.find_root().params.get("config")), changed=changed))
    if as_json:
        print_json(rows)
        return
    table = Table("key", "value", "from", "meaning", box=None)
    for row in rows:
        table.add_row(Text(row["key"]), Text(row["value"]), Text(row["from"]), Text(row["meaning"], "dim"))
    out.print(table if rows else "Every key has its default.")


def as_markdown() -> str:
    """A table of every key, for the README."""
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for entry in manual.entries():
        default = "must be given" if entry.default is None else f"`{entry.default}`" if entry.default else ""
        meaning = entry.meaning.replace("|", "\\|")
        lines.append(f"| `{entry.key}` | {default} | {meaning} |")
    return "\n".join(lines) + "\n"


def _rows(config: Config, file: Path, *, changed: bool) -> Iterator[dict[str, str]]:
    defaults = dict(_flat(Config.model_construct().model_dump(mode="json")))
    values = dict(_flat(config.model_dump(mode="json")))
    written = dict(_flat(yaml.safe_load(file.read_text("utf-8")) or {})) if file.is_file() else {}
    meanings = {entry.key: entry.meaning for entry in manual.entries()}
    for key, value in values.items():
        if changed and value == defaults.get(key):
            continue
        shown = public_url(value) if key == "database_url" else _shown(value)
        yield {"key": key, "value": shown, "from": _origin(key, written, file), "meaning": meanings.get(key, "")}


def _origin(key: str, written: dict[str, Any], file: Path) -> str:
    """Which of the sources has the last word: a variable, the file, the default."""
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        variable = VARIABLE_PREFIX + "__".join(parts[:length]).upper()
        if variable in os.environ:
            return variable
    return str(file) if key in written else "default"


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{prefix}.{name}" if prefix else name)
    else:
        yield prefix, value


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(_item(item) for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _item(item: Any) -> str:
    """One item of a list, short: a destination by its name, a peer by its AE title and addresses."""
    if not isinstance(item, dict):
        return str(item)
    return str(item.get("name") or " ".join(_shown(part) for part in item.values() if part))
