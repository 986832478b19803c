"""The first account: everything leads to its page as long as nobody could sign in."""

from __future__ import annotations

from flask import (
    Blueprint,
    Flask,
    Response,
    current_app,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)
from flask_login import current_user

from blueprints import api_access
from blueprints.access import PUBLIC, enter, public
from blueprints.setup import progress_now
from blueprints.setup_forms import AdministratorForm
from blueprints.support import installation, reading, writing
from models import Role
from services.first_run import setup, setup_code
from services.people.accounts import AccountError
from services.people.sign_in import begin_session

blueprint = Blueprint("setup_account", __name__, url_prefix="/set-up")


def init_app(app: Flask) -> None:
    """To be called before pages are guarded: nobody can sign in before there is an account."""
    app.before_request(_lead_here)


def _lead_here() -> Response | None:
    if request.blueprint == api_access.BLUEPRINT:  # programs are answered, not led about
        return None
    if not installation().config.local_login:  # a header may say who is there: ask it first
        return None
    view = current_app.view_functions.get(request.endpoint or "")
    open_to_all = getattr(view, "required_role", None) == PUBLIC
    if view is None or request.endpoint == "static" or current_user.is_authenticated:
        return None
    if (open_to_all and request.endpoint != "auth.sign_in") or not _nobody_yet():
        return None
    return _to("setup_account.administrator")


@blueprint.route("", methods=["GET", "POST"])
@public
def administrator() -> Response:
    if not _nobody_yet():
        return _gone()
    form = AdministratorForm()
    if form.validate_on_submit() and _made(form):
        return _to("setup.sophos")
    status = 422 if form.is_submitted() else 200
    context = {
        "form": form,
        "progress": setup.progress_of(setup.Facts()),
        "step": "administrator",
        "code_is_out": setup_code.code_is_out(installation().config),
    }
    return make_response(render_template("setup/administrator.html", **context), status)


def _made(form: AdministratorForm) -> bool:
    """Whether the account was made and this browser is signed in; else the form says why not."""
    here = installation()
    attempt = setup_code.check_code(
        writing,
        here.config,
        code=form.code.data,
        address=request.remote_addr or "",
        now=here.now(),
    )
    if attempt is None:
        form.code.errors = ["This is not the code that the server said at its last start."]
        return False
    try:
        _make(form, attempt)
    except setup_code.AlreadySetUpError:
        form.refused = "Somebody else made an account meanwhile. Nothing was changed; sign in."
    except AccountError as error:
        form.refused = str(error)
    return not form.refused


def _make(form: AdministratorForm, attempt: int) -> None:
    now = installation().now()
    with writing() as session, session.begin():
        user = setup_code.make_first_administrator(
            session, attempt, name=form.name.data, password=form.password.data, now=now
        )
        token = begin_session(session, user, now=now)
    setup_code.forget_code(installation().config)
    enter(token, user)


def _gone() -> Response:
    """There is an account: for an administrator the set-up goes on, for others it is no page."""
    if not (current_user.is_authenticated and current_user.may(Role.ADMIN)):
        return _to("overview.index")
    step = progress_now().next
    return _to(f"setup.{step.key}" if step else "overview.index")


def _nobody_yet() -> bool:
    """Whether an account is to be made here. Without passwords people come from elsewhere."""
    if not installation().config.local_login:
        return False
    with reading() as session:
        return setup_code.nobody_yet(session)


def _to(endpoint: str) -> Response:
    return make_response(redirect(url_for(endpoint), 303))
