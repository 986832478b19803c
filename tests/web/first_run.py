"""What the tests of the first run share: an installation without an account, and its values."""

from __future__ import annotations

import threading

import sqlalchemy as sa
from flask import Flask

import models
from sandbox import Sandbox
from services.first_run import setup_code
from tests.web.dom import Element
from tests.web.world import installation_of

CODE = "7K2M-Q0ZD-4XWN"
PASSWORD = "a long enough password"
ACCOUNT = {"code": CODE, "name": "anna", "password": PASSWORD, "again": PASSWORD}


def hosts(sandbox: Sandbox) -> dict[str, str]:
    """What only the environment can set: where the simulated vendors stand."""
    names = ("SOPHOS_ID_URL", "SOPHOS_API_URL", "ALLOWED_VENDOR_HOSTS")
    return {name: sandbox.env()[f"TALLYBRIDGE_{name}"] for name in names}


def values(sandbox: Sandbox, vendor: str) -> dict[str, str]:
    """What a person types to connect a vendor."""
    start = f"TALLYBRIDGE_{vendor.upper()}_"
    return {
        name.removeprefix("TALLYBRIDGE_").lower(): value
        for name, value in sandbox.env().items()
        if name.startswith(start) and not name.endswith("_URL")
    }


def without_users(app: Flask) -> Flask:
    """An installation in which nobody could sign in, whose server has said CODE."""
    with installation_of(app).session() as session, session.begin():
        session.execute(sa.delete(models.User))
    setup_code.welcome(installation_of(app), CODE, "http://127.0.0.1:8000")
    return app


def users(app: Flask) -> list[models.User]:
    with installation_of(app).reading() as session:
        return list(session.scalars(sa.select(models.User)))


def settle(app: Flask) -> None:
    """Wait until nothing is read or tested in the background any more."""
    if jobs := app.extensions.get("tallybridge_jobs"):
        jobs.join()
    for name in ("directory", "catalog", "test Sophos", "test ConnectWise"):
        for thread in threading.enumerate():
            if thread.name == name:
                thread.join(20)


def ticked(page: Element) -> dict[str, str | list[str]]:
    """A form with every suggestion ticked."""
    return {"accept": [box["value"] for box in page.all("input", name="accept")]}


def current(page: Element) -> str:
    """The step that the list of steps marks as the current one."""
    (step,) = page.all("li", **{"aria-current": "step"})
    return step.text
