"""How to reach both vendors: what a person types, and the test of every right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import (
    Blueprint,
    Response,
    current_app,
    flash,
    make_response,
    redirect,
    url_for,
)
from flask.blueprints import BlueprintSetupState
from flask_wtf import FlaskForm

from blueprints.access import requires
from blueprints.htmx import render, wants_fragment, with_events
from blueprints.settings_forms import ConnectWiseForm, SophosForm
from blueprints.support import actor, installation
from models import Role
from services.connection_tests import ConnectionTests
from services.connection_values import (
    CONNECTWISE,
    SOPHOS,
    ConnectionState,
    ConnectionValueError,
    connection_states,
    keep_connection_values,
)
from services.connections import Check, check_connections
from services.secrets import WrongKeyError

blueprint = Blueprint("connections", __name__, url_prefix="/settings")

VENDORS = {"psa": "ConnectWise", "sophos": "Sophos"}
NAMES = {"psa": CONNECTWISE, "sophos": SOPHOS}
FORMS: dict[str, type[FlaskForm]] = {"psa": ConnectWiseForm, "sophos": SophosForm}
LABELS = {
    "connectwise_site": "Site",
    "connectwise_company_id": "Company id",
    "connectwise_client_id": "Client id",
    "connectwise_public_key": "Public key",
    "connectwise_private_key": "Private key",
    "sophos_client_id": "Client id",
    "sophos_client_secret": "Client secret",
}


@blueprint.record
def _init(state: BlueprintSetupState) -> None:
    state.app.extensions["connection_tests"] = ConnectionTests()


def connection_tests() -> ConnectionTests:
    """The tests that this process made."""
    found: ConnectionTests = current_app.extensions["connection_tests"]
    return found


@blueprint.get("/psa")
@requires(Role.VIEWER)
def psa() -> Response:
    return _page("psa", form_of("psa"))


@blueprint.post("/psa")
@requires(Role.ADMIN)
def save_psa() -> Response:
    return _save("psa")


@blueprint.get("/sophos")
@requires(Role.VIEWER)
def sophos() -> Response:
    return _page("sophos", form_of("sophos"))


@blueprint.post("/sophos")
@requires(Role.ADMIN)
def save_sophos() -> Response:
    return _save("sophos")


@blueprint.post("/<any(psa, sophos):page>/test")
@requires(Role.OPERATOR)
def start_test(page: str) -> Response:
    begin_test(page)
    if wants_fragment():
        return test(page)
    return make_response(redirect(url_for(".test", page=page), 303))


@blueprint.get("/<any(psa, sophos):page>/test")
@requires(Role.VIEWER)
def test(page: str) -> Response:
    found = connection_tests().find(VENDORS[page])
    response = render(
        "settings/test.html",
        fragment="settings/_test.html",
        side=page,
        vendor=VENDORS[page],
        test=found,
    )
    ended = "connection:tested" if found and not found.running else ""
    return with_events(response, event=ended, close=False)


def begin_test(page: str) -> None:
    """Test the connection in the background, right by right."""
    vendor = VENDORS[page]
    connection_tests().begin(vendor, _checks(vendor), now=installation().now())


def _checks(vendor: str) -> Any:
    """What the test does; made here, because it runs where there is no request any more."""
    here = installation()
    today = here.today()

    def lines() -> Iterator[Check]:
        try:
            config = here.effective_config()
        except WrongKeyError as error:
            yield Check(vendor, "stored secrets", ok=False, message=str(error), advice=_NEW_KEY)
            return
        yield from check_connections(config, today=today, vendors=(vendor,))

    return lines


_NEW_KEY = "Start with the key that they were stored with, or enter the secrets again."


def _configure_url() -> str | None:
    there = "product_mappings.index" in current_app.view_functions
    return url_for("product_mappings.index") if there else None


def form_of(page: str) -> FlaskForm:
    """The values of one vendor, without those that the environment sets."""
    states = _states(page)
    plain = {name: state.value for name, state in states.items() if not state.secret}
    form = FORMS[page](data=plain)
    for name, state in states.items():
        if state.locked:
            del form[name]
        elif state.secret and state.present:
            form[name].render_kw = {**form[name].render_kw, "placeholder": "stored, never shown"}
    return form


def _states(page: str) -> dict[str, ConnectionState]:
    return connection_states(installation(), NAMES[page])


def _save(page: str) -> Response:
    form = form_of(page)
    if not kept(page, form):
        return _page(page, form, status=422)
    flash("Saved. Test the connection now.")
    return make_response(redirect(url_for(f".{page}"), 303))


def kept(page: str, form: FlaskForm) -> bool:
    """Whether the values were kept, which forgets the last test; else the form says why not."""
    if not form.validate_on_submit():
        return False
    values = {name: form[name].data or "" for name in NAMES[page] if name in form}
    confirmed = "confirm" in form and bool(form.confirm.data)
    try:
        keep_connection_values(installation(), values, confirmed=confirmed, actor=actor())
    except ConnectionValueError as error:
        form[error.name].errors = [str(error)]
        return False
    connection_tests().forget(VENDORS[page])
    return True


def _page(page: str, form: FlaskForm, *, status: int = 200) -> Response:
    return render(
        f"settings/{page}.html",
        fragment="settings/_access.html",
        status=status,
        configure_url=_configure_url(),
        **page_context(page, form),
    )


def page_context(page: str, form: FlaskForm) -> dict[str, Any]:
    """What the values of one vendor, and the test of its connection, are shown with."""
    return {
        "form": form,
        "states": _states(page),
        "labels": LABELS,
        "side": page,
        "vendor": VENDORS[page],
        "test": connection_tests().find(VENDORS[page]),
    }
