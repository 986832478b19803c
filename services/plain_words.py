"""What is wrong with a value, in words for the person who wrote it, not for a programmer."""

from __future__ import annotations

from pydantic_core import ErrorDetails

_NUMBER = "write a number, such as 5 or 0.5"
_SAID = {
    "missing": "it is missing",
    "extra_forbidden": "unknown name",
    "string_type": "write a name or a text; true and false stand in quotes then",
    "string_too_short": "it must have {min_length} or more characters",
    "too_short": "it must have {min_length} or more characters",
    "string_too_long": "it is too long: at most {max_length} characters",
    "too_long": "it is too long: at most {max_length} characters",
    "string_pattern_mismatch": "it is not written as it must be",
    "bool_type": "write true or false",
    "bool_parsing": "write true or false",
    "int_type": "write a whole number",
    "int_parsing": "write a whole number",
    "int_from_float": "write a whole number",
    "decimal_type": _NUMBER,
    "decimal_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "decimal_max_places": "at most {decimal_places} decimal places",
    "decimal_max_digits": "it is too large",
    "decimal_whole_digits": "it is too large",
    "greater_than_equal": "it must be {ge} or more",
    "less_than_equal": "it must be {le} or less",
    "enum": "write {expected}",
    "literal_error": "write {expected}",
    "dict_type": "write names with values, like {{name: value}}",
    "model_type": "write names with values, like {{name: value}}",
}


def plain_reason(error: ErrorDetails) -> str:
    """One error of pydantic, in plain words where there are some."""
    words = _SAID.get(error["type"])
    if words is None:
        return error["msg"].removeprefix("Value error, ")
    return words.format(**error.get("ctx", {}))
