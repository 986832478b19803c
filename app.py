"""The application factory: configuration, database, command line. No routes, no work at import."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from flask import Flask
from flask_migrate import Migrate
from pydantic import SecretStr
from sqlalchemy.engine import Engine, make_url

import blueprints
import cli
from blueprints.uploads import SpoolingRequest
from config import Config, ConfigError, load_config
from models import db
from services import logs
from services.clients.known_secrets import known_secrets
from services.database import configure
from services.installation import Installation
from services.people.sign_in_ways import sign_in_ways
from services.secrets import Vault
from services.upkeep import keys

MIGRATIONS = Path(__file__).resolve().parent / "migrations"


def create_app(config: Config | None = None) -> Flask:
    """Make the app; without a configuration it is read from the environment.

    A wrong environment ends the process with one clear line and exit code 2.
    """
    config = config or _config_or_exit(os.environ)
    _make_data_dir(config)
    logs.keep_in(config.data_dir / "tallybridge.log")
    _hide_in_logs(config)
    app = Flask(__name__)
    app.request_class = SpoolingRequest
    app.config.update(
        SECRET_KEY=_kept(config.data_dir, "secret_key", config.secret_key, secrets.token_urlsafe),
        SQLALCHEMY_DATABASE_URI=config.sqlalchemy_url,
        SQLALCHEMY_ENGINE_OPTIONS={"hide_parameters": True},  # errors quote hashes otherwise
        SESSION_COOKIE_SAMESITE="Lax",
        TRUSTED_HOSTS=list(config.trusted_hosts) or None,
        MAX_CONTENT_LENGTH=2_000_000,
        WTF_CSRF_TIME_LIMIT=None,
        COMPRESS_ALGORITHM=["gzip"],
    )
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    db.init_app(app)
    Migrate(app, db, directory=str(MIGRATIONS))
    with app.app_context():
        configure(db.engine)
        app.extensions["tallybridge"] = Installation(config, db.engine, _vault(config, db.engine))
    blueprints.register(app)
    cli.register(app)
    return app


def engine_of(app: Flask) -> Engine:
    """The database engine of an app."""
    installation: Installation = app.extensions["tallybridge"]
    return installation.engine


def _config_or_exit(environ: Mapping[str, str]) -> Config:
    try:
        config = load_config(environ)
        sign_in_ways(config)
        return config
    except ConfigError as error:
        _exit(str(error))


def _make_data_dir(config: Config) -> None:
    try:
        config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        _exit(f"TALLYBRIDGE_DATA_DIR: {config.data_dir} cannot be made: {error.strerror}")


def _exit(problem: str) -> NoReturn:
    sys.stderr.write(f"Tallybridge cannot start. {problem}\n")
    raise SystemExit(2)


def _hide_in_logs(config: Config) -> None:
    """No secret that the environment sets shows in a log, whatever an error quotes."""
    given = [value for value in dict(config).values() if isinstance(value, SecretStr)]
    known_secrets.add_lasting(
        *(secret.get_secret_value() for secret in given),
        make_url(config.sqlalchemy_url).password,
    )


def _vault(config: Config, engine: Engine) -> Vault:
    """The keys for secrets at rest: those given, else one made once, beside the database.

    A key that vanished is never made anew while something is stored that only it can read.
    """
    if config.encryption_key:
        return Vault([key.get_secret_value() for key in config.encryption_key])
    file = config.data_dir / "encryption_key"
    if not file.exists() and keys.any_stored(engine) is not False:
        return Vault([], f"the key is missing, which stood in {file}.")
    kept = _kept(config.data_dir, file.name, None, keys.new_key)
    try:
        return Vault([key for key in re.split(r"[\s,]+", kept) if key])
    except ValueError:
        _exit(f"TALLYBRIDGE_DATA_DIR: {file} does not hold a key; put the right one back.")


def _kept(folder: Path, name: str, given: SecretStr | None, make: Callable[[], str]) -> str:
    """A key: the one given, else one that is made once and kept beside the data."""
    if given is not None:
        return given.get_secret_value()
    file = folder / name
    try:
        if not file.exists():
            _write_once(file, make())
        kept = file.read_text(encoding="ascii")
    except OSError as error:
        _exit(f"TALLYBRIDGE_DATA_DIR: {file} cannot be used: {error.strerror}")
    except UnicodeDecodeError:
        kept = ""
    if not kept.strip():
        or_else = ", or remove it: everybody is signed out then" if name == "secret_key" else ""
        _exit(f"TALLYBRIDGE_DATA_DIR: {file} does not hold a key; put the right one back{or_else}.")
    known_secrets.add_lasting(kept)
    return kept


def _write_once(file: Path, text: str) -> None:
    """Make a private file with its whole content at once; of two processes, the first wins."""
    with tempfile.NamedTemporaryFile("w", dir=file.parent, encoding="ascii") as whole:
        whole.write(text)
        whole.flush()
        os.fsync(whole.fileno())  # what is encrypted with it survives a power cut as well
        with contextlib.suppress(FileExistsError):
            os.link(whole.name, file)
