"""How the web process runs: one worker with threads; the schedule and the runs live in it."""

import gc
from typing import Any

from services import jobs
from services.database import upgrade

bind = "127.0.0.1:8000"
workers = 1
worker_class = "gthread"
threads = 8
timeout = 120
graceful_timeout = 60
accesslog = None
errorlog = "-"
loglevel = "warning"
control_socket_disable = True
# No max_requests: recycling the worker would kill a running sync.


def post_worker_init(worker: Any) -> None:
    """Before the first request: the schema of this version, and runs that died marked as such."""
    installation = worker.wsgi.extensions["tallybridge"]
    upgrade(installation.engine)
    jobs.recover_in_background(installation)
    # What is loaded now stays: full collections need not walk it while somebody types.
    gc.collect()
    gc.freeze()
