"""How the web process runs: one worker with threads; the schedule and the runs live in it."""

import gc
import os
import secrets
import sys
from typing import Any

bind = f"{os.environ.get('BIND') or '127.0.0.1'}:{os.environ.get('PORT') or '8000'}"
workers = 1
worker_class = "gthread"
threads = 8
timeout = 120
graceful_timeout = 60
accesslog = None
errorlog = "-"
loglevel = "warning"
control_socket_disable = True
os.umask(0o077)  # the database, the log and the keys are for this user only
header_map = "drop"  # X_Remote_User must not pass for the X-Remote-User that a proxy sets
# No max_requests: recycling the worker would kill a running sync.

_SEED = secrets.token_bytes(8)
"""Of the set-up code: made once a start, so that every worker of it says the same one."""
_ENDS_THE_SERVER = 4
"""The exit code of a worker after which gunicorn starts no other: its APP_LOAD_ERROR."""


def post_fork(_server: Any, worker: Any) -> None:
    """What stops the start ends the server as well, and not one worker after the other."""
    from services import logs

    logs.show_on(sys.stderr)  # JSON lines, or plain ones for a person at a terminal
    load = worker.load_wsgi

    def load_or_end() -> None:
        try:
            load()
        except SystemExit:
            sys.exit(_ENDS_THE_SERVER)

    worker.load_wsgi = load_or_end


def on_starting(_server: Any) -> None:
    """Before there is a worker: refuse in one line what a worker would fail at again and again.

    In a process of its own, so that this one stays small and holds no connection.
    """
    child = os.fork()
    if child == 0:
        os._exit(_prepared())  # which raises nothing: this process must never go on as a server
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit(os.waitstatus_to_exitcode(status))


def _prepared() -> int:
    """Bring the database up and check the keys; returns the exit code."""
    from app import create_app
    from services.database import DatabaseUnusableError
    from services.secrets import WrongKeyError
    from services.upkeep.start import prepare

    try:
        for warning in prepare(create_app().extensions["tallybridge"]):
            sys.stderr.write(f"Warning: {warning}\n")
    except (DatabaseUnusableError, WrongKeyError) as error:
        sys.stderr.write(f"Tallybridge cannot start. {error}\n")
        return 2
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:  # noqa: BLE001  # it is shown, and the process ends
        sys.excepthook(*sys.exc_info())
        return 1
    finally:
        sys.stderr.flush()
    return 0


def post_worker_init(worker: Any) -> None:
    """Before the first request: runs that died are marked as such, and the schedule begins."""
    # Here, because the process that only watches over the worker needs none of it in its memory.
    from services.first_run import setup_code
    from services.monitoring.notifications import notify_tick
    from services.runs import jobs
    from services.scheduling.scheduler import Scheduler
    from services.upkeep.housekeeping import housekeeping

    installation = worker.wsgi.extensions["tallybridge"]
    # A worker that is told to end says so at once, long before it has ended.
    runs = jobs.Jobs(installation, ending=lambda: not worker.alive)
    worker.wsgi.extensions["tallybridge_jobs"] = runs
    jobs.recover_in_background(installation)
    worker.scheduler = Scheduler(installation, runs, chores=[notify_tick, housekeeping])
    worker.scheduler.start()
    setup_code.welcome(installation, setup_code.code_from(_SEED), str(worker.sockets[0]))
    # What is loaded now stays: full collections need not walk it while somebody types.
    gc.collect()
    gc.freeze()


def worker_exit(_server: Any, worker: Any) -> None:
    """The last requests are answered: a run that goes on comes to its next safe point."""
    # The arbiter calls this too, about a worker that is gone; it has no scheduler there.
    scheduler = getattr(worker, "scheduler", None)
    if scheduler is not None:
        scheduler.stop()
