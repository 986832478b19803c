"""The logs: one line an event, with its ids, and never a secret.

Everything that logs goes through here, our own code and the libraries. Lines are JSON, in a file
of bounded size and on standard error; a person at a terminal gets plain lines instead. Whatever an
event contains, it cannot forge a line: control characters are written as escapes.
"""

from __future__ import annotations

import contextvars
import datetime as dt
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import AbstractContextManager
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO

import structlog
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.stdlib import ProcessorFormatter

from services.clients.known_secrets import HIDDEN, known_secrets

MOST_BYTES = 5_000_000
FILES = 3
"""So many files of so many bytes are kept: the present one and those before it."""

_LONGEST = 20_000
_FIRST = ("at", "level", "logger", "event")
_SECRET_NAMES = re.compile(r"passw|secret|token|authorization|cookie|(api|private).?key", re.I)
_QUERY = re.compile(r"\?[^\s\"]*")
_Event = MutableMapping[str, Any]


def keep_in(file: Path) -> None:
    """Keep the log in this file from now on. Several processes may write to it."""
    for logger in (logging.getLogger(), logging.getLogger("tallybridge")):
        _drop(logger, _File)
    handler = _File(file, maxBytes=MOST_BYTES, backupCount=FILES - 1, encoding="utf-8", delay=True)
    handler.setFormatter(_formatter(structlog.processors.JSONRenderer()))
    logging.getLogger().addHandler(handler)
    logging.getLogger("tallybridge").setLevel(logging.INFO)
    _say_on(logging.getLogger("werkzeug"), sys.stderr)  # the development server's own lines


def show_on(stream: TextIO) -> None:
    """Show the log on a stream as well, as a server does; gunicorn's own lines included."""
    _say_on(logging.getLogger(), stream)
    for name in ("gunicorn.error", "gunicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    threading.excepthook = _log_dead_thread


def during(**ids: object) -> AbstractContextManager[None]:
    """Every line that is logged inside `with` this carries these ids."""
    return bound_contextvars(**ids)


def carried() -> Callable[[], None]:
    """An `initializer` for a pool of threads: their lines carry the ids of whoever made the pool.

    Threads do not see the context of the one that starts them.
    """
    context = contextvars.copy_context()

    def take_over() -> None:
        for variable, value in context.items():
            variable.set(value)

    return take_over


# --- handlers -----------------------------------------------------------------------------------


class _Quiet(logging.Handler):
    """A line that cannot be written stops nobody's work, and shows no more than its kind."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        kind = sys.exc_info()[0]
        name = kind.__name__ if kind else "unknown"
        try:
            sys.stderr.write(f"A log line of {record.name} could not be written: {name}\n")
        except (OSError, ValueError):
            return


class _File(_Quiet, RotatingFileHandler):
    """Of bounded size. Another process may have moved the file on: then we follow."""

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802
        if self.stream is not None and _moved(self.stream, self.baseFilename):
            self.stream.close()
            self.stream = self._open()
        return bool(super().shouldRollover(record))


class _Stream(_Quiet, logging.StreamHandler[TextIO]):
    pass


def _moved(stream: TextIO, path: str) -> bool:
    try:
        there = Path(path).stat()
    except OSError:
        return True
    here = os.fstat(stream.fileno())
    return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)


def _say_on(logger: logging.Logger, stream: TextIO) -> None:
    _drop(logger, _Stream)
    handler = _Stream(stream)
    readable = stream.isatty()
    handler.setFormatter(
        _formatter(_for_people if readable else structlog.processors.JSONRenderer())
    )
    logger.addHandler(handler)


def _drop(logger: logging.Logger, kind: type[logging.Handler]) -> None:
    for handler in [h for h in logger.handlers if isinstance(h, kind)]:
        logger.removeHandler(handler)
        handler.close()


def _log_dead_thread(args: threading.ExceptHookArgs) -> None:
    name = args.thread.name if args.thread else "unknown"
    error = (args.exc_type, args.exc_value, args.exc_traceback)
    logging.getLogger("tallybridge").error("the thread %s died", name, exc_info=error)  # type: ignore[arg-type]


# --- what a line becomes ------------------------------------------------------------------------


def _formatter(renderer: Any) -> ProcessorFormatter:
    return ProcessorFormatter(
        foreign_pre_chain=[merge_contextvars, structlog.stdlib.ExtraAdder()],
        processors=[
            _headed,
            structlog.processors.format_exc_info,
            ProcessorFormatter.remove_processors_meta,
            _without_secrets,
            renderer,
        ],
    )


def _headed(_logger: object, _method: str, event: _Event) -> _Event:
    """When, how bad, from where and what come first on every line."""
    record: logging.LogRecord = event["_record"]
    what = str(event.pop("event"))
    if record.name == "werkzeug":
        what = _QUERY.sub("", what)
    at = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
    head = {"at": at, "level": record.levelname.lower(), "logger": record.name, "event": what}
    others = {k: v for k, v in event.items() if k not in (*head, "message", "asctime")}
    return {**head, **others}


def _without_secrets(_logger: object, _method: str, event: _Event) -> _Event:
    return {str(key): _hidden(str(key), value) for key, value in event.items()}


def _hidden(key: str, value: object) -> object:
    if _SECRET_NAMES.search(key):
        return HIDDEN
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(k): _hidden(str(k), v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_hidden("", each) for each in value]
    return known_secrets.hide(str(value))[:_LONGEST]


def _for_people(_logger: object, _method: str, event: _Event) -> str:
    """One line for a terminal; a traceback follows, indented, so that it is none by itself."""
    at, level, logger, what = (str(event.get(name, "")) for name in _FIRST)
    rest = [f"{k}={v}" for k, v in event.items() if k not in (*_FIRST, "exception")]
    line = " ".join([at[11:19], f"{level:<7}", logger, what, *rest])
    trace = str(event.get("exception", "")).splitlines()
    return "\n    ".join(_printable(part) for part in (line, *trace))


def _printable(text: str) -> str:
    """Without anything that moves the cursor, turns the text round or begins a new line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
