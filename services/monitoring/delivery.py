"""Give a message to the services that a person chose, by a process that may do nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 25
"""Seconds for all services together."""
_SERVICES = """
apprise apprises bark barks betterstack brevo clicksend cliq dingtalk discord feishu flock form
forms gchat goalert goalerts gotify gotifys guilded hassio hassios humhub humhubs ifttt ilert
incidentio jira join json jsons lark line mailersend mailgun mailto mailtos mastodon mastodons
matrix matrixs mmost mmosts msgbird ncloud nclouds nctalk nctalks nexmo notica noticas
notifiarr ntfy ntfys o365 onesignal opsgenie pagerduty pagertree pbul plivo postmark pover
prowl push pushdeer pushdeers pushed pushy resend ringc rocket rockets ryver schan sendgrid ses
signal signals signl4 simplepush sinch slack smtp2go sns sparkpost splunk spush squadcast
synology synologys telnyx tgram threema toot toots twilio twist victorops vonage webex wecombot
workflow workflows wxteams xml xmls zcliq zohocliq zoom zulip
"""
SERVICES = frozenset(_SERVICES.split())
"""What may be chosen: services of the network. None shows windows or writes to this machine."""
_FILES = frozenset({"template", "keyfile", "pgpkey", "pgp", "subfile", "attach"})
"""Parameters by which some of them would read a file here and send it."""
_KEPT = ("PATH", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")


class UnusableAddressError(ValueError):
    """An address cannot be used for notifications; the message says why, without quoting it."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one message to one service; `problem` is a sentence of ours, free of secrets."""

    sent: bool
    problem: str = ""


def service_of(url: str) -> str:
    """The name of the service that an address is for, like `slack`; the only part that is shown."""
    return url.partition("://")[0].strip().lower()


def check_address(url: str) -> None:
    """Raises UnusableAddressError unless it is a whole address of a service that may be used."""
    if "://" not in url or any(c.isspace() or not c.isprintable() for c in url):
        raise UnusableAddressError("It is not an address like slack://... or mailtos://...")
    if service_of(url) not in SERVICES:
        raise UnusableAddressError(
            "It is not a service that can be used here. Those of the network can, like slack, "
            "workflows (Teams), mailtos, ntfys or json; those of this machine cannot."
        )
    if _FILES & {name.lower() for name in parse_qs(urlsplit(url).query, keep_blank_values=True)}:
        raise UnusableAddressError("It names a file, and files are not sent. Leave that part out.")
    (word,) = _work({"check": True, "urls": [url]}, 1)
    if word != "sent":
        raise UnusableAddressError(
            "The service does not understand it. Compare it with the service's page in Apprise's "
            "documentation."
        )


def deliver(
    urls: Sequence[str],
    title: str,
    body: str,
    *,
    allowed: Sequence[str] = (),
    patience: float = PATIENCE,
) -> list[Result]:
    """Send one message to each address; ends within `patience` seconds and never raises.

    `allowed` are addresses of this machine that may be reached in spite of that, `IP:PORT`.
    """
    job = {"check": False, "urls": list(urls), "title": title, "body": body}
    words = _work({**job, "allowed": list(allowed)}, len(urls), patience)
    return [_result(word, patience) for word in words]


def _work(job: dict[str, object], count: int, patience: float = PATIENCE) -> list[str]:
    """A word for each address; those without one did not answer in time."""
    environment = {"HOME": "/nonexistent"}
    environment |= {name: os.environ[name] for name in _KEPT if name in os.environ}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "services.monitoring.notification_sender"],
            cwd=ROOT,
            env=environment,
            input=json.dumps(job).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a library may quote an address there
            timeout=patience,
            check=False,
        )
        out = done.stdout
    except subprocess.TimeoutExpired as late:
        out = late.stdout or b""
    except OSError:
        return ["not started"] * count
    said = dict(json.loads(line) for line in out.decode().splitlines() if line.endswith("]"))
    return [str(said.get(number, "silent")) for number in range(count)]


def _result(word: str, patience: float) -> Result:
    if word == "sent":
        return Result(sent=True)
    if word.startswith("answered "):
        return Result(sent=False, problem=_refusal(int(word.split()[1])))
    return Result(sent=False, problem=_PROBLEMS[word].format(seconds=f"{patience:g}"))


def _refusal(status: int) -> str:
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "unknown"
    return f"The service refused the message: {status} ({phrase})."


_PROBLEMS = {
    "unreadable": "The service no longer understands the address; enter it again.",
    "forbidden": "The address leads to this machine or its cloud, where nothing is sent. If that "
    "is meant, add it to TALLYBRIDGE_ALLOWED_NOTIFICATION_HOSTS.",
    "unreachable": "The service could not be reached, or refused the message.",
    "silent": "The service did not answer within {seconds} seconds.",
    "not started": "The sending could not be started on this machine.",
}
