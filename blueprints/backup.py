"""Backups: take one away, see those made automatically, and put one back in two steps."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, cast

from flask import (
    Blueprint,
    Response,
    abort,
    flash,
    make_response,
    redirect,
    request,
    session,
    url_for,
)
from flask_login import current_user
from flask_wtf import FlaskForm
from flask_wtf.file import FileField
from wtforms import StringField

from blueprints.access import requires
from blueprints.downloads import pieces
from blueprints.htmx import render
from blueprints.support import actor, installation, reading, writing
from blueprints.uploads import SpoolingRequest
from models import Role
from services import audit
from services.database import head
from services.runs.jobs import mark_dead_runs
from services.upkeep import keys
from services.upkeep.backup import BackupError, Restored, backup, restore
from services.upkeep.backup_contents import Contents, contents
from services.upkeep.backup_files import (
    KEPT,
    Kind,
    is_upload,
    kept,
    named,
    place,
    prune,
    ready,
    upload_place,
)
from services.upkeep.housekeeping import backup_state

blueprint = Blueprint("backup", __name__, url_prefix="/settings/backup")

LARGEST_UPLOAD = 200_000_000
"""Bytes. Everything else that is sent to us is small."""
WORD = "restore"
_ZIP = "application/zip"


class UploadForm(FlaskForm):  # type: ignore[misc]  # flask-wtf has no types
    """A file to look into."""

    file = FileField("Backup file", render_kw={"accept": ".zip,application/zip"})


class ConfirmForm(FlaskForm):  # type: ignore[misc]
    """The second step, typed so that nobody presses it by mistake."""

    word = StringField(f'Type "{WORD}" to confirm', render_kw={"autocomplete": "off"})


@blueprint.url_value_preprocessor
def _let_large_files_in(endpoint: str | None, _values: dict[str, Any] | None) -> None:
    """Before anything reads the form: for an administrator who uploads, and for nobody else."""
    if endpoint == "backup.upload" and current_user.is_authenticated and current_user.may("admin"):
        ready(installation().backups)
        request.max_content_length = LARGEST_UPLOAD
        cast("SpoolingRequest", request).spool = installation().backups


@blueprint.get("")
@requires(Role.ADMIN)
def index() -> Response:
    return _page(UploadForm())


@blueprint.post("/new")
@requires(Role.ADMIN)
def new() -> Response:
    """A fresh backup, packed on the data volume and gone from there when it is sent."""
    here = installation()
    ready(here.backups)
    file = upload_place(here.backups, now=here.now())
    rows = backup(here.engine, file, now=here.now())
    _record("backup.download", "a new backup", {"rows": rows})
    answer = _sent(file, f"tallybridge-{here.now():%Y%m%dT%H%M%SZ}.zip")
    file.unlink()  # it stays readable until it is sent
    return answer


@blueprint.get("/files/<name>")
@requires(Role.ADMIN)
def download(name: str) -> Response:
    file = _file(name)
    answer = _sent(file, name)
    _record("backup.download", name)
    return answer


@blueprint.post("")
@requires(Role.ADMIN)
def upload() -> Response:
    """The first step with a file of the person's own: it is put beside the others and shown."""
    form = UploadForm()
    if not form.validate_on_submit() or not form.file.data:
        form.file.errors = [*form.file.errors, "Choose a file. Nothing was changed."]
        return _page(form, status=422)
    here = installation()
    file = upload_place(here.backups, now=here.now())
    form.file.data.save(file)
    file.chmod(0o600)
    try:
        contents(file, here.vault, called="This file")
    except BackupError as error:
        file.unlink()
        form.file.errors = [str(error)]
        return _page(form, status=422)
    return make_response(redirect(url_for(".confirm", name=file.name), 303))


@blueprint.get("/restore/<name>")
@requires(Role.ADMIN)
def confirm(name: str) -> Response:
    return _confirmation(_file(name), ConfirmForm())


