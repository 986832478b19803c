from __future__ import annotations

import pytest

from services.clients.errors import HostNotAllowed
from services.clients.hosts import CONNECTWISE_CLOUD, SOPHOS_CLOUD, check_url

ALLOWED = frozenset(
    {
        "psa.example.com",
        "psa.example.com:8443",
        "http://127.0.0.1:8080",
        "http://localhost:8080",
        "http://[::1]:8080",
        "https://other.example.com:444",
        "http://plain.example.com",
        "not a host",
        "",
    }
)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://na.myconnectwise.net", "https://na.myconnectwise.net"),
        ("https://API-EU.myconnectwise.net/", "https://api-eu.myconnectwise.net"),
        ("https://za.myconnectwise.net:443", "https://za.myconnectwise.net"),
        (" https://psa.example.com ", "https://psa.example.com"),
        ("https://psa.example.com:8443/", "https://psa.example.com:8443"),
        ("https://other.example.com:444", "https://other.example.com:444"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://LOCALHOST:8080/", "http://localhost:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_known_and_allowed_addresses_are_normalised(url: str, origin: str) -> None:
    assert check_url(url, allowed=ALLOWED, cloud=CONNECTWISE_CLOUD) == origin


@pytest.mark.parametrize(
    "url",
    [
        "http://na.myconnectwise.net",
        "https://na.myconnectwise.net:8443",
        "https://na.myconnectwise.net.evil.example",
        "https://evil-na.myconnectwise.net",
        "https://myconnectwise.net",
        "https://na.myconnectwise.net@evil.example",
        "https://user:pw@na.myconnectwise.net",
        "https://evil.example#na.myconnectwise.net",
        "https://na.myconnectwise.net/login",
        "https://na.myconnectwise.net?x=1",
        "https://na.myconnectwise.net?",
        "https://na.myconnectwise.net\\@evil.example",
        "https://na.myconnectwise.net\n.evil.example",
        "https://ɴa.myconnectwise.net",
        "https://na.myconnectwise.net.",
        "https://na.myconnectwise.net:",
        "https://na.myconnectwise.net:99999",
        "https://[::1",
        "na.myconnectwise.net",
        "ftp://na.myconnectwise.net",
        "https://",
        "",
        "https://psa.example.com:9443",
        "http://psa.example.com",
        "https://127.0.0.1:8080",
        "http://127.0.0.1:8081",
        "http://127.0.0.1",
        "http://127.0.0.2:8080",
        "http://plain.example.com",
        "https://169.254.169.254",
        "https://id.sophos.com",
    ],
)
def test_everything_else_is_refused(url: str) -> None:
    with pytest.raises(HostNotAllowed) as caught:
        check_url(url, allowed=ALLOWED, cloud=CONNECTWISE_CLOUD)
    assert caught.value.vendor == "ConnectWise"
    assert caught.value.permanent


def test_the_refusal_names_the_setting() -> None:
    with pytest.raises(
        HostNotAllowed, match=r"add psa\.example\.org to TALLYBRIDGE_ALLOWED_VENDOR_"
    ):
        check_url("https://psa.example.org", allowed=frozenset(), cloud=SOPHOS_CLOUD)


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(HostNotAllowed) as caught:
        check_url("https://me:hunter22@evil.example", allowed=frozenset(), cloud=SOPHOS_CLOUD)
    assert "hunter22" not in str(caught.value)
