"""config.yaml as a manual: what its comments say of each key.

The file is read as lines, for a YAML parser drops the comments. A key's text is the comment that stands directly above
it; the keys of a list's items, and of a map that is null by default, are told by the example in that comment:
`# key: value   # meaning`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import node
from node.config import Config

_KEY = re.compile(r"( *)(\w+):")
_COMMENT = re.compile(r" *# ?(.*)")
_EXAMPLE = re.compile(r" *(?:- )?(\w+): *(.*?)(?:\s+#\s*(.*))?")
_INDENT = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of the configuration. `default` is None where the key must be given."""

    key: str  # dotted; [] after a list, (kind) where only one kind of its items has the key
    default: str | None
    meaning: str
    by_example: bool = False  # whether it is told by an example in the comment of the list or map that has it


def path() -> Path:
    """config.yaml as it was shipped: inside an installed package, else beside it in a checkout."""
    package = Path(node.__file__).parent
    inside = package / "_config.yaml"
    return inside if inside.exists() else package.parent / "config.yaml"


def entries() -> list[Entry]:
    """Every key in the order of the model, with its default and what the manual says of it."""
    texts = _texts(path().read_text("utf-8").splitlines())
    return list(_of_model(Config, "", texts))


def _texts(lines: list[str]) -> dict[str, list[str]]:
    """Dotted key -> the lines of the comment above it."""
    found: dict[str, list[str]] = {}
    above: list[str] = []
    parents: list[str] = []
    for line in lines:
        if comment := _COMMENT.fullmatch(line):
            above.append(comment[1])
        elif key := _KEY.match(line):
            parents = [*parents[: len(key[1]) // _INDENT], key[2]]
            found[".".join(parents)] = above
            above = []
        else:
            above = []
    return found


def _of_model(model: type[BaseModel], prefix: str, texts: dict[str, list[str]]) -> Iterator[Entry]:
    for name, field in model.model_fields.items():
        key = prefix + name
        text = texts.get(key, [])
        models = list(_models(field.annotation))
        if models and field.default is not None and not _is_list(field.annotation):
            yield from _of_model(models[0], f"{key}.", texts)
            continue
        yield Entry(key, _default(field), _prose(text))
        inside = f"{key}[]." if _is_list(field.annotation) else f"{key}."
        for item in models:
            which = f" ({item.model_fields['kind'].default})" if len(models) > 1 else ""
            yield from _of_item(item, inside, which, _examples(text, item))


def _of_item(model: type[BaseModel], inside: str, which: str, told: dict[str, str]) -> Iterator[Entry]:
    for name, field in model.model_fields.items():
        if name != "kind":
            yield Entry(f"{inside}{name}{which}", _default(field), told.get(name, ""), by_example=True)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a value, or the items of a list, may be of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) in (tuple, list) or any(_is_list(part) for part in get_args(annotation))


def _default(field: FieldInfo) -> str | None:
    if field.is_required():
        return None
    value = field.default_factory() if field.default_factory else field.default  # type: ignore[call-arg]
    if value is PydanticUndefined:
        return None
    if isinstance(value, tuple | list):
        return "as shown" if value else "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, BaseModel):
        return ""
    return "null" if value is None else str(value).strip("*")  # a secret shows stars alone, and has no default


def _prose(text: list[str]) -> str:
    """The text without its examples, which are indented, and without the words that lead to them."""
    prose = " ".join(line.strip() for line in text if not line.startswith(" ")).strip()
    return re.sub(r"[:.,]? [Aa] list of$", ".", prose)


def _examples(text: list[str], model: type[BaseModel]) -> dict[str, str]:
    """Key -> meaning, from the example of this model in the comment; of its own kind where there are several."""
    told: dict[str, str] = {}
    kind = model.model_fields["kind"].default if "kind" in model.model_fields else None
    block: dict[str, str] = {}
    for line in [*text, "  - end:"]:
        if block and (more := re.fullmatch(r" +# (.*)", line)):
            last = next(reversed(block))
            block[last] = f"{block[last]} {more[1]}"
        if not (example := _EXAMPLE.fullmatch(line)) or not line.startswith(" "):
            continue
        if line.lstrip().startswith("- "):
            if kind is None or block.get("kind", "").startswith(str(kind)):
                told.update({key: meaning for key, meaning in block.items() if key != "kind"})
            block = {}
        key, value, meaning = example.groups()
        block[key] = f"{value} {meaning or ''}".strip() if key == "kind" else meaning or ""
    return told
