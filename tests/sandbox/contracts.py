"""The judge: answers against the vendors' published shapes, where those are at hand."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from openapi_schema_validator import OAS30Validator

FILES = {
    "sophos": "sophos-subset.openapi.yaml",
    "connectwise": "connectwise-subset.openapi.json",
}


def folder() -> Path:
    """Where the shapes are; they are not part of the project."""
    default = Path(__file__).resolve().parents[3] / "shared" / "contracts"
    return Path(os.environ.get("CONTRACTS", default))


@cache
def document(vendor: str) -> dict[str, Any]:
    """One vendor's OpenAPI document; without it the test is skipped."""
    path = folder() / FILES[vendor]
    if not path.is_file():
        pytest.skip(f"no contract at {path}: set CONTRACTS to its folder")
    text = path.read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    return loaded


@cache
def _validator(vendor: str, name: str) -> Any:
    schema = {"$ref": f"#/components/schemas/{name}", "components": document(vendor)["components"]}
    return OAS30Validator(schema)


def problems(vendor: str, name: str, value: Any) -> list[str]:
    """What a schema has against a value, unknown top-level fields included."""
    found = [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message}"
        for error in _validator(vendor, name).iter_errors(value)
    ]
    known = document(vendor)["components"]["schemas"][name].get("properties", {})
    if isinstance(value, dict):
        found += [f"{field}: not in the contract" for field in value if field not in known]
    return found
