"""A process in the built image as a container runtime would run it, where there is none.

Namespaces for mounts and processes, the image as a read-only root, a tmpfs on /tmp, a folder on
/data, any user id in group 0, no capabilities, no new privileges, and the image's own
environment. What is *not* as in a container: the network is this machine's (so everything listens
on 127.0.0.1 only), and there is no seccomp filter. The memory limit holds where this machine
lets us make a control group.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from scripts.image_check.build import Image
from scripts.image_check.shell import CheckError

_INSIDE = """
root=$1 data=$2 group=$3; shift 3
[ -z "$group" ] || echo $$ > "$group/cgroup.procs"
mount --bind "$root" "$root"
mount --bind "$data" "$root/data"
mount -t tmpfs -o size=64m,mode=1777,nosuid,nodev,noexec tmpfs "$root/tmp"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t tmpfs -o size=64k,mode=755,nosuid tmpfs "$root/dev"
mknod -m 666 "$root/dev/null" c 1 3
mknod -m 666 "$root/dev/zero" c 1 5
mknod -m 666 "$root/dev/random" c 1 8
mknod -m 666 "$root/dev/urandom" c 1 9
mount -o remount,bind,ro "$root"
exec chroot "$root" "$@"
"""
_NAMESPACES = ("--mount", "--pid", "--ipc", "--uts", "--fork", "--propagation=private")


@dataclass(slots=True)
class Box:
    """Where commands of the image run, and the main process while there is one."""

    image: Image
    data: Path
    uid: int
    environment: Mapping[str, str] = field(default_factory=dict)
    group: Path | None = None
    _outer: subprocess.Popen[str] | None = None

    @contextmanager
    def running(self, *command: str) -> Iterator[int]:
        """The main process, the image's own command by default; its pid here. Killed at the end."""
        inside = ["sh", "-euc", _INSIDE, "sh", str(self.image.root), str(self.data)]
        inside += [str(self.group or ""), *self._as_user(command or self.image.config["Cmd"])]
        with subprocess.Popen(
            ["unshare", *_NAMESPACES, *inside],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as self._outer:
            try:
                yield self._main_pid()
            finally:
                self.kill()

    def run(self, *command: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """A command in a box of its own, over the same data; as `docker run --rm` does."""
        with self.running(*command):
            assert self._outer is not None  # noqa: S101
            try:
                printed, _ = self._outer.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                raise CheckError(f"{command[0]} did not end in {seconds:.0f} seconds") from None
            return subprocess.CompletedProcess(command, self._outer.returncode, printed, "")

    def execute(self, *command: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """A command beside the main process, as `docker exec` does."""
        enter = ["nsenter", "-t", str(self._main_pid()), "-m", "-p", "-r"]
        try:
            return subprocess.run(
                [*enter, *self._as_user(command)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CheckError(f"{command[0]} did not end in {seconds:.0f} seconds") from None

    def stop(
        self, seconds: float, how: signal.Signals = signal.SIGTERM
    ) -> tuple[float, int | None]:
        """Signal the main process: after how many seconds it ended, and its exit code.

        The code is None when it had not ended after so many seconds; it is killed then.
        """
        assert self._outer is not None  # noqa: S101
        begun = time.monotonic()
        os.kill(self._main_pid(), how)
        try:
            self._outer.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return seconds, None
        return time.monotonic() - begun, self._outer.returncode

    def kill(self) -> None:
        """End everything inside at once: with its process number 1 the others go too."""
        # Not left to unshare's --kill-child: that is forgotten when the user changes.
        with suppress(CheckError, ProcessLookupError):
            os.kill(self._main_pid(), signal.SIGKILL)

    def processes(self) -> list[int]:
        """All processes in the box, by their pid here."""
        found, open_ones = [], [self._main_pid()]
        while open_ones:
            pid = open_ones.pop()
            found.append(pid)
            with suppress(OSError):
                text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
                open_ones += map(int, text.split())
        return found

    def _as_user(self, command: Sequence[str]) -> list[str]:
        """No rights but those of this user, and the image's environment with ours on top."""
        drop = ["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"]
        who = [f"--reuid={self.uid}", "--regid=0", "--clear-groups"]
        values = {**self.image.environment, **self.environment}
        given = [f"{name}={value}" for name, value in values.items()]
        folder = f"--chdir={self.image.config['WorkingDir']}"
        return ["setpriv", *who, *drop, "env", "-i", folder, *given, *command]

    def _main_pid(self) -> int:
        """The process that is number 1 inside."""
        assert self._outer is not None  # noqa: S101
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children")
        for _ in range(200):
            with suppress(OSError):
                if found := children.read_text(encoding="ascii").split():
                    return int(found[0])
            if self._outer.poll() is not None:
                break
            time.sleep(0.01)
        raise CheckError(f"the process in the image has ended: {self._outer.returncode}")
