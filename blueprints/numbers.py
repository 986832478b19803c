"""Numbers in addresses: no larger than a database's own, so that a strange one is no page."""

from __future__ import annotations

from typing import Any

from flask import Flask
from werkzeug.routing import IntegerConverter, Map

LARGEST = 2**31 - 1
"""The greatest id that both databases can be asked for."""


class RowNumber(IntegerConverter):
    """`<int:...>` in an address; other numbers, and digits of other scripts, lead nowhere."""

    regex = "[0-9]{1,10}"

    def __init__(self, addresses: Map, **limits: Any) -> None:
        super().__init__(addresses, **{"max": LARGEST, **limits})


def init_app(app: Flask) -> None:
    """To be called before addresses are made."""
    app.url_map.converters["int"] = RowNumber
