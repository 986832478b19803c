"""The demonstration: both vendors simulated, a plan, the sync, a second run, then the web page.

Run by `make demo`. Everything stands on loopback and in a folder that is removed at the end. On a
terminal the web page stays until Ctrl-C; elsewhere it is only asked once whether it answers.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests

import sandbox

ROOT = Path(__file__).resolve().parent
CUSTOMERS = 12


def main() -> int:
    """Walk through one month of billing; returns the exit code."""
    started = time.monotonic()
    options = sandbox.Options(tenants=CUSTOMERS, catalog=120, report_ready=True)
    with (
        tempfile.TemporaryDirectory(prefix="tallybridge-demo-") as folder,
        sandbox.start(options) as vendors,
    ):
        _write(f"Sophos is simulated at {vendors.sophos_url}, ConnectWise at ")
        _write(f"{vendors.connectwise_url}. Nothing leaves this machine.\n")
        mappings = Path(folder, "mappings.yaml")
        mappings.write_text(vendors.sample_config(), encoding="utf-8")
        environment = {**_clean(os.environ), **vendors.env(), "TALLYBRIDGE_DATA_DIR": folder}

        _step("Are both vendors reachable, with every right that is needed?")
        _tallybridge(environment, "check")
        _step("Take over the sample mappings: products, customers, agreements")
        _tallybridge(environment, "config", "import", str(mappings))
        _step("What would change? Nothing is written yet")
        _tallybridge(environment, "sync", "plan")
        _step("Write it. What is not ours is held, until a person approves it once")
        _tallybridge(environment, "sync", "run")
        _step("Approve what is held, and write it")
        _tallybridge(environment, "sync", "run", "--approve", "all")
        _step("Once more: there must be nothing left to write")
        before = len(vendors.log.writes())
        left = json.loads(_tallybridge(environment, "sync", "run", "--json", quiet=True))["changes"]
        written = len(vendors.log.writes()) - before
        _write(f"{len(left)} changes planned, {written} writes to ConnectWise.\n")
        _write(f"\nDone in {time.monotonic() - started:.0f} seconds.\n")
        _show_the_page(environment, Path(folder))
    return 1 if left or written else 0


def _show_the_page(environment: dict[str, str], folder: Path) -> None:
    """Serve the app over the same data, with an administrator who lives as long as the demo."""
    password = secrets.token_urlsafe(12)
    file = folder / "password"
    file.write_text(password, encoding="utf-8")
    _step("The web page")
    _tallybridge(
        environment, "users", "create", "demo", "--role", "admin", "--password-file", str(file)
    )
    port = _free_port()
    command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py"]
    command += ["-b", f"127.0.0.1:{port}", "app:create_app()"]
    with subprocess.Popen(command, cwd=ROOT, env=environment) as server:
        try:
            _wait_for(port)
            _write(f"Open http://127.0.0.1:{port} and sign in as demo with {password}\n")
            if sys.stdout.isatty():
                _write("Ctrl-C ends it.\n")
                server.wait()
        except KeyboardInterrupt:
            _write("\n")
        finally:
            server.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    for _ in range(100):
        try:
            if requests.get(f"http://127.0.0.1:{port}/sign-in", timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.2)
    raise SystemExit("The web page did not start.")


def _tallybridge(environment: dict[str, str], *arguments: str, quiet: bool = False) -> str:
    """Run one command as a person would; ends the demonstration when it fails."""
    if not quiet:
        _write(f"$ flask --app app {' '.join(arguments)}\n")
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "app", *arguments],
        cwd=ROOT,
        env=environment,
        check=False,
        text=True,
        stdout=subprocess.PIPE if quiet else None,
        timeout=120,
    )
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout or ""


def _clean(environment: os._Environ[str]) -> dict[str, str]:
    """Without settings of a real installation: the demonstration must not reach real vendors."""
    return {k: v for k, v in environment.items() if not k.startswith("TALLYBRIDGE_")}


def _step(text: str) -> None:
    _write(f"\n--- {text}\n")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
