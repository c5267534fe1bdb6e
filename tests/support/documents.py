"""The parts of the documents that are made from the code: `make docs` writes them, tests/test_documents.py holds them.

A part stands in its document between `<!-- made: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import click
import typer.main
from pydicom.uid import UID

from node.cli import app
from node.cli.config import as_markdown
from node.commit import Commitments
from node.config import Config
from node.dicom import codecs
from node.dicom.associations import TRANSFER_SYNTAXES
from node.dicom.command import Field
from node.dicom.statuses import known_statuses
from node.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.plugin import Plugin
from node.receive.intake import Intake, Status
from node.receive.services import VERIFICATION_SERVICE, Service, storage
from node.service import _commitment
from node.store.session import Database

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(path.parent for top in ("node", "plugins") for path in (ROOT / top).rglob("__init__.py"))
DOCUMENTS = (ROOT / "README.md", ROOT / "node" / "CONFORMANCE.md", *(package / "README.md" for package in PACKAGES))

_PART = re.compile(r"(<!-- made: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def commands(group: click.Group | None = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command with the words that call it."""
    whole = group or typer.main.get_group(app)
    context = click.Context(whole)
    for name in whole.list_commands(context):
        command = whole.get_command(context, name)
        assert command
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


def _services() -> list[Service]:
    """What a node serves, with an intake and commitments that nobody calls."""
    return [
        VERIFICATION_SERVICE,
        *storage(cast("Intake", None)),
        _commitment(Commitments(Config.model_construct(), cast("Database", None))),
    ]


def _sop_classes() -> str:
    rows = []
    for service in _services():
        operations = ", ".join(Field(operation).name.replace("_", "-") for operation in service.operations)
        syntaxes = "all below" if service.transfer_syntaxes == TRANSFER_SYNTAXES else "Explicit and Implicit VR LE"
        roles = "SCP" if service.roles is None else " and ".join(_roles(*service.roles))
        uid = UID(service.abstract_syntax)
        rows.append(f"| {uid.name} | {uid} | {operations} | {syntaxes} | {roles} |\n")
    return _table("SOP class", "UID", "operations", "transfer syntaxes", "role of the node") + "".join(rows)


def _roles(scu: bool, scp: bool) -> list[str]:
    """The node's roles where these are the requestor's."""
    return [name for name, offered in (("SCP", scu), ("SCU", scp)) if offered]


def _transfer_syntaxes() -> str:
    rows = [
        f"| {codecs.name_of(uid).removesuffix(f' ({uid})')} | {uid} | {codecs.codec_of(uid) or 'none: kept, not harmonized'} |\n"
        for uid in TRANSFER_SYNTAXES
    ]
    return _table("transfer syntax", "UID", "decoded for harmonizing by") + "".join(rows)


_ANSWERS = {
    Status.SUCCESS: "it is on the disk, or was already with the same bytes",
    Status.INVALID_INSTANCE: "its SOP Instance UID is no UID",
    Status.CLASS_NOT_SUPPORTED: "its SOP class is none of those above",
    Status.OUT_OF_RESOURCES: "the disk has less free than `receive.disk_reserve_mb`, or refuses",
    Status.CLASS_MISMATCH: "the data set is of another SOP class or instance than the request; kept in quarantine",
    Status.CANNOT_UNDERSTAND: "the data set cannot be read, or lacks a UID; kept in quarantine",
    Status.CONFLICT: "the node holds other bytes under this SOP Instance UID; what came is kept in quarantine",
    Status.OTHER_STUDY: "STOW-RS: it is not of the study that the URL names",
}


def _store_responses() -> str:
    rows = [f"| {int(status):04X}H | {_ANSWERS[status]} |\n" for status in Status]
    return _table("status", "when") + "".join(rows)


def _store_statuses() -> str:
    outcomes = {
        "stored": "stored",
        "warning": "stored, with a warning in the log",
        "transient": "tried again later",
        "permanent": "the series fails, with the reason",
        "operator": "waits for a person",
    }
    rows = [f"| {code} | {meaning} | {outcomes[str(outcome)]} |\n" for code, meaning, outcome in known_statuses()]
    return _table("status", "meaning", "what the node does") + "".join(rows)


def _implementation() -> str:
    return (
        f"| Implementation Class UID | {IMPLEMENTATION_CLASS_UID} |\n"
        f"| Implementation Version Name | {IMPLEMENTATION_VERSION_NAME} |\n"
    )


def _table(*heads: str) -> str:
    return f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n"


def _framed(part: str) -> str:
    """A table of its own stands between empty lines; rows that continue one above do not."""
    head = part.split("\n", 2)[1].startswith("|---")
    return f"\n{part}\n" if head else part


def _modules(package: Path) -> str:
    """A row for each module and package in a package, with the first sentence of its docstring."""
    rows = []
    for path in sorted(package.iterdir()):
        source = path / "__init__.py" if path.is_dir() else path
        if path.name.startswith("_") or source.suffix != ".py" or not source.is_file():
            continue
        told = ast.get_docstring(ast.parse(source.read_text("utf-8"))) or ""
        name = f"[{path.name}/]({path.name}/README.md)" if path.is_dir() else f"`{path.name}`"
        rows.append(f"| {name} | {_first_sentence(told)} |\n")
    return _table("module", "holds") + "".join(rows)


def _hooks() -> str:
    """What a plugin must have: the members of the protocol, with what each is for."""
    members = [*inspect.get_annotations(Plugin), *(name for name in vars(Plugin) if not name.startswith("_"))]
    rows = []
    for name in dict.fromkeys(members):
        member = getattr(Plugin, name, None)
        if callable(member):
            given = ", ".join(list(inspect.signature(member).parameters)[1:])
            rows.append(f"| `{name}({given})` | {_first_sentence(inspect.getdoc(member) or '')} |\n")
        else:
            rows.append(f"| `{name}` | {_ATTRIBUTES[name]} |\n")
    return _table("hook", "is") + "".join(rows)


_ATTRIBUTES = {
    "name": "its name, as rules and the entry point call it",
    "version": "part of every derived UID: another version makes other objects",
    "Parameters": "a pydantic model of its parameters, which a rule may set",
}


PARTS: dict[str, Callable[[], str]] = {
    "keys": as_markdown,
    "commands": _commands,
    "sop classes": _sop_classes,
    "transfer syntaxes": _transfer_syntaxes,
    "store responses": _store_responses,
    "store statuses": _store_statuses,
    "implementation": _implementation,
    "hooks": _hooks,
}


def made(path: Path) -> str:
    """The document with each of its made parts as it is now; `modules` are those of its own folder.

    Raises:
        KeyError: it names a part that nobody makes.
    """
    document = path.read_text("utf-8")
    parts = PARTS | {"modules": lambda: _modules(path.parent)}
    return _PART.sub(lambda part: f"{part[1]}{_framed(parts[part[2]]())}{part[3]}", document)


if __name__ == "__main__":
    for path in DOCUMENTS:
        path.write_text(made(path), "utf-8")
