"""`config export` and `config import`: everything in a file is right, or nothing is taken over."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox import Sandbox
from tests.cli.installation import Answer, Installation, refused

NOTHING = r"Nothing was changed; correct the file and import it again\.$"


def wrong(answer: Answer, *problems: tuple[int, str]) -> None:
    """Exit code 1, exactly these lines with these words, and one sentence at the end."""
    assert answer.code == 1, answer
    *lines, last = answer.err.strip().splitlines()
    assert last.startswith("Error: ")
    assert re.search(NOTHING, last)
    assert answer.out == ""
    assert len(lines) == len(problems), lines
    for said, (line, words) in zip(lines, problems, strict=True):
        assert said.startswith(f"line {line}: "), said
        assert re.search(words, said), f"{words!r} is not in {said!r}"


@pytest.fixture
def mapped(desk: Installation) -> Installation:
    return desk.configured()


# --- the shape of the file ----------------------------------------------------------------------

BAD_FILES: dict[str, tuple[str | bytes, tuple[tuple[int, str], ...]]] = {
    "empty": ("", ((1, "sections settings, products, tenants"),)),
    "only a comment": ("# nothing yet\n", ((1, "sections settings"),)),
    "one word": ("hello\n", ((1, "sections settings"),)),
    "a list": ("- code: X\n", ((1, "sections settings"),)),
    "malformed": ("products: [\n  {code: a\n", ((3, "not valid YAML"),)),
    "a tab": ("products:\n\t- code: x\n", ((2, "not valid YAML: .*cannot start any token"),)),
    "binary": (bytes(range(256)) * 40, ((1, "not UTF-8 text"),)),
    "UTF-16": ("products: []\n".encode("utf-16"), ((1, "not UTF-8 text"),)),
    "a control character": (b'products:\n- code: "a\x00b"\n', ((1, "not valid YAML"),)),
    "huge": ("#" + "x" * 10_000_000, ((1, "larger than 10 MB"),)),
    "two documents": ("products: []\n---\ntenants: []\n", ((2, "not valid YAML"),)),
    "a section twice": ("products: []\n\nproducts: []\n", ((3, "'products' .* second time"),)),
    "a name twice": ("products:\n- code: a\n  code: b\n", ((3, "'code' .* second time"),)),
    "an unknown section": ("mappings: []\nproducts: []\n", ((1, "unknown section 'mappings'"),)),
    "unknown names": (
        "products:\n- code: CIXA-MSP\n  catalog-item: x\n  sync: true\n  price: 3\n",
        ((3, "catalog-item: unknown name"), (5, "price: unknown name")),
    ),
    "wrong types": (
        "products:\n- code: [1]\n  sync: maybe\n",
        ((2, "code: write a name"), (3, "sync: write true or false")),
    ),
    "no code": ("products:\n- sync: true\n", ((2, "code: it is missing"),)),
    "an empty code": ("products:\n- code: ''\n", ((2, "code: it must have 1 or more"),)),
    "a section that is no list": ("products: {a: b}\n", ((1, "products must be a list"),)),
    "an entry without names": ("tenants:\n- hello\n", ((1, "every entry of tenants"),)),
    "true for a code": ("products:\n- code: true\n", ((2, "code: write a name"),)),
    "true for a name": ("products:\n- true: a\n", ((2, "'true' is no name; put it in quotes"),)),
    "a number without end": ("tenants:\n- id: " + "9" * 5000 + "\n", ((2, "id: .* too long"),)),
    "a command": (
        'products: !!python/object/apply:os.system ["exit 1"]\n',
        ((1, "tag of YAML, .* quotes"),),
    ),
    "itself within itself": ("products: &a\n- *a\n", ((1, "&a is an alias, an anchor"),)),
    "very deep": ("products: " + "[" * 3000 + "]" * 3000, ((1, "not valid YAML"),)),
    "the same product twice": (
        "products:\n- code: CIXA-MSP\n\n- code: CIXA-MSP\n",
        ((4, "Sophos product CIXA-MSP is mapped already in line 2"),),
    ),
    "the same customer twice": (
        "tenants:\n- {id: a, sync: true}\n- id: b\n- id: a\n",
        ((4, "customer a is mapped already in line 2"),),
    ),
    "an agreement without a company": (
        "tenants:\n- id: a\n  agreement: 201\n  company: null\n",
        ((2, "customer a has an agreement, but no company"),),
    ),
    "a list of agreements": (
        "tenants:\n- id: a\n  company: b\n  agreements: [1]\n",
        ((4, "agreements: write names with values"),),
    ),
    "a setting that is none": (
        "settings:\n  read_only: false\n  colour: red\n",
        ((3, "settings: colour: there is no such setting"),),
    ),
    "settings as a list": ("settings: [1]\n", ((1, "settings must have names"),)),
    "a zone that is none": (
        "settings:\n  timezone: Mars/Base\n",
        ((2, "timezone: 'Mars/Base' is not a time zone"),),
    ),
    "a choice that is none": (
        "settings:\n  usage_ended: perhaps\n",
        ((2, "usage_ended: .*'hold', 'zero' or 'cancel'"),),
    ),
    "a guard rail out of range": (
        "settings:\n  guard_rails:\n    decrease_percent: 101\n",
        ((2, "guard_rails.decrease_percent: it must be 100 or less"),),
    ),
    "a guard rail that is no number": (
        "settings:\n  guard_rails:\n    price_effect: .inf\n",
        ((2, "guard_rails.price_effect: write a number"),),
    ),
    "a guard rail that is none": (
        "settings:\n  guard_rails: {hold_everything: true}\n",
        ((2, "guard_rails.hold_everything: there is no such setting"),),
    ),
    "no guard rails at all": (
        "settings:\n  guard_rails: null\n",
        ((2, "guard_rails: write names with values"),),
    ),
    "a template without its place": (
        "settings:\n  default_product: {identifier: Sophos}\n",
        ((2, r"default_product.identifier: it must contain \{code\}"),),
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_of_the_wrong_shape_changes_nothing(
    module_desk: Installation, tmp_path: Path, name: str
) -> None:
    content, problems = BAD_FILES[name]
    file = tmp_path / "bad.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with module_desk.unchanged():
        wrong(module_desk.call("config", "import", file), *problems)


def test_problems_are_told_as_json_too(desk: Installation) -> None:
    file = desk.write("products:\n- code: [1]\ntenants: {}\nplaces: []\n")
    answer = desk.call("config", "import", file, "--json")
    assert answer.code == 1
    assert answer.json["error"] == "Nothing was changed."
    assert [p["line"] for p in answer.json["problems"]] == [2, 4]


def test_files_that_cannot_be_read_or_written(desk: Installation) -> None:
    refused(desk.call("config", "import", desk.home / "none.yaml"), "does not exist", code=2)
    refused(desk.call("config", "import", desk.home), "is a directory", code=2)
    refused(desk.call("config", "import"), "Missing argument 'FILE'", code=2)
    refused(desk.call("config", "export", desk.home), "is a directory", code=2)
    refused(desk.call("config", "export", desk.home / "no" / "file"), "cannot be written: No such")


def test_a_bomb_of_aliases_is_refused_at_once(desk: Installation) -> None:
    """Smaller than a real one, and already far too long an answer."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for one, before in zip("bcde", "abcd", strict=True):
        lines.append(f"{one}: &{one} [{', '.join(['*' + before] * 9)}]")
    answer = desk.call("config", "import", desk.write("\n".join([*lines, "products: *e", ""])))
    assert answer.code == 1
    assert len(answer.err) < 10_000
    wrong(answer, (1, "&a is an alias, an anchor"))


