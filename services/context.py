"""What a sync run works with, put together once by the command line or the web page."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session, sessionmaker

from services.clients.connectwise import ConnectWiseClient
from services.clients.sophos import SophosClient
from services.settings import AppSettings, load_settings


class Progress(Protocol):
    """Told how far long work is: what is being done, how many of how many are done."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Tell the state of one stage."""


def no_progress(what: str, done: int, total: int) -> None:
    """For those who do not watch."""


class StoppedError(Exception):
    """The work was asked to stop, and did so at a safe point; the message says why."""


def never_stopped() -> str | None:
    """For work that nobody stops but the end of its process."""
    return None


@dataclass(frozen=True, slots=True)
class SyncContext:
    """Both vendors, the database and who is asking.

    `locked` are settings that the environment fixes. `settle_seconds` are the waits before each
    reading back of a doubtful create: a server that is slow may still be working on what we gave
    up waiting for. For `late_arrival` after that, what was not found may still come, and the next
    run waits for it; after a crash nobody knows when a request went out, so it waits `crash_wait`
    seconds. What was read longer ago than `believed_for` is read again before it is written to.
    `why_stop` is asked between two changes: as soon as it gives a reason, nothing more is begun.
    """

    engine: Engine
    sophos: SophosClient
    connectwise: ConnectWiseClient
    actor: str
    trigger: str
    now: Callable[[], dt.datetime]
    sleep: Callable[[float], None]
    locked: Mapping[str, Any] = field(default_factory=dict)
    settle_seconds: tuple[float, ...] = (0, 1, 3)
    late_arrival: dt.timedelta = dt.timedelta(minutes=1)
    crash_wait: float = 5
    believed_for: dt.timedelta = dt.timedelta(minutes=5)
    workers: int = 4
    progress: Progress = no_progress
    why_stop: Callable[[], str | None] = never_stopped

    def session(self) -> Session:
        """A session of its own for one short transaction; never open across a vendor call."""
        return sessionmaker(self.engine, expire_on_commit=False)()

    def settings(self) -> AppSettings:
        """The settings in force now."""
        with self.session() as session:
            return load_settings(session, self.locked)

    def stop_if_asked(self) -> None:
        """A safe point: raises StoppedError when the work is to stop."""
        why = self.why_stop()
        if why is not None:
            raise StoppedError(why)
