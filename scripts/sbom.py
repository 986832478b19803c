"""The bill of materials of what we ship, as CycloneDX JSON: `make sbom` writes build/sbom.json.

Every locked Python package with the hashes that it is installed by, and every vendored browser
file. The same input gives the same bytes: no times, no numbers drawn, no network. What the base
image brings along is not ours and not in it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "build" / "sbom.json"
LOCK = ROOT / "requirements.txt"
VENDORED = ROOT / "static" / "vendor" / "vendored.json"

Component = dict[str, Any]


def sbom() -> dict[str, Any]:
    """The whole document."""
    document = _of_python()
    packages = {c["name"]: _plain(c) for c in document["components"]}
    vendored = list(_of_browser(json.loads(VENDORED.read_text(encoding="utf-8"))))
    root = document["metadata"]["component"]
    root["bom-ref"] = root["name"]
    needs = _needs(LOCK.read_text(encoding="utf-8"), packages)
    needs |= {component["bom-ref"]: [] for component in vendored}
    needs[root["name"]] += [component["bom-ref"] for component in vendored]
    document["components"] = sorted([*packages.values(), *vendored], key=lambda c: c["bom-ref"])
    document["dependencies"] = [
        {"ref": ref, "dependsOn": sorted(others)} for ref, others in sorted(needs.items())
    ]
    return document


def problem(document: Mapping[str, Any]) -> str | None:
    """Why a document is not valid CycloneDX; None when it is."""
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document))
    return str(wrong) if wrong else None


def _of_python() -> dict[str, Any]:
    """What cyclonedx-py reads out of the lock file."""
    command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements"]
    command += ["--output-reproducible", "--pyproject", str(ROOT / "pyproject.toml")]
    command += ["--sv", "1.6", "--of", "JSON", str(LOCK)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def _plain(component: Component) -> Component:
    """Named by its package URL, and without the line of the lock file repeated in words."""
    component.pop("description")
    component["bom-ref"] = component["purl"]
    return component


def _needs(lock: str, packages: Mapping[str, Component]) -> dict[str, list[str]]:
    """Who needs whom, from the lock file's comments: `# via flask` below a package."""
    needs: dict[str, list[str]] = {c["bom-ref"]: [] for c in packages.values()}
    needs["tallybridge"] = []
    for entry in re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)[1:]:
        needed = packages[re.split(r"[=\[]", entry)[0]]["bom-ref"]
        for name in re.findall(r"^    #(?: via| {2}) +(\S.*)$", entry, re.MULTILINE):
            by = "tallybridge" if name.startswith("-r ") else packages[name]["bom-ref"]
            needs[by].append(needed)
    return needs


def _of_browser(entries: Iterable[Mapping[str, str]]) -> Iterable[Component]:
    """One component a package, with each file of it that we ship and its hash."""
    by_package = lambda entry: (entry["package"], entry["version"], entry["licence"])  # noqa: E731
    for (name, version, licence), files in groupby(sorted(entries, key=by_package), by_package):
        purl = f"pkg:npm/{quote(name, safe='/')}@{version}"
        yield {
            "bom-ref": purl,
            "type": "library",
            "name": name,
            "version": version,
            "purl": purl,
            "licenses": [{"license": {"id": licence}}],
            "components": [
                {
                    "bom-ref": f"static/vendor/{file['file']}",
                    "type": "file",
                    "name": f"static/vendor/{file['file']}",
                    "hashes": [{"alg": "SHA-256", "content": file["sha256"]}],
                }
                for file in files
            ],
        }


def main() -> int:
    """Write the file, if it is good."""
    document = sbom()
    if wrong := problem(document):
        sys.stderr.write(f"This is not CycloneDX 1.6: {wrong}\n")
        return 1
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    count = len(document["components"])
    sys.stdout.write(f"{TARGET.relative_to(ROOT)}: {count} packages\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