@pytest.mark.parametrize("written", ["*Acme", "&Co", "!Acme"])
def test_a_name_that_yaml_would_not_read_as_one_is_refused(
    mapped: Installation, written: str
) -> None:
    """`&Co` would be nothing at all, and so would take the customer's company away."""
    tenant = mapped.sample()["tenants"][0]
    file = mapped.write(f"tenants:\n- id: {tenant['id']}\n  company: {written}\n")
    with mapped.unchanged():
        wrong(mapped.call("config", "import", file), (3, re.escape(written) + ".* quotes"))


@pytest.mark.parametrize(
    "written",
    ["0123", "1:30", "1_000", "0x1F", "0b11", "1e3", "1.50", "2026-01-01", "no", "Null", "+5", "="],
)
def test_a_name_that_looks_like_a_number_is_not_turned_into_another(
    desk: Installation, written: str
) -> None:
    answer = desk.call("config", "import", desk.write(f"products:\n- code: {written}\n"))
    assert answer.code == 1
    assert f"unknown code {written}:" in answer.err


# --- names that the vendors do not know ---------------------------------------------------------


def test_every_unknown_name_is_told_with_its_line(mapped: Installation) -> None:
    one, two = mapped.sample()["tenants"][:2]
    file = mapped.write(
        f"""\
# Checked by hand.
settings:
  usage_ended: zero
products:
- code: CIXA-MSP
  catalog_item: Sophos_MTR_Advanced
- code: NOPE-MSP

- code: CIXAXDR
  catalog_item: Not_In_ConnectWise
tenants:
- id: 00000000-0000-0000-0000-000000000000
  company: {one["company"]}
- id: {one["id"]}
  company: Nobody Ltd
  agreement: 201
- id: {two["id"]}
  company: {two["company"]}
  agreement: 99999
"""
    )
    with mapped.unchanged():
        wrong(
            mapped.call("config", "import", file),
            (7, "unknown code NOPE-MSP"),
            (9, "Not_In_ConnectWise is not a ConnectWise product"),
            (12, "unknown customer id 0{8}-"),
            (14, "Nobody Ltd is not the identifier of a ConnectWise company"),
            (17, f"{two['company']} has no agreement 99999"),
        )


