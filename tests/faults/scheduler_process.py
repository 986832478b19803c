"""A process with a scheduler and a clock that runs fast; started by test_scheduler_processes.

All of them share the clock: the machine's monotonic one, many times as quick. A run is pretended:
a row that names its slot and the process.
"""

from __future__ import annotations

import datetime as dt
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from cryptography.fernet import Fernet

import models
from config import load_config
from models import RunState, SlotState
from services.database import configure
from services.installation import Installation
from services.runs.jobs import Jobs
from services.scheduling import scheduled_run
from services.scheduling.scheduler import Scheduler
from services.scheduling.slots import SCHEDULED, Outcome
from services.secrets import Vault
from tests.at import end_with_parent


@dataclass(frozen=True)
class Fast(Installation):
    """An installation whose days last a second or so."""

    began: dt.datetime
    go: Path
    speed: float

    def now(self) -> dt.datetime:
        """Stands still until the file `go` says at which moment it began to run."""
        if not self.go.exists():
            return self.began
        since = time.monotonic() - float(self.go.read_text(encoding="ascii"))
        return self.began + dt.timedelta(seconds=since * self.speed)


def main(began: str, go: str, speed: str, beat: str) -> None:
    """Lead or wait to lead, until told to end."""
    end_with_parent()
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # late beats are no news here
    faulthandler.register(signal.SIGUSR1)  # to say where it hangs, if it ever does
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    config = load_config(os.environ)
    engine = sa.create_engine(config.sqlalchemy_url)
    configure(engine)
    installation = Fast(
        config,
        engine,
        Vault([Fernet.generate_key().decode()]),
        dt.datetime.fromisoformat(began),
        Path(go),
        float(speed),
    )

    def pretend(installation: Installation, jobs: Jobs, slot: models.ScheduledSlot) -> Outcome:
        run = models.SyncRun(
            trigger=SCHEDULED,
            actor=SCHEDULED,
            state=RunState.SUCCEEDED,
            message=f"{slot.key} {os.getpid()}",
            started_at=installation.now(),
        )
        with installation.session() as session, session.begin():
            session.add(run)
        return Outcome(SlotState.DONE)

    scheduled_run.carry_out = pretend
    scheduler = Scheduler(installation, Jobs(installation), beat=float(beat))
    scheduler.start()
    while not ended.wait(0.2):  # a signal need not wake this very thread
        pass
    scheduler.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
