"""Signing in and out, and what makes a session end."""

from __future__ import annotations

import pytest

from tests.web.client import Client, page_of


def test_the_form_signs_in_and_leads_to_the_overview(anonymous: Client) -> None:
    answer = anonymous.sign_in("viewer")
    assert (answer.status_code, answer.location) == (303, "/")
    assert anonymous.get("/").status_code == 200


@pytest.mark.parametrize(("name", "password"), [("viewer", "wrong"), ("nobody", "wrong")])
def test_a_wrong_name_and_a_wrong_password_look_alike(
    anonymous: Client, name: str, password: str
) -> None:
    answer = anonymous.sign_in(name, password)
    assert answer.status_code == 422
    assert "Name or password is wrong." in page_of(answer).text
    assert anonymous.get("/").status_code == 302
