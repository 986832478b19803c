"""HTTP sessions that follow nothing but our own instructions."""

from __future__ import annotations

from collections.abc import Collection
from http.cookiejar import DefaultCookiePolicy

import requests

from services.clients.addresses import CheckedAdapter

VERSION = "0.1.0"
POOL_SIZE = 4


def new_session(own_hosts: Collection[str] = (), own_ca: str = "") -> requests.Session:
    """A session that follows nothing but our own instructions.

    No proxies, certificates or `.netrc` passwords from the environment, no cookies, no retries
    below ours, certificates always checked. Connects to public addresses only; `own_hosts` are
    those that may stand in a private network, and for which `own_ca` (PEM) vouches too.
    """
    session = requests.Session()
    make_careful(session, own_hosts, own_ca)
    return session


def make_careful(
    session: requests.Session, own_hosts: Collection[str] = (), own_ca: str = ""
) -> None:
    """Let a session, of whatever library, follow nothing but our own instructions."""
    session.trust_env = False
    session.verify = True
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.update({"User-Agent": f"Tallybridge/{VERSION}", "Accept": "application/json"})
    adapter = CheckedAdapter(
        own_hosts,
        own_ca,
        pool_connections=2,
        pool_maxsize=POOL_SIZE,
        max_retries=0,
        pool_block=True,
    )
    session.mount("https://", adapter)
    session.mount("http://", adapter)
