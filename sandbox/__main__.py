"""The sandbox in the foreground: python -m sandbox."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from sandbox.options import Options
from sandbox.running import Sandbox, start


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal, the end of standard input or the end of the lifetime."""
    chosen = _parser().parse_args(arguments)
    try:
        serve(
            _options(chosen),
            env_file=chosen.env_file,
            config_file=chosen.config_file,
            stop_with_stdin=chosen.stop_with_stdin,
            max_lifetime=chosen.max_lifetime,
        )
    except OSError as error:
        sys.stderr.write(f"The sandbox cannot start: {error}\n")
        return 1
    return 0


def serve(
    options: Options,
    *,
    env_file: Path | None = None,
    config_file: Path | None = None,
    stop_with_stdin: bool = False,
    max_lifetime: float | None = None,
) -> None:
    """Run in the foreground (of the main thread) until told to stop."""
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    with start(options) as sandbox:
        _announce(sandbox, env_file, config_file)
        if stop_with_stdin:
            threading.Thread(target=_wait_for_end_of_input, args=(done,), daemon=True).start()
        done.wait(max_lifetime)


def _parser() -> argparse.ArgumentParser:
    default = Options()
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    add = parser.add_argument
    add("--sophos-port", type=int, default=0, help="0: any free port")
    add("--connectwise-port", type=int, default=0, help="0: any free port")
    add("--tenants", type=int, default=default.tenants)
    add("--products", type=int, default=default.products)
    add("--catalog", type=int, default=default.catalog)
    add("--latency", type=float, default=0, metavar="MS", help="added to every answer")
    add("--seed", type=int, default=default.seed)
    add("--today", type=date.fromisoformat, default=None, metavar="YYYY-MM-DD")
    add(
        "--rate-limit",
        type=int,
        default=default.connectwise_rate_per_minute,
        metavar="N",
        help="ConnectWise requests per minute",
    )
    add("--no-sophos-limits", action="store_true", help="switch Sophos' rate limits off")
    add("--env-file", type=Path, help="write the environment lines here (mode 0600)")
    add("--config-file", type=Path, help="write the sample mappings here")
    add("--stop-with-stdin", action="store_true", help="stop when standard input ends")
    add("--max-lifetime", type=float, default=None, metavar="SECONDS")
    return parser


def _options(chosen: argparse.Namespace) -> Options:
    limits = () if chosen.no_sophos_limits else Options().sophos_limits
    return Options(
        tenants=chosen.tenants,
        products=chosen.products,
        catalog=chosen.catalog,
        seed=chosen.seed,
        today=chosen.today,
        latency_ms=chosen.latency,
        sophos_port=chosen.sophos_port,
        connectwise_port=chosen.connectwise_port,
        connectwise_rate_per_minute=chosen.rate_limit,
        sophos_limits=limits,
    )


def _announce(sandbox: Sandbox, env_file: Path | None, config_file: Path | None) -> None:
    """Files first: whoever reads the printed lines may count on them."""
    lines = "".join(f"{name}={value}\n" for name, value in sandbox.env().items())
    if env_file:
        write_atomically(env_file, lines)
    if config_file:
        write_atomically(config_file, sandbox.sample_config())
    sys.stdout.write(f"Sophos      {sandbox.sophos_url}\n")
    sys.stdout.write(f"ConnectWise {sandbox.connectwise_url}\n{lines}")
    sys.stdout.flush()


def write_atomically(path: Path, text: str) -> None:
    """Write a file in one step, readable by its owner only."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).replace(path)


def _wait_for_end_of_input(done: threading.Event) -> None:
    # Not through sys.stdin: its lock, held here, would abort the interpreter at its end.
    while os.read(0, 4096):
        pass
    done.set()


if __name__ == "__main__":
    sys.exit(main())
