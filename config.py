"""The settings that come from the environment: one typed value, read once.

Every variable begins with `TALLYBRIDGE_`; each may also be given as `..._FILE`, the path of a file
that holds the value (container secrets). An empty variable counts as not set.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import ssl
import zoneinfo
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

PREFIX = "TALLYBRIDGE_"
ROOT = Path(__file__).resolve().parent


_INJECTED = ("PORT", "SERVICE_")
"""Kubernetes sets such variables for a service called tallybridge; they mean nothing to us."""


class ConfigError(Exception):
    """The environment is wrong; the message is one line that says which variable, and why."""


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


def _known_timezone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is not a time zone; write it like Europe/Berlin") from None
    return name


def _database_url(url: str) -> str:
    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):  # whose own words may quote a password
        raise ValueError("it is not a database address like postgresql://host/name") from None
    if parts.drivername == "sqlite":
        file = parts.database or ""
        # Of a database in memory every connection has another one, lost when it ends.
        if parts.host or parts.query or not file or file.startswith((":", "file:")):
            raise ValueError("sqlite needs nothing but a file, like sqlite:////path/file.db")
        return url
    if parts.drivername not in {"postgresql", "postgresql+psycopg"}:
        raise ValueError("only sqlite: with a file and postgresql: are supported")
    # SQLAlchemy would look for psycopg 2 otherwise.
    return re.sub(r"^postgresql://", "postgresql+psycopg://", url)


def _address(url: str) -> str:
    """A vendor's address by its shape; which hosts may be asked is decided where we ask them."""
    text = url.strip()
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(_NO_ADDRESS) from None
    odd = not text.isascii() or any(c.isspace() or not c.isprintable() or c == "\\" for c in text)
    if odd or parts.scheme not in {"https", "http"} or not _HOST.fullmatch(host or "") or port == 0:
        raise ValueError(_NO_ADDRESS)
    if "@" in parts.netloc or parts.path not in {"", "/"} or "?" in text or "#" in text:
        raise ValueError("it must be an address only, without a user name, a path or a query")
    return text


