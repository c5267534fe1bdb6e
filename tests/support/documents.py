"""The parts of the documents that are made from the code: `make docs` writes them, tests/test_documents.py holds them.

A part stands in its document between `<!-- made: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import typer.main

from node.cli import app
from node.cli.config import as_markdown

ROOT = Path(__file__).parents[2]
DOCUMENTS = (ROOT / "README.md",)

_PART = re.compile(r"(<!-- made: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def commands(group: click.Group | None = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command with the words that call it."""
    for name, command in (group or typer.main.get_command(app)).commands.items():  # type: ignore[attr-defined]
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def _commands() -> str:
    rows = [f"| `harmonode {name}` | {_first_sentence(command.help or '')} |\n" for name, command in commands()]
    return "| command | does |\n|---|---|\n" + "".join(rows)


def _first_sentence(text: str) -> str:
    first = " ".join(text.split("\n\n", maxsplit=1)[0].split())
    return re.split(r"(?<=[.])\s", first)[0].replace("|", "\\|")


PARTS: dict[str, Callable[[], str]] = {"keys": as_markdown, "commands": _commands}


def made(document: str) -> str:
    """The document with each of its made parts as it is now.

    Raises:
        KeyError: it names a part that nobody makes.
    """
    return _PART.sub(lambda part: f"{part[1]}\n{PARTS[part[2]]()}\n{part[3]}", document)


if __name__ == "__main__":
    for path in DOCUMENTS:
        path.write_text(made(path.read_text("utf-8")), "utf-8")
