"""The `conditions` language: text in, a test for records out.

expression := term {or term}      term := factor {and factor}
factor     := not factor | ( expression ) | path comparison
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sandbox.connectwise.errors import Refusal
from sandbox.connectwise.fields import Field

Test = Callable[[dict[str, Any]], bool]
Getter = Callable[[dict[str, Any]], Any]

TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>"[^"]*"|'[^']*')
      | (?P<instant>\[[^\]]*\])
      | (?P<number>[+-]?\d+(?:\.\d+)?(?![\w/]))
      | (?P<symbol><=|>=|!=|=|<|>|\(|\)|,)
      | (?P<word>[A-Za-z_][\w/]*)
    )""",
    re.VERBOSE,
)
MAX_DEPTH = 50
REFERENCE_PARTS = {
    "id": "int", "name": "text", "identifier": "text", "type": "text", "serializedFlag": "flag",
    "lastUpdated": "date", "dateEntered": "date", "updatedBy": "text",
}  # fmt: skip
# A value's kind -> the field kinds it may be compared with.
FITS = {
    "string": {"text"},
    "number": {"int", "number"},
    "instant": {"date"},
    "flag": {"flag"},
}


def malformed(text: str) -> Refusal:
    """The refusal of conditions that make no sense."""
    return Refusal(400, "InvalidConditions", f"conditions are invalid: {text}")


def parse(text: str, fields: dict[str, Field], *, lists: bool = False) -> Test:
    """The test that a conditions text stands for. `lists` allows paths into lists."""
    return _Parser(text, fields, lists=lists).parse()


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    position = 0
    text = text.rstrip()
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            raise malformed(f"unexpected text at position {position}")
        found.append((str(match.lastgroup), match[str(match.lastgroup)]))
        position = match.end()
    return found


def _instant(text: str) -> str:
    """A datetime literal in the form in which records hold theirs."""
    try:
        moment = datetime.fromisoformat(text[1:-1].strip().replace("Z", "+00:00"))
    except ValueError as error:
        raise malformed(f"{text} is no datetime") from error
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def kind_of(path: str, fields: dict[str, Field]) -> str | None:
    """The kind of the value at a path; None when there is no such field."""
    first, _, rest = path.partition("/")
    if first in ("lastUpdated", "updatedBy") and not rest:
        return REFERENCE_PARTS[first]
    field = fields.get(first)
    if field is None:
        return None
    if not rest:
        return field.kind
    return REFERENCE_PARTS.get(rest) if field.kind in ("reference", "list") else None


def getter(path: str) -> Getter:
    """A function that reads the value at a path; None when it is not there."""
    if path in ("lastUpdated", "updatedBy"):
        path = f"_info/{path}"
    parts = path.split("/")

    def read(record: dict[str, Any]) -> Any:
        value: Any = record
        for part in parts:
            value = value.get(part) if isinstance(value, dict) else None
        return value

    return read


def _pattern(text: str) -> re.Pattern[str]:
    """A like-pattern: % and * stand for any text."""
    pieces = (re.escape(piece) for piece in re.split(r"[%*]", text))
    return re.compile(".*".join(pieces), re.IGNORECASE | re.DOTALL)