def _certificates(text: str) -> str:
    """Certificates in PEM that OpenSSL can read; a private key has no business there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if "PRIVATE KEY" in text:
        raise ValueError("it holds a private key; give only the certificate of the authority")
    try:
        context.load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        raise ValueError("it is not a list of certificates in PEM") from None
    return text


def _addresses(entries: tuple[str, ...]) -> tuple[str, ...]:
    for number, entry in enumerate(entries, 1):
        try:
            _address(entry if "://" in entry else f"https://{entry}")
        except ValueError as error:
            raise ValueError(f"entry {number}: {error}") from None
    return entries


def _ip_addresses(entries: tuple[str, ...]) -> tuple[str, ...]:
    for number, entry in enumerate(entries, 1):
        try:
            parts = urlsplit(
                f"//{entry}" if entry.count(":") < 2 or "[" in entry else f"//[{entry}]"
            )
            ipaddress.ip_address(parts.hostname or "")
            good = parts.port != 0 and parts.path == ""
        except ValueError:
            good = False
        if not good:
            raise ValueError(f"entry {number}: it is not an address like 10.0.0.5 or 10.0.0.5:8080")
    return entries


_NO_ADDRESS = "it is not an address like https://host"
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|[0-9a-f:.]+")


def _fernet_keys(keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    for key in keys:
        try:
            Fernet(key.get_secret_value())
        except ValueError:
            raise ValueError("every key must be a Fernet key: 32 bytes, url-safe base64") from None
    return keys


def _issuer(url: str) -> str:
    """An identity provider as its discovery names it: kept to the letter, a last slash included."""
    text = url.strip()
    scheme, _, rest = text.partition("://")
    host, slash, path = rest.partition("/")
    origin = urlsplit(_address(f"{scheme}://{host}"))
    if not re.fullmatch(r"[\w.~/-]*", path, re.ASCII) or ".." in path or "//" in slash + path:
        raise ValueError("it must be an address without a query, like https://host/path")
    if scheme == "http" and origin.hostname not in {"127.0.0.1", "::1"}:
        raise ValueError("it must begin with https://")
    if _is_microsoft(origin.hostname or "") and not _ONE_TENANT.fullmatch(path):
        raise ValueError(
            "with Entra ID it must name your own tenant, or people of any company could sign in; "
            "write it as https://login.microsoftonline.com/<tenant id>/v2.0"
        )
    return text


def _is_microsoft(host: str) -> bool:
    return host.startswith(("login.microsoftonline.", "login.partner.", "sts.windows.net"))


_ONE_TENANT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/v2\.0")


def _roles(value: object) -> object:
    """`admin=A,admin=B,viewer=C` as pairs of role and value; values are taken to the letter."""
    if not isinstance(value, str):
        return value
    entries = [entry.partition("=") for entry in value.split(",") if entry.strip()]
    pairs = [(role.strip(), granted.strip()) for role, _, granted in entries]
    for number, (role, granted) in enumerate(pairs, 1):
        if role not in {"admin", "operator", "viewer"} or not granted:
            raise ValueError(f"entry {number}: write it as admin=GROUP, operator= or viewer=")
        if any(granted == other for _, other in pairs[: number - 1]):
            raise ValueError(f"entry {number}: this group stands there already; keep one of them")
    return pairs


def _header(name: str) -> str:
    text = name.strip()
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,60}", text):
        raise ValueError("it is not the name of a header, like X-Remote-User")
    if _COMMON_HEADER.fullmatch(text.lower()):
        raise ValueError("this header means something else; choose one like X-Remote-User")
    return text


_COMMON_HEADER = re.compile(
    r"(accept|cache|content|hx|if|proxy|sec|x-csrf)(-.*)?|x-forwarded-(for|host|port|prefix|proto)|"
    r"authorization|connection|cookie|date|expect|forwarded|from|host|keep-alive|origin|pragma|"
    r"priority|range|referer|te|trailer|transfer-encoding|upgrade|user-agent|via|x-real-ip|"
    r"x-request-id|x-requested-with"
)
"""What browsers send by themselves, or proxies set for another reason."""


def _networks(value: object) -> object:
    if not isinstance(value, str):
        return value
    networks = []
    entries = [entry.strip() for entry in value.split(",") if entry.strip()]
    for number, entry in enumerate(entries, 1):
        try:
            network = ipaddress.ip_network(entry)
        except ValueError:
            raise ValueError(
                f"entry {number}: it is no address like 10.0.0.2 and no network like 10.0.0.0/24"
            ) from None
        if network.prefixlen == 0:
            raise ValueError(f"entry {number}: that is everybody; name only the proxies")
        networks.append(network)
    return networks


def _account_name(name: str) -> str:
    if not name.strip() or len(name.strip()) > 150:
        raise ValueError("it must have 1 to 150 characters")
    return name.strip()


def _account_password(password: SecretStr) -> SecretStr:
    if not 12 <= len(password.get_secret_value()) <= 1000:
        raise ValueError("it must have 12 to 1000 characters")
    return password


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Issuer = Annotated[str, AfterValidator(_issuer)]
RoleNames = Annotated[tuple[tuple[str, str], ...], BeforeValidator(_roles)]
Header = Annotated[str, AfterValidator(_header)]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Networks = Annotated[tuple[Network, ...], BeforeValidator(_networks)]
AccountName = Annotated[str, AfterValidator(_account_name)]
AccountPassword = Annotated[SecretStr, AfterValidator(_account_password)]
Hosts = Annotated[Names, AfterValidator(_addresses)]
Address = Annotated[str, AfterValidator(_address)]
Certificates = Annotated[str, AfterValidator(_certificates)]
IpAddresses = Annotated[Names, AfterValidator(_ip_addresses)]
Timezone = Annotated[str, AfterValidator(_known_timezone)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
FernetKeys = Annotated[tuple[SecretStr, ...], BeforeValidator(_split), AfterValidator(_fernet_keys)]


class Config(BaseModel):
    """What product.md lists under "Settings from the environment". None means: not set there."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    data_dir: Path = ROOT / "data"
    database_url: DatabaseUrl | None = None
    secret_key: SecretStr | None = Field(default=None, min_length=16)
    encryption_key: FernetKeys = ()
    timezone: Timezone | None = None
    read_only: bool = False
    trusted_hosts: Names = ()
    proxy_hops: int = Field(default=0, ge=0, le=10)
    metrics_token: SecretStr | None = None
    allowed_notification_hosts: IpAddresses = ()
    admin_name: AccountName = "admin"
    admin_password: AccountPassword | None = None

    sophos_client_id: str | None = None
    sophos_client_secret: SecretStr | None = None
    sophos_id_url: Address = "https://id.sophos.com"
    sophos_api_url: Address = "https://api.central.sophos.com"
    connectwise_site: Address | None = None
    connectwise_company_id: str | None = None
    connectwise_public_key: SecretStr | None = None
    connectwise_private_key: SecretStr | None = None
    connectwise_client_id: str | None = None
    allowed_vendor_hosts: Hosts = ()
    own_ca: Certificates | None = None

    local_login: bool = True
    oidc_issuer: Issuer | None = None
    oidc_client_id: str | None = None
    oidc_client_secret: SecretStr | None = None
    oidc_name: str = Field(default="Single sign-on", max_length=60)
    oidc_roles: RoleNames = ()
    oidc_groups_claim: str = "groups"
    sign_in_header: Header | None = None
    sign_in_proxies: Networks = ()

    @property
    def sqlalchemy_url(self) -> str:
        """The database to use: the one named, else SQLite in the data directory."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'tallybridge.db'}"


def load_config(environ: Mapping[str, str]) -> Config:
    """Read the settings; raises ConfigError in one line for the first thing that is wrong."""
    values = {name: _value(name, environ) for name in Config.model_fields}
    _refuse_typos(environ)
    try:
        return Config.model_validate({k: v for k, v in values.items() if v is not None})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = PREFIX + str(first["loc"][0]).upper()
        reason = _REASONS.get(first["type"]) or first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{name}: {reason}") from None


_REASONS = {
    "bool_parsing": "it is not true or false",
    "int_parsing": "it is not a whole number",
    "greater_than_equal": "it must be from 0 to 10",
    "less_than_equal": "it must be from 0 to 10",
    "too_short": "it is too short; at least 16 characters are needed",
    "string_too_long": "it is too long; at most 60 characters fit",
}
"""Where pydantic's own words are for programmers."""


def _value(name: str, environ: Mapping[str, str]) -> str | None:
    variable = PREFIX + name.upper()
    direct, path = environ.get(variable), environ.get(variable + "_FILE")
    if direct and path:
        raise ConfigError(f"{variable} and {variable}_FILE are both set; keep one of them")
    if not path:
        return direct or None
    try:
        return Path(path).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(f"{variable}_FILE: {path} cannot be read: {reason}") from None


def _refuse_typos(environ: Mapping[str, str]) -> None:
    """A misspelt READ_ONLY must not be ignored in silence, nor one that somebody made up."""
    names = [name.upper() for name in Config.model_fields]
    known = [*names, *(f"{name}_FILE" for name in names)]
    for variable in sorted(environ):
        name = variable.removeprefix(PREFIX)
        if name != variable and name not in known and not name.startswith(_INJECTED):
            close = difflib.get_close_matches(name, known, n=1)
            what = f"did you mean {PREFIX}{close[0]}?" if close else "remove it"
            raise ConfigError(f"{variable} is not known; {what}")