@blueprint.post("/restore/<name>")
@requires(Role.ADMIN)
def put_back(name: str) -> Response:
    """The second step. Everybody is signed out by it, whoever does it included."""
    file, form = _file(name), ConfirmForm()
    if not form.validate_on_submit() or form.word.data.strip().casefold() != WORD:
        form.word.errors = [f'Type "{WORD}". Nothing was changed.']
        return _confirmation(file, form, status=422)
    try:
        done = _restored(file)
    except BackupError as error:
        return _confirmation(file, form, refused=str(error), status=409)
    session.clear()
    for sentence in _told(done):
        flash(sentence)
    return make_response(redirect(url_for("auth.sign_in"), 303))


@blueprint.post("/forget/<name>")
@requires(Role.ADMIN)
def forget(name: str) -> Response:
    """An uploaded file that is not to be put back; the other ones stay."""
    file = _file(name)
    if is_upload(file):
        file.unlink(missing_ok=True)
        flash("The uploaded file was removed. Nothing was changed.")
    return make_response(redirect(url_for(".index"), 303))


def _restored(file: Path) -> Restored:
    here = installation()
    safety = functools.partial(place, here.backups, Kind.RESTORE, now=here.now())
    done = restore(
        here.engine, file, now=here.now(), actor=actor(), safety=safety, called="This file"
    )
    prune(here.backups, Kind.RESTORE, keep=KEPT, now=here.now())
    if is_upload(file):
        file.unlink(missing_ok=True)
    mark_dead_runs(here)
    return done


def _told(done: Restored) -> list[str]:
    told = [f"The backup was restored: {done.rows} rows. Sign in with the password of then."]
    if done.safety:
        told.append(
            f"What was there before is kept as {done.safety.name}, under Settings > Backup."
        )
    lost = keys.lost_names(installation())
    if lost:
        told.append(
            f"{len(lost)} stored secrets cannot be read with the encryption key of this "
            "installation, and without them the next start is refused. Set "
            "TALLYBRIDGE_ENCRYPTION_KEY to that of then; or remove them with the command `keys "
            "forget` and enter them anew. Whose second factor is among them cannot sign in before."
        )
    return told


def _page(form: UploadForm, *, status: int = 200) -> Response:
    here = installation()
    found = kept(here.backups)
    with reading() as database:
        state = backup_state(database)
    return render(
        "backup/index.html",
        fragment="backup/_index.html",
        status=status,
        form=form,
        backups=found,
        state=state,
        newest=next((each.at for each in found if each.kind is Kind.DAILY), None),
        now=here.now(),
        settings=here.settings().backups,
        largest=LARGEST_UPLOAD // 1_000_000,
    )


def _confirmation(
    file: Path, form: ConfirmForm, *, refused: str = "", status: int = 200
) -> Response:
    found: Contents | None = None
    try:
        found = contents(file, installation().vault, called="This file")
    except BackupError as error:
        refused, status = str(error), 422
    return render(
        "backup/confirm.html",
        fragment="backup/_confirm.html",
        status=status,
        form=form,
        contents=found,
        refused=refused,
        name=file.name,
        uploaded=is_upload(file),
        schema=head(),
    )


def _file(name: str) -> Path:
    return named(installation().backups, name) or abort(404)


def _sent(file: Path, name: str) -> Response:
    """Some at a time, with its size, and never kept by a browser or a proxy."""
    stream = file.open("rb")
    response = Response(pieces(stream), mimetype=_ZIP)
    response.call_on_close(stream.close)
    response.content_length = file.stat().st_size
    response.headers.set("Content-Disposition", "attachment", filename=name)
    response.headers["Cache-Control"] = "no-store"
    return response


def _record(action: str, subject: str, after: dict[str, Any] | None = None) -> None:
    with writing() as database, database.begin():
        audit.record(
            database,
            at=installation().now(),
            actor=actor(),
            action=action,
            subject=subject,
            after=after,
        )
