"""Settings: an overview, the default product, safety, and when runs start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, flash, make_response, redirect, url_for

from blueprints.access import requires
from blueprints.connections import connection_tests
from blueprints.htmx import render
from blueprints.settings_forms import (
    DefaultProductForm,
    RetentionForm,
    SafetyForm,
    ScheduleForm,
    SettingsForm,
    in_words,
    labelled,
)
from blueprints.support import actor, installation, reading, writing
from models import Role
from services.clients.errors import VendorError
from services.connection_values import CONNECTWISE, SOPHOS, connection_states
from services.connections import NotConfiguredError, connectwise_client
from services.products.pick_lists import FIELDS, PickLists, read_pick_lists
from services.scheduling.schedule_state import SchedulerState
from services.scheduling.schedule_state import state as scheduler_state
from services.secrets import WrongKeyError
from services.setting_changes import ChangedMeanwhileError, change_settings, fingerprint
from services.settings import SettingsError, load_settings, rails_off

blueprint = Blueprint("settings", __name__, url_prefix="/settings")

QUICK = (3.0, 10.0)
"""Time-outs in seconds where a person waits for ConnectWise's lists."""


@blueprint.get("")
@requires(Role.VIEWER)
def index() -> Response:
    settings = installation().settings()
    return render(
        "settings/index.html",
        fragment="settings/_index.html",
        settings=settings,
        scheduler=_scheduler(),
        rails=rails_off(settings.guard_rails),
        states=connection_states(installation(), (*CONNECTWISE, *SOPHOS)),
        tests=connection_tests().found(),
    )


@blueprint.get("/safety")
@requires(Role.VIEWER)
def safety() -> Response:
    return _show("safety", SafetyForm)


@blueprint.post("/safety")
@requires(Role.ADMIN)
def save_safety() -> Response:
    return _save("safety", SafetyForm)


@blueprint.get("/schedule")
@requires(Role.VIEWER)
def schedule() -> Response:
    return _show("schedule", ScheduleForm)


@blueprint.post("/schedule")
@requires(Role.ADMIN)
def save_schedule() -> Response:
    return _save("schedule", ScheduleForm)


@blueprint.get("/retention")
@requires(Role.VIEWER)
def retention() -> Response:
    return _show("retention", RetentionForm)


@blueprint.post("/retention")
@requires(Role.ADMIN)
def save_retention() -> Response:
    return _save("retention", RetentionForm)


@blueprint.get("/default-product")
@requires(Role.VIEWER)
def default_product() -> Response:
    return _show("default_product", DefaultProductForm)


@blueprint.post("/default-product")
@requires(Role.ADMIN)
def save_default_product() -> Response:
    return _save("default_product", DefaultProductForm, check=check_names)


@blueprint.get("/default-product/choices")
@requires(Role.ADMIN)
def choices() -> Response:
    """ConnectWise's own names, loaded after the page so that it never waits for them."""
    lists, problem = _pick_lists()
    return render(
        "settings/choices.html", fragment="settings/_choices.html", lists=lists, problem=problem
    )


def _show(page: str, form_class: type[SettingsForm]) -> Response:
    return _page(page, shown(form_class))


def shown(form_class: type[SettingsForm]) -> SettingsForm:
    """A form with the stored settings."""
    with reading() as session:
        stored = load_settings(session)
    return form_class(data=form_class.shown(stored))


def _save(
    page: str,
    form_class: type[SettingsForm],
    check: Callable[[SettingsForm], str] | None = None,
) -> Response:
    form = form_class()
    said = saved(form, check)
    if said is None:
        return _page(page, form, status=422)
    flash(said)
    return make_response(redirect(url_for(f".{page}"), 303))


def saved(form: SettingsForm, check: Callable[[SettingsForm], str] | None = None) -> str | None:
    """What to say after a form of settings was kept; None when it was not: the form says why."""
    _take_out_locked(form)
    if not form.validate_on_submit():
        return None
    note = check(form) if check else ""
    if form.errors or not stored(form):
        return None
    return f"Saved. {note}".strip()


def stored(form: SettingsForm) -> bool:
    """Whether it was kept; else the form says why not."""
    try:
        with writing() as session, session.begin():
            change_settings(
                session,
                form.values(),
                seen=form.seen.data or "",
                actor=actor(),
                now=installation().now(),
            )
    except SettingsError as error:
        form.field(error.name).errors = [f"{error.reason}. Nothing was changed."]
        return False
    except ChangedMeanwhileError:
        form.changed_meanwhile = True
        return False
    return True


def _page(page: str, form: SettingsForm, *, status: int = 200) -> Response:
    return render(
        f"settings/{page}.html",
        fragment=f"settings/_{page}.html",
        status=status,
        scheduler=_scheduler() if page == "schedule" else None,
        **page_context(form),
    )


def page_context(form: SettingsForm) -> dict[str, Any]:
    """What a form of settings is shown with."""
    locked = _take_out_locked(form)
    with reading() as session:
        stored = load_settings(session)
    form.seen.data = fingerprint(stored, form.values())
    return {
        "form": form,
        "locked": locked,
        "say": in_words,
        "differences": labelled(form, form.shown(stored)) if form.changed_meanwhile else [],
    }


def _scheduler() -> SchedulerState:
    settings = installation().settings()
    with reading() as session:
        return scheduler_state(session, settings, installation().now())


def _take_out_locked(form: SettingsForm) -> list[tuple[str, str, str]]:
    """What the environment sets cannot be entered: label, value and variable of each."""
    shown = []
    for name, value in installation().locked_settings().items():
        if name in form:
            shown.append((form[name].label.text, str(value), f"TALLYBRIDGE_{name.upper()}"))
            del form[name]
    form.locked = [*form.locked, *shown]
    return form.locked


def check_names(form: SettingsForm) -> str:
    """Compare the names with ConnectWise's own, if it can be asked now; returns what to add."""
    chosen = {name: (form[name].data or "").strip() or None for name in FIELDS}
    if not any(chosen.values()):
        return ""
    lists, problem = _pick_lists()
    if lists is None:
        return f"The names could not be compared with ConnectWise: {problem}"
    for name, message in lists.problems(chosen).items():
        form[name].errors = [f"{message} Nothing was changed."]
    return ""


def _pick_lists() -> tuple[PickLists | None, str]:
    try:
        return read_pick_lists(connectwise_client(installation().effective_config(), QUICK)), ""
    except (VendorError, NotConfiguredError, WrongKeyError) as error:
        return None, str(error)
