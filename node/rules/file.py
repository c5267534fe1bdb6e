"""A YAML file of rules as it is written: each rule's document, where its parts stand, and the lines it takes."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from node.config import NO_YAML
from node.errors import RuleError
from node.rules.flaws import Places

_PLAIN_LIST = "tag:yaml.org,2002:seq"
_MOST_BYTES = 1 << 20
_MOST_NODES = 20_000  # an alias counts as what it stands for, so a few lines cannot grow without end


@dataclass(frozen=True, slots=True)
class Text:
    """One rule of a file."""

    file: str
    document: Any  # as plain data
    node: yaml.Node

    @property
    def first_line(self) -> int:
        """From 0."""
        return int(self.node.start_mark.line)

    def where(self, places: Places) -> str:
        """`rules.yaml:12:9`: line and column of that part, or of what is nearest around it."""
        node, mark = self.node, self.node.start_mark
        for place in places:
            if isinstance(node, yaml.SequenceNode) and isinstance(place, int) and place < len(node.value):
                node = node.value[place]
                mark = node.start_mark
            elif isinstance(node, yaml.MappingNode):
                found = next(((key, value) for key, value in node.value if key.value == str(place)), None)
                if found is None:
                    break
                mark, node = found[0].start_mark, found[1]
            else:
                break
        return f"{self.file}:{mark.line + 1}:{mark.column + 1}"


def texts(path: Path) -> list[Text]:
    """The rules of a file, unchecked.

    Raises:
        RuleError: it cannot be read, is not YAML, or holds nothing.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RuleError(f"{path} is not YAML: {error}") from error
    except OSError as error:
        raise RuleError(f"{path} cannot be read: {error.strerror}") from error
    return parse(content, str(path))


def parse(content: str, file: str) -> list[Text]:
    """As `texts`, of the content of a file of that name.

    Raises:
        RuleError: it is not YAML, or holds nothing.
    """
    if len(content) > _MOST_BYTES:
        raise RuleError(f"{file} is larger than {_MOST_BYTES >> 20} MB: that is no file of rules")
    loader = None
    try:
        loader = _NoKeyTwice(content)
        loader.name = file
        top = loader.get_single_node()
        if top is None:
            return [Text(file, None, yaml.ScalarNode("", "", yaml.Mark(file, 0, 0, 0, "", 0)))]
        _require_small(top, file)
        nodes = top.value if isinstance(top, yaml.SequenceNode) and top.tag == _PLAIN_LIST else [top]
        found = [Text(file, loader.construct_document(node), node) for node in nodes]
    except NO_YAML as error:
        raise RuleError(f"{file} is not YAML: {error}") from error
    except RecursionError as error:
        raise RuleError(f"{file} is nested too deeply") from error
    finally:
        if loader is not None:
            loader.dispose()
    if not found:
        raise RuleError(f"{file} holds no rule")
    return found


def _require_small(top: yaml.Node, file: str) -> None:
    count, left = 0, [top]
    while left:
        node = left.pop()
        count += 1
        if count > _MOST_NODES:
            raise RuleError(f"{file} holds more than {_MOST_NODES} values, aliases counted: that is no file of rules")
        left.extend(_inside(node))


def _inside(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value


class _NoKeyTwice(yaml.SafeLoader):
    """YAML lets the last of two equal keys win in silence; a clause with two `equals` is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _value in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(
                problem=f"the key {twice[0]!r} stands here twice", problem_mark=node.start_mark
            )
        return super().construct_mapping(node, deep)
