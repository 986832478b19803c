"""The environment: every variable of product.md, in both forms, and one clear line when wrong."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import certifi
import pytest

from config import PREFIX, Config, ConfigError, load_config

TENANT = "0a1b2c3d-0000-4000-8000-0a1b2c3d4e5f"
KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
# Any will do: the first one of the public authorities.
_PUBLIC = Path(certifi.where()).read_text("utf-8").split("-----BEGIN")
AUTHORITY = f"-----BEGIN{_PUBLIC[1].partition('#')[0].rstrip()}"
GOOD: dict[str, tuple[str, Any]] = {
    "DATA_DIR": ("/srv/data", Path("/srv/data")),
    "DATABASE_URL": ("postgresql://u:p@db/tally", "postgresql+psycopg://u:p@db/tally"),
    "SECRET_KEY": ("sixteen characters", "sixteen characters"),
    "ENCRYPTION_KEY": (f"{KEY}, {KEY}", (KEY, KEY)),
    "TIMEZONE": ("Europe/Berlin", "Europe/Berlin"),
    "READ_ONLY": ("true", True),
    "TRUSTED_HOSTS": ("a.example, b.example", ("a.example", "b.example")),
    "PROXY_HOPS": ("2", 2),
    "METRICS_TOKEN": ("token", "token"),
    "ADMIN_NAME": ("anna", "anna"),
    "ADMIN_PASSWORD": ("twelve chars", "twelve chars"),
    "SOPHOS_CLIENT_ID": ("id", "id"),
    "SOPHOS_CLIENT_SECRET": ("secret", "secret"),
    "SOPHOS_ID_URL": ("https://id.sophos.com", "https://id.sophos.com"),
    "SOPHOS_API_URL": ("https://api.central.sophos.com", "https://api.central.sophos.com"),
    "CONNECTWISE_SITE": ("https://na.myconnectwise.net", "https://na.myconnectwise.net"),
    "CONNECTWISE_COMPANY_ID": ("company", "company"),
    "CONNECTWISE_PUBLIC_KEY": ("public", "public"),
    "CONNECTWISE_PRIVATE_KEY": ("private", "private"),
    "CONNECTWISE_CLIENT_ID": ("client", "client"),
    "ALLOWED_VENDOR_HOSTS": ("http://127.0.0.1:81", ("http://127.0.0.1:81",)),
    "OWN_CA": (AUTHORITY, AUTHORITY),
    "ALLOWED_NOTIFICATION_HOSTS": ("10.0.0.5, [::1]:8080,::1", ("10.0.0.5", "[::1]:8080", "::1")),
    "LOCAL_LOGIN": ("false", False),
    "OIDC_ISSUER": ("https://login.example/realms/x", "https://login.example/realms/x"),
    "OIDC_CLIENT_ID": ("client", "client"),
    "OIDC_CLIENT_SECRET": ("secret", "secret"),
    "OIDC_NAME": ("Acme Login", "Acme Login"),
    "OIDC_ROLES": (
        "admin=a, viewer = b=c ,admin=Ä ö", (("admin", "a"), ("viewer", "b=c"), ("admin", "Ä ö")),
    ),
    "OIDC_GROUPS_CLAIM": ("roles", "roles"),
    "SIGN_IN_HEADER": ("X-Remote-User", "X-Remote-User"),
    "SIGN_IN_PROXIES": (
        "10.0.0.2, 2001:db8::/64", (ip_network("10.0.0.2/32"), ip_network("2001:db8::/64")),
    ),
}  # fmt: skip
BAD = {
    "DATABASE_URL": (
        "nonsense",
        "mysql://host/db",
        "postgres://host/db",
        "://",
        "postgresql+psycopg2://host/db",
        "sqlite+pysqlite:////x/y.db",
        "sqlite:////x.db?mode=ro",
        "sqlite:///file:x?mode=memory&uri=true",
        "sqlite://host/x.db",
    ),
    "SECRET_KEY": ("too short",),
    "ADMIN_NAME": ("x" * 151,),
    "ADMIN_PASSWORD": ("CANARY", "CANARY" * 200),
    "ENCRYPTION_KEY": ("CANARY", f"{KEY},CANARY", KEY[:-5]),
    "TIMEZONE": ("Mars/Base", "../../etc/passwd", "/etc/localtime", "Europe", "europe berlin"),
    "READ_ONLY": ("maybe", "2", "ja", "tru"),
    "SOPHOS_ID_URL": ("id.sophos.com", "https://", "https://CANARY@id.sophos.com"),
    "CONNECTWISE_SITE": (
        "https://x y",
        "https://x:0",
        "https://x:port",
        "https://x/v1",
        "file:///x",
    ),
    "ALLOWED_NOTIFICATION_HOSTS": ("localhost:80", "10.0.0.5:99999", "10.0.0.5/x", "CANARY"),
    "OWN_CA": (
        "CANARY",
        "-----BEGIN CERTIFICATE-----\nCANARY\n-----END CERTIFICATE-----",
        f"{AUTHORITY}\n-----BEGIN PRIVATE KEY-----\nCANARY\n-----END PRIVATE KEY-----",
    ),
    "ALLOWED_VENDOR_HOSTS": ("a.example,b example", "http://127.0.0.1:99999", "u:CANARY@h"),
    "PROXY_HOPS": ("-1", "11", "1.5", "many"),
    "LOCAL_LOGIN": ("maybe", "2"),
    "OIDC_ISSUER": (
        "login.example",
        "http://login.example",
        "http://localhost:81",
        "http://127.0.0.2:81",
        "https://CANARY@login.example/x",
        "https://login.example/x?y=CANARY",
        "https://login.example/x#y",
        "https://login.example/../x",
        "https://login.example//x",
        "https://login.example/a b",
        "https://login.microsoftonline.com/common/v2.0",
        "https://login.microsoftonline.com/organizations/v2.0",
        "https://login.microsoftonline.com/consumers/v2.0",
        "https://login.microsoftonline.com/acme.example/v2.0",
        f"https://login.microsoftonline.com/{TENANT}",
        f"https://login.microsoftonline.com/{TENANT}/v2.0/",
        "https://LOGIN.microsoftonline.com/common/v2.0",
        "https://login.microsoftonline.us/common/v2.0",
        "https://login.partner.microsoftonline.cn/common/v2.0",
        f"https://sts.windows.net/{TENANT}/",
    ),
    "OIDC_NAME": ("x" * 61,),
    "OIDC_ROLES": ("admins", "admin=", "=CANARY", "owner=CANARY", "Admin=x", "admin=x,viewer=x"),
    "SIGN_IN_HEADER": (
        "X Remote User", "X_Remote_User", "X-Remote-User:", "-X", "Cookie", "authorization",
        "X-Forwarded-For", "x-forwarded-proto", "Host", "Hx-Request", "Content-Type", "Jörg",
    ),
    "SIGN_IN_PROXIES": (
        "proxy.example", "10.0.0.1/24", "10.0.0", "0.0.0.0/0", "::/0", "10.0.0.1,,CANARY", "10/8/8",
    ),
}  # fmt: skip


def plain(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(plain(each) for each in value)
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value


def test_the_list_is_the_one_of_the_product() -> None:
    assert {name.upper() for name in Config.model_fields} == GOOD.keys()


@pytest.mark.parametrize("name", GOOD)
def test_every_variable_counts_in_both_forms(tmp_path: Path, name: str) -> None:
    text, value = GOOD[name]
    file = tmp_path / "value"
    file.write_text(f"{text}\n", encoding="utf-8")
    for environ in ({PREFIX + name: text}, {f"{PREFIX}{name}_FILE": str(file)}):
        assert plain(getattr(load_config(environ), name.lower())) == value


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in BAD.items() for v in values])
def test_a_broken_value_is_one_line_that_names_the_variable(
    tmp_path: Path, name: str, value: str
) -> None:
    file = tmp_path / "value"
    file.write_text(value, encoding="utf-8")
    for environ in ({PREFIX + name: value}, {f"{PREFIX}{name}_FILE": str(file)}):
        with pytest.raises(ConfigError) as caught:
            load_config(environ)
        assert str(caught.value).startswith(f"{PREFIX}{name}: ")
        assert len(str(caught.value).splitlines()) == 1
        assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize("name", GOOD)
def test_both_forms_at_once_are_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "value"
    file.write_text(GOOD[name][0], encoding="utf-8")
    with pytest.raises(ConfigError, match=f"{PREFIX}{name} and {PREFIX}{name}_FILE are both set"):
        load_config({PREFIX + name: GOOD[name][0], f"{PREFIX}{name}_FILE": str(file)})


@pytest.mark.parametrize("name", GOOD)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\xff")
    for path, why in (
        (tmp_path / "none", "No such file"),
        (tmp_path, "Is a directory"),
        (binary, "it is not text"),
    ):
        with pytest.raises(ConfigError, match=f"{PREFIX}{name}_FILE: .* cannot be read: {why}"):
            load_config({f"{PREFIX}{name}_FILE": str(path)})


@pytest.mark.parametrize("name", GOOD)
def test_an_empty_variable_counts_as_not_set(tmp_path: Path, name: str) -> None:
    empty = tmp_path / "empty"
    empty.write_text(" \n", encoding="utf-8")
    for environ in ({PREFIX + name: ""}, {f"{PREFIX}{name}_FILE": str(empty)}):
        assert load_config(environ) == Config()


@pytest.mark.parametrize(
    "name",
    [
        "READONLY", "READ_ONYL", "READ-ONLY", "READ__ONLY", "REDA_ONLY", "READ_ONLY_FIEL",
        "CONNECTWISE_PRIVAT_KEY", "SOPHOS_CLIENTSECRET", "ENCRYPTION_KEYS", "TRUSTED_HOST",
    ],
)  # fmt: skip
def test_a_misspelt_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{PREFIX}{name} is not known; did you mean {PREFIX}"):
        load_config({PREFIX + name: "true"})


@pytest.mark.parametrize("name", ["READ_ONLY_MODE", "RO", "DRY_RUN", "READ", "NO_WRITES"])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"is not known; (did you mean TALLY|remove it)"):
        load_config({PREFIX + name: "true"})


@pytest.mark.parametrize("entry", ["cw.example.com", "cw.example.com:8443", "http://[::1]:81"])
def test_an_allowed_host_may_be_a_name_or_a_whole_address(entry: str) -> None:
    assert load_config({f"{PREFIX}ALLOWED_VENDOR_HOSTS": entry}).allowed_vendor_hosts == (entry,)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SOPHOS_ID_URL", "nonsense"),
        ("SOPHOS_API_URL", "ftp://api.central.sophos.com"),
        ("CONNECTWISE_SITE", "https://user:secret@na.myconnectwise.net/path"),
        ("ALLOWED_VENDOR_HOSTS", "%%%"),
        ("ALLOWED_VENDOR_HOSTS", "https://cw.example.com/path"),
    ],
)
def test_a_broken_address_stops_the_start(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=PREFIX + name):
        load_config({PREFIX + name: value})


@pytest.mark.parametrize("value", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_that_forgets_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="DATABASE_URL"):
        load_config({f"{PREFIX}DATABASE_URL": value})


def test_an_address_with_a_slash_in_its_password_says_nothing_of_it() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config({f"{PREFIX}DATABASE_URL": "postgresql://CANARY:CANARY@host:CANARY/db"})
    assert "CANARY" not in str(caught.value)


def test_secrets_do_not_appear_when_a_config_is_shown() -> None:
    config = load_config({PREFIX + name: text for name, (text, _) in GOOD.items()})
    for name in ("SECRET_KEY", "SOPHOS_CLIENT_SECRET", "METRICS_TOKEN", "CONNECTWISE_PRIVATE_KEY"):
        assert repr(GOOD[name][0]) not in repr(config)
    assert KEY not in repr(config)


def test_the_database_stands_in_the_data_directory_unless_named() -> None:
    assert load_config({f"{PREFIX}DATA_DIR": "/srv/data"}).sqlalchemy_url == (
        "sqlite:////srv/data/tallybridge.db"
    )
    assert load_config({f"{PREFIX}DATABASE_URL": "sqlite:////x/y.db"}).sqlalchemy_url == (
        "sqlite:////x/y.db"
    )


def test_variables_that_kubernetes_injects_are_ignored() -> None:
    injected = {"TALLYBRIDGE_PORT": "tcp://10.0.0.1:80", "TALLYBRIDGE_SERVICE_HOST": "10.0.0.1"}
    assert load_config(injected) == load_config({})


@pytest.mark.parametrize(
    "issuer",
    [
        f"https://login.microsoftonline.com/{TENANT}/v2.0",
        "https://acme.eu.auth0.example/",
        "https://login.example:8443/realms/acme",
        "http://127.0.0.1:81",
        "http://[::1]:81/x",
    ],
)
def test_an_issuer_is_kept_to_the_letter(issuer: str) -> None:
    assert load_config({f"{PREFIX}OIDC_ISSUER": issuer}).oidc_issuer == issuer
