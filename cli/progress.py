"""A progress bar on a terminal; silence everywhere else."""

from __future__ import annotations

import atexit
import threading

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.progress import TimeRemainingColumn as TimeLeft

from services.context import Progress as ProgressTeller
from services.context import no_progress


def progress_bar(*, quiet: bool) -> ProgressTeller:
    """A teller of progress that draws on standard error, if that is a terminal."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        return no_progress
    return _Bar(console)


class _Bar:
    """One bar a stage; the stage before is closed when the next begins."""

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeLeft(),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()
        self._bars.start()
        atexit.register(self._bars.stop)

    def __call__(self, what: str, done: int, total: int) -> None:
        with self._lock:
            if what not in self._tasks:
                for task in self._tasks.values():
                    self._bars.update(task, visible=False)
                self._tasks[what] = self._bars.add_task(what, total=total)
            self._bars.update(self._tasks[what], completed=done, total=total)