def _comparable(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


def _compare(read: Getter, operator: str, wanted: Any) -> Test:
    """A comparison as a database makes it: an absent value is neither equal nor unequal."""
    wanted = _comparable(wanted)

    def has(record: dict[str, Any], holds: Callable[[Any], bool]) -> bool:
        value = _comparable(read(record))
        return value is not None and holds(value)

    tests: dict[str, Callable[[Any], bool]] = {
        "=": lambda value: bool(value == wanted),
        "!=": lambda value: bool(value != wanted),
        "<": lambda value: bool(value < wanted),
        ">": lambda value: bool(value > wanted),
        "<=": lambda value: bool(value <= wanted),
        ">=": lambda value: bool(value >= wanted),
    }
    holds = tests[operator]
    return lambda record: has(record, holds)


class _Parser:
    """Reads the tokens from left to right."""

    def __init__(self, text: str, fields: dict[str, Field], *, lists: bool) -> None:
        self.tokens = _tokens(text)
        self.fields = fields
        self.lists = lists
        self.position = 0
        self.depth = 0

    def parse(self) -> Test:
        """The whole expression; anything left over is an error."""
        test = self._any()
        if self.position < len(self.tokens):
            raise malformed(f"unexpected '{self.tokens[self.position][1]}'")
        return test

    def _next(self) -> tuple[str, str]:
        if self.position >= len(self.tokens):
            raise malformed("the text ends too early")
        self.position += 1
        return self.tokens[self.position - 1]

    def _accept(self, text: str) -> bool:
        """Step over a keyword or symbol if it comes next."""
        if self.position < len(self.tokens):
            kind, value = self.tokens[self.position]
            if kind in ("word", "symbol") and value.lower() == text:
                self.position += 1
                return True
        return False

    def _any(self) -> Test:
        tests = [self._all()]
        while self._accept("or"):
            tests.append(self._all())
        return tests[0] if len(tests) == 1 else lambda record: any(t(record) for t in tests)

    def _all(self) -> Test:
        tests = [self._one()]
        while self._accept("and"):
            tests.append(self._one())
        return tests[0] if len(tests) == 1 else lambda record: all(t(record) for t in tests)

    def _one(self) -> Test:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise malformed("too deeply nested")
        try:
            if self._accept("not"):
                test = self._one()
                return lambda record: not test(record)
            if self._accept("("):
                inner = self._any()
                if not self._accept(")"):
                    raise malformed("a bracket is not closed")
                return inner
            return self._comparison()
        finally:
            self.depth -= 1

    def _comparison(self) -> Test:
        sort, path = self._next()
        kind = kind_of(path, self.fields) if sort == "word" else None
        if kind is None:
            raise malformed(f"'{path}' is no field")
        field = self.fields.get(path.partition("/")[0])
        if field is not None and field.kind == "list":
            return self._in_list(path, kind)
        return self._operator(getter(path), kind)

    def _in_list(self, path: str, kind: str) -> Test:
        """True when any element of the list passes."""
        if not self.lists:
            raise malformed(f"'{path}' is a list: use childConditions")
        first, _, rest = path.partition("/")
        test = self._operator(getter(rest), kind)
        return lambda record: any(test(element) for element in record.get(first) or ())

    def _operator(self, read: Getter, kind: str) -> Test:
        if self._accept("not"):
            test = self._operator_word(read, kind)
            return lambda record: not test(record)
        sort, operator = self._next()
        if sort != "symbol" or operator in "(),":
            self.position -= 1
            return self._operator_word(read, kind)
        if self._accept("null"):
            return self._null(read, operator)
        return _compare(read, operator, self._value(kind))

    def _operator_word(self, read: Getter, kind: str) -> Test:
        if self._accept("contains"):
            wanted = self._text(kind).casefold()
            return lambda record: wanted in str(read(record) or "").casefold()
        if self._accept("like"):
            pattern = _pattern(self._text(kind))
            return lambda record: bool(pattern.fullmatch(str(read(record) or "")))
        if self._accept("in"):
            values = self._values(kind)
            return lambda record: _comparable(read(record)) in values
        raise malformed("an operator is missing")

    @staticmethod
    def _null(read: Getter, operator: str) -> Test:
        if operator == "=":
            return lambda record: read(record) is None
        if operator == "!=":
            return lambda record: read(record) is not None
        raise malformed("null takes = and != only")

    def _text(self, kind: str) -> str:
        value = self._value(kind)
        if not isinstance(value, str) or kind != "text":
            raise malformed("this operator is for texts")
        return value

    def _values(self, kind: str) -> set[Any]:
        if not self._accept("("):
            raise malformed("'in' needs a list in brackets")
        values = {_comparable(self._value(kind))}
        while self._accept(","):
            values.add(_comparable(self._value(kind)))
        if not self._accept(")"):
            raise malformed("a bracket is not closed")
        return values

    def _value(self, kind: str) -> Any:
        sort, text = self._next()
        if sort == "word" and text.lower() in ("true", "false"):
            sort = "flag"
        if kind not in FITS.get(sort, set()):
            raise malformed(f"{text} does not fit the field")
        if sort == "flag":
            return text.lower() == "true"
        if sort == "instant":
            return _instant(text)
        if sort == "number":
            return float(text) if "." in text else int(text)
        return text[1:-1]