def of_first_tenant(**fields: Any) -> Callable[[Installation], str]:
    def text(desk: Installation) -> str:
        tenants = desk.sample()["tenants"]
        entry = {"id": tenants[0]["id"], "company": tenants[0]["company"], **fields}
        return yaml.safe_dump({"tenants": [entry]}, sort_keys=False)

    return text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"agreement": 202}, "agreement 202 belongs to another company than"),
        ({"agreement": "202"}, "agreement 202 belongs to another company than"),
        ({"agreement": "Nope"}, "has no agreement 'Nope'"),
        ({"agreement": 0}, "has no agreement 0"),
        ({"agreement": -201}, "has no agreement -201"),
        ({"agreement": 10**30}, "has no agreement 1000"),
        ({"agreement": "²"}, "has no agreement '²'"),
        ({"agreement": 201, "agreements": {"NOPE": 201}}, "unknown code NOPE in agreements"),
        ({"agreement": 201, "agreements": {"CIXA-MSP": 202}}, "belongs to another company"),
        ({"company": "AlderDentalGroup000 "}, "is not the identifier of a ConnectWise company"),
        ({"company": 'x" or id>0 or name="'}, "is not the identifier of a ConnectWise company"),
        ({"agreement": True}, "agreement: write the id or the name"),
        ({"agreement": 201, "agreements": {"CIXA-MSP": False}}, "agreements: write the id"),
    ],
    ids=repr,
)
def test_an_agreement_or_company_that_does_not_fit(
    module_desk: Installation, tmp_path: Path, fields: dict[str, Any], words: str
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(of_first_tenant(**fields)(module_desk), encoding="utf-8")
    with module_desk.unchanged():
        answer = module_desk.call("config", "import", file)
        assert answer.code == 1, answer
        assert re.search(words, answer.err.splitlines()[0]), answer.err
        assert re.search(NOTHING, answer.last)
        if "True" in str(fields):
            assert "has no agreement 1" not in answer.err


def test_a_bundle_and_an_item_in_another_case_are_refused(
    desk: Installation, sandbox: Sandbox
) -> None:
    bundle = next(i for i in sandbox.state()["catalog"] if i.get("productClass") == "Bundle")
    for identifier, words in (
        (bundle["identifier"], "a bundle, which cannot be an addition"),
        ("SOPHOS_MTR_ADVANCED", "not a ConnectWise product"),
    ):
        file = desk.write(
            yaml.safe_dump({"products": [{"code": "CIXA-MSP", "catalog_item": identifier}]})
        )
        with desk.unchanged("alembic_version"):
            wrong(desk.call("config", "import", file), (2, words))


def test_one_wrong_entry_among_good_ones_keeps_all_of_them_out(mapped: Installation) -> None:
    """All or nothing: the settings, the audit and even what Sophos shows for the first time."""
    document = mapped.sample()
    document["settings"] = {"usage_ended": "cancel"}
    for entry in document["products"]:
        entry["sync"] = False
    document["tenants"][-1]["agreement"] = "No such agreement"
    file = mapped.write(yaml.safe_dump(document, sort_keys=False))
    with mapped.unchanged():
        assert mapped.call("config", "import", file).code == 1
    document["tenants"][-1]["agreement"] = mapped.sample()["tenants"][-1]["agreement"]
    mapped.write(yaml.safe_dump(document, sort_keys=False))
    with mapped.unchanged():
        dry = mapped.call("config", "import", file, "--dry-run")
    wet = mapped.call("config", "import", file)
    assert dry.code == wet.code == 0
    assert dry.out.splitlines()[:-1] == wet.out.splitlines()[:-1]
    assert dry.out.splitlines()[-1] == "9 entries would change; nothing was kept."
    assert wet.out.splitlines()[-1] == "9 entries changed."


# --- what is taken over -------------------------------------------------------------------------


def test_an_export_imported_again_changes_nothing(mapped: Installation) -> None:
    tenant = mapped.sample()["tenants"][0]
    extra = {
        "settings": {"timezone": "Europe/Berlin", "guard_rails": {"price_effect": None}},
        "tenants": [{**tenant, "agreements": {"CIXA-MSP": tenant["agreement"]}}],
    }
    assert mapped.call("config", "import", mapped.write(yaml.safe_dump(extra))).code == 0
    file = mapped.home / "export.yaml"
    assert mapped.call("config", "export", file, "--json").json == {"file": str(file)}
    with mapped.unchanged():
        answer = mapped.call("config", "import", file)
    assert (answer.code, answer.out) == (0, "0 entries changed.\n")
    with mapped.unchanged():
        assert mapped.call("config", "import", file, "--json").json["changes"] == []


def test_an_export_fits_an_empty_installation(mapped: Installation, tmp_path: Path) -> None:
    assert mapped.sandbox is not None
    file = mapped.home / "export.yaml"
    mapped.call("config", "export", file)
    other = Installation.at(mapped.sandbox, tmp_path / "other")
    assert other.call("config", "import", file).code == 0
    other.call("config", "export", other.home / "again.yaml")
    assert (other.home / "again.yaml").read_text() == file.read_text()


def test_an_export_holds_no_secrets(mapped: Installation) -> None:
    assert (
        mapped.call("users", "create", "a", "--role", "admin", input="canary password\n" * 2).code
        == 0
    )
    mapped.call("config", "export", mapped.home / "export.yaml")
    text = (mapped.home / "export.yaml").read_text()
    for name, value in mapped.env.items():
        if "SECRET" in name or "KEY" in name or name.endswith("CLIENT_ID"):
            assert value not in text
    assert "canary" not in text
    assert "argon2" not in text


def test_agreements_by_id_and_by_name(desk: Installation) -> None:
    tenant = desk.sample()["tenants"][0]
    for written in (201, "201", "Managed Services"):
        file = desk.write(yaml.safe_dump({"tenants": [{**tenant, "agreement": written}]}))
        assert desk.call("config", "import", file).code == 0
        assert desk.rows()["tenant_mappings"][0][7:9] == (201, "Managed Services")


def test_a_name_wins_over_an_id_and_two_of_a_name_need_an_id(
    desk: Installation, sandbox: Sandbox
) -> None:
    """Agreement 201 is renamed to the digits of another agreement's id."""
    third = desk.sample()["tenants"][2]
    assert third["agreement"] == 203  # this company also has 204
    sandbox.edit({"action": "agreement", "id": 204, "name": "203"})
    file = desk.write(yaml.safe_dump({"tenants": [{**third, "agreement": "203"}]}))
    assert desk.call("config", "import", file).code == 0
    assert 204 in [row[7] for row in desk.rows()["tenant_mappings"]]

    sandbox.edit({"action": "agreement", "id": 204, "name": "Managed Services"})
    file = desk.write(yaml.safe_dump({"tenants": [{**third, "agreement": "Managed Services"}]}))
    with desk.unchanged():
        wrong(
            desk.call("config", "import", file),
            (2, "has several agreements 'Managed Services'; use an id: 203, 204"),
        )


def test_one_product_goes_to_another_agreement(desk: Installation, sandbox: Sandbox) -> None:
    third = desk.sample()["tenants"][2]
    month = sandbox.state()["ready"][-1]
    for code in ("CIXAXDR", "CIXA-MSP", "CIXAMTR-STD-MSP"):
        usage = {"month": month, "tenant": third["id"], "product": code, "quantity": 7}
        sandbox.edit({"action": "set_usage", **usage})
    entry = {**third, "agreements": {"CIXAXDR": 204, "CIXA-MSP": "Backup & Security"}}
    document = {**desk.sample(), "tenants": [entry]}
    assert desk.call("config", "import", desk.write(yaml.safe_dump(document))).code == 0
    assert [row[1:] for row in desk.rows()["product_agreements"]] == [
        ("CIXA-MSP", 204),
        ("CIXAXDR", 204),
    ]
    elsewhere, found = {1001, 1003}, set()  # the items of the two
    for change in desk.call("sync", "plan", "--json").json["changes"]:
        assert change["agreement_id"] == (204 if change["catalog_item_id"] in elsewhere else 203)
        found.add(change["catalog_item_id"])
    assert found > elsewhere
    document["tenants"] = [third]
    with desk.unchanged():
        assert desk.call("config", "import", desk.write(yaml.safe_dump(document))).code == 0
    document["tenants"] = [{**third, "agreements": None}]
    assert desk.call("config", "import", desk.write(yaml.safe_dump(document))).code == 0
    assert "product_agreements" not in desk.rows()


def test_what_an_entry_leaves_out_stays_and_null_clears(mapped: Installation) -> None:
    tenant, product = mapped.sample()["tenants"][0], mapped.sample()["products"][0]
    short = {"products": [{"code": product["code"]}], "tenants": [{"id": tenant["id"]}]}
    with mapped.unchanged():
        answer = mapped.call("config", "import", mapped.write(yaml.safe_dump(short)))
    assert (answer.code, answer.out) == (0, "0 entries changed.\n")
    changes = (
        ({"sync": False}, "sync on -> off"),
        ({"agreement": None}, f"agreement {tenant['agreement']} -> none"),
        ({"agreement": "Managed Services"}, f"agreement none -> {tenant['agreement']}"),
        ({"company": None}, f"company {tenant['company']} -> none, agreement .* -> none"),
    )
    for fields, words in changes:
        file = mapped.write(yaml.safe_dump({"tenants": [{"id": tenant["id"], **fields}]}))
        first, *others = mapped.call("config", "import", file).out.splitlines()
        assert re.search(rf": {words}$", first)
        assert others == ["1 entry changed."]
    entry = {"products": [{"code": product["code"], "catalog_item": None}]}
    answer = mapped.call("config", "import", mapped.write(yaml.safe_dump(entry)))
    assert f"catalog_item {product['catalog_item']} -> none" in answer.out
    assert "sync" not in answer.out


def test_nobody_is_moved_to_a_company_with_the_agreement_of_another(mapped: Installation) -> None:
    one, two = mapped.sample()["tenants"][:2]
    file = mapped.write(yaml.safe_dump({"tenants": [{"id": one["id"], "company": two["company"]}]}))
    with mapped.unchanged():
        wrong(mapped.call("config", "import", file), (2, "moves .*; give its agreement too"))
    text = f"tenants:\n- id: {one['id']}\n  agreement: {two['agreement']}\n"
    with mapped.unchanged():
        problem = (2, "belongs to another company")
        wrong(mapped.call("config", "import", mapped.write(text)), problem)


def test_an_agreement_needs_a_company_in_the_file_or_before(desk: Installation) -> None:
    tenant = desk.sample()["tenants"][0]
    file = desk.write(yaml.safe_dump({"tenants": [{"id": tenant["id"], "agreement": 201}]}))
    wrong(desk.call("config", "import", file), (2, "has an agreement, but no company"))


def test_settings_may_be_given_in_part(desk: Installation) -> None:
    first = {"settings": {"guard_rails": {"decrease_percent": 40, "price_effect": None}}}
    second = {"settings": {"guard_rails": {"decrease_at_least": "7.5"}, "usage_ended": "zero"}}
    for document in (first, second):
        assert desk.call("config", "import", desk.write(yaml.safe_dump(document))).code == 0
    desk.call("config", "export", desk.home / "export.yaml")
    settings = yaml.safe_load((desk.home / "export.yaml").read_text())["settings"]
    assert settings["usage_ended"] == "zero"
    assert settings["guard_rails"] == {
        "decrease_percent": "40",
        "decrease_at_least": "7.5",
        "drop_to_zero": True,
        "price_effect": None,
        "decreasing_share_percent": "20",
        "missing_customers_percent": "10",
    }


def test_what_the_environment_locks_is_not_stored(desk: Installation) -> None:
    file = desk.write("settings: {usage_ended: zero}\n")
    answer = desk.call("config", "import", file, READ_ONLY="true", TIMEZONE="Asia/Tokyo")
    assert answer.code == 0
    assert [row[0] for row in desk.rows()["settings"]] == ["usage_ended"]


def test_every_change_of_an_import_is_in_the_audit(desk: Installation) -> None:
    desk.configured()
    rows = desk.rows()["audit_events"]
    assert len(rows) == 14
    for _, at, actor, action, subject, _before, after, run in rows:
        assert at
        assert actor.startswith("command line")
        assert action == "config.import"
        assert subject.startswith(("product ", "customer "))
        assert after
        assert run is None


def test_two_thousand_wrong_entries_are_told_quickly(mapped: Installation) -> None:
    """Informal: every one with its line, in a few seconds."""
    entry = "- id: unknown-{0:04}\n  company: Nobody {0:04}\n  agreement: 201\n  sync: true\n"
    text = "tenants:\n" + "".join(entry.format(n) for n in range(2000))
    began = time.monotonic()
    with mapped.unchanged():
        answer = mapped.call("config", "import", mapped.write(text))
    assert time.monotonic() - began < 30
    assert answer.code == 1
    lines = answer.err.splitlines()
    assert len(lines) == 2001
    assert lines[1999].startswith("line 7998: unknown customer id unknown-1999")
