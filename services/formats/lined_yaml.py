"""YAML with line numbers, in which every name stays as it is written.

YAML 1.1 reads `0123` as 83, `1:30` as 90 and `no` as false: somebody else's customer would be
looked up. Here only plain whole numbers, true, false and null are anything but text.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer

MAX_BYTES = 10_000_000


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """What is wrong in a file, and in which line (counted from 1)."""

    line: int
    message: str


class ConfigFileError(Exception):
    """The file cannot be used as it is; nothing was changed."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("; ".join(f"line {p.line}: {p.message}" for p in self.problems))


class LinedMap(dict[str, Any]):
    """A mapping that remembers in which line it began, and each of its keys."""

    line: int = 1
    lines: dict[str, int]


_PREFIX = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        _refuse_marks(self.peek_event())  # type: ignore[no-untyped-call]
        return Composer.compose_node(self, parent, index)

    def construct_lined(self, node: yaml.MappingNode) -> LinedMap:
        result = LinedMap()
        result.line = node.start_mark.line + 1
        result.lines = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, bool) or not isinstance(key, str | int):
                said = reprlib.repr(key_node.value)
                raise ConfigFileError([Problem(line, f"{said} is no name; put it in quotes")])
            if str(key) in result:
                said = reprlib.repr(key)
                raise ConfigFileError([Problem(line, f"{said} stands here a second time")])
            result[str(key)] = self.construct_object(value_node, deep=True)
            result.lines[str(key)] = line
        return result


def _refuse_marks(event: yaml.Event) -> None:
    """What begins with `&`, `*` or `!` would not be read as the name that it looks like.

    `&Co` would be nothing at all, and a few lines of `*` can stand for gigabytes.
    """
    anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
    if anchor is None and tag is None:
        return
    written = tag if anchor is None else anchor
    mark = "" if anchor is None else "*" if isinstance(event, yaml.AliasEvent) else "&"
    said = mark + reprlib.repr(str(written))[1:-1]
    problem = (
        f"{said} is an alias, an anchor or a tag of YAML, which are not read; put it in quotes"
    )
    raise ConfigFileError([Problem(_line_of(event.start_mark), problem)])


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _Loader.construct_lined)
for _name, _pattern, _first in (
    ("null", r"(null|~|)\Z", ["n", "~", ""]),
    ("bool", r"(true|false)\Z", ["t", "f"]),
    ("int", r"(0|-?[1-9][0-9]{0,99})\Z", list("-0123456789")),
):
    _Loader.add_implicit_resolver(_PREFIX + _name, re.compile(_pattern), _first)


def load_lined(path: Path, sections: Iterable[str]) -> LinedMap:
    """The file's document; raises ConfigFileError when it is none, or no mapping."""
    text = _read(path)
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506  (a SafeLoader with lines)
    except yaml.MarkedYAMLError as error:
        line = _line_of(error.problem_mark or error.context_mark)
        raise ConfigFileError([Problem(line, f"not valid YAML: {error.problem}")]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigFileError([Problem(1, f"not valid YAML: {error}".splitlines()[0])]) from None
    if not isinstance(document, LinedMap):
        raise ConfigFileError([Problem(1, "it must have the sections " + ", ".join(sections))])
    return document


def _line_of(mark: Any) -> int:
    return mark.line + 1 if mark else 1


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigFileError([Problem(1, "the file is larger than 10 MB")])
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigFileError([Problem(1, f"it cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise ConfigFileError([Problem(1, "it is not UTF-8 text")]) from None
