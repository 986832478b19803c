"""Is the web page of this container well? Exit code 0 or 1, and one line that says why not.

The standard library only, so that it starts in a few milliseconds.
"""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Mapping

ANYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "::1"}  # noqa: S104
_SECONDS = 8.0


def problem(environ: Mapping[str, str]) -> str | None:
    """Ask /healthz where gunicorn.conf.py listens; None when all is well."""
    bind = environ.get("BIND", "")
    host, port = ANYWHERE.get(bind, bind), environ.get("PORT", "") or "8000"
    try:
        connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=_SECONDS)
        connection.request("GET", "/healthz", headers={"Connection": "close"})
        answer = connection.getresponse()
        text = answer.read(2_000).decode(errors="replace")
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"The web page does not answer: {error}"
    return None if answer.status == 200 else f"{answer.status}: {' '.join(text.split())[:500]}"


if __name__ == "__main__":
    told = problem(os.environ)
    if told:
        sys.stdout.write(f"{told}\n")
    sys.exit(1 if told else 0)
