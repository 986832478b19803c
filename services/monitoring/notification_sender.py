"""The process that sends: a job comes in, lines of JSON go out.

`python -m services.monitoring.notification_sender` starts it. It is a process of its own so that
nothing there can hurt a run: it is killed when it takes too long, its memory is gone when it ends,
and it is locked in. It connects to nothing that an administrator may not name, starts no program,
and opens no file but its own libraries'.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import re
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

METADATA = frozenset({"fd00:ec2::254", "100.100.100.200", "192.0.0.192"})
"""Where clouds give keys to whoever asks from inside, beyond the link-local addresses."""
_LIBRARIES = ("/usr/lib", "/usr/share", "/usr/local/lib", "/usr/local/share", "/etc/ssl")
_FILES = ("/dev/null", "/dev/urandom", "/etc/mime.types")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork")
_STATUS = re.compile(r"\berror=(\d{3})\b")
_refused = threading.local()


def main() -> None:
    """Read a job, do it, write one line for each address as soon as its result is there."""
    job = json.load(sys.stdin)
    sys.dont_write_bytecode = True
    apprise, asset = _apprise()
    targets = [_target(apprise, asset, url) for url in job["urls"]]
    if job["check"]:
        for number, target in enumerate(targets):
            _say(number, "sent" if target is not None else "unreadable")
        return
    _lock_in(job["allowed"])
    logging.getLogger("apprise").addHandler(_Heard())
    with ThreadPoolExecutor(8) as pool:
        for number, target in enumerate(targets):
            pool.submit(_send, number, target, job["title"], job["body"])


def _apprise() -> tuple[Any, Any]:
    """The library, imported here only; it reads no configuration and keeps nothing on disk."""
    import apprise  # noqa: PLC0415

    asset = apprise.AppriseAsset(
        app_id="Tallybridge", app_desc="Tallybridge", storage_mode="memory", async_mode=False
    )
    return apprise.Apprise, asset


def _target(apprise: Any, asset: Any, url: str) -> Any:
    target = apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if target is not None:
        target.redirects = False  # whatever the address says: a redirect may lead anywhere
    return target


def _send(number: int, target: Any, title: str, body: str) -> None:
    _refused.address, _refused.status = False, None
    try:
        sent = target is not None and target.notify(title=title, body=body, body_format="text")
    except Exception as error:  # noqa: BLE001  # a hundred plugins: any of them may raise anything
        sent = False
        _Heard.note(str(error))
    _say(number, "sent" if sent else _why(target))


def _why(target: Any) -> str:
    """A word of ours; what a service or a library says may quote the address."""
    if target is None:
        return "unreadable"
    if _refused.address:
        return "forbidden"
    return f"answered {_refused.status}" if _refused.status else "unreachable"


def _say(number: int, word: str) -> None:
    sys.stdout.write(json.dumps([number, word]) + "\n")
    sys.stdout.flush()


class _Heard(logging.Handler):
    """Takes the HTTP status out of what the library logs, and nothing else."""

    def emit(self, record: logging.LogRecord) -> None:
        self.note(record.getMessage())

    @staticmethod
    def note(text: str) -> None:
        """Remember a status for the message that this thread sends."""
        found = _STATUS.search(text)
        if found:
            _refused.status = found[1]


# --- locked in ----------------------------------------------------------------------------------


def _lock_in(allowed: Iterable[str]) -> None:
    """Watch everything that Python does from now on; there is no way back."""
    named = frozenset(allowed)
    prefixes = (*_LIBRARIES, sys.prefix, sys.base_prefix)
    inside = tuple(f"{os.path.realpath(p)}/" for p in prefixes if p != "/")

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and not may_connect(arguments[1], named):
            _refused.address = True
            raise PermissionError("this address is not allowed")
        if event == "open" and not may_open(arguments, inside):
            raise PermissionError("files are out of reach")
        if event.startswith(_PROGRAMS):
            raise PermissionError("no program is started")

    sys.addaudithook(watch)


def may_connect(address: Any, allowed: frozenset[str]) -> bool:
    """Whether a socket may be connected to this: no address of this machine or of its cloud.

    Private networks are fine: chat and mail servers stand there. What is `allowed` is `IP` or
    `IP:PORT`.
    """
    if not isinstance(address, tuple):
        return False  # a socket in the file system
    try:
        ip = ipaddress.ip_address(str(address[0]).partition("%")[0])
    except ValueError:
        return False  # a name: the libraries look names up before they connect
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if {str(ip), f"{ip}:{address[1]}", f"[{ip}]:{address[1]}"} & allowed:
        return True
    ours = ip.is_loopback or ip.is_link_local or ip.is_unspecified
    return not (ours or ip.is_multicast or ip.is_reserved or str(ip) in METADATA)


def may_open(arguments: tuple[Any, ...], inside: tuple[str, ...]) -> bool:
    """Whether a file may be opened: for reading, and only a library's."""
    path, mode, flags = arguments
    if isinstance(path, int):
        return True
    writes = set(str(mode or "")) & set("wax+") or (mode is None and flags & _WRITING)
    real = os.path.realpath(os.fsdecode(path))
    return not writes and (real in _FILES or real.startswith(inside))


if __name__ == "__main__":
    main()
