# Everything a developer does here. `make` alone says what there is.

PYTHON := .venv/bin/python
STAMP := .venv/installed
WORKERS ?= auto
LOCK_FLAGS ?=
# What touches a database; the rest cannot tell which one it is.
ON_POSTGRESQL := tests/cli tests/faults tests/services tests/web tests/test_migrations.py \
	tests/test_upgrades.py
COMPILE := $(PYTHON) -m uv pip compile --quiet --generate-hashes --universal \
	--python-version 3.11 --fork-strategy fewest \
	--custom-compile-command "make lock" $(LOCK_FLAGS)

.DEFAULT_GOAL := help
.PHONY: help install test test-fast coverage lint types format demo bench lock sbom image image-check clean

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Make .venv and install what the lock file holds, hashes checked

$(STAMP): requirements-dev.txt scripts/bootstrap
	@scripts/bootstrap
	@touch $@

test: install lint types ## Check everything, from a bare clone: lint, types, all tests
ifneq ($(wildcard tests/browser),)
	@scripts/install-chromium
endif
	@scripts/install-postgresql
	$(PYTHON) -m pytest -n $(WORKERS)
	$(PYTHON) -m pytest -n $(WORKERS) --postgresql $(ON_POSTGRESQL)

test-fast: install ## Run the tests that need no browser and take no time
	$(PYTHON) -m pytest -n $(WORKERS) -m "not slow and not browser"

coverage: install ## Run all tests and show the lines and branches they miss
	$(PYTHON) -m pytest -n $(WORKERS) --cov

lint: install ## Check style, likely bugs and format, change nothing
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types: install ## Check types, strictly
	$(PYTHON) -m mypy

format: install ## Put code into the house format and mend what can be mended
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

demo: install ## Run against two simulated vendors: nothing real is touched
	$(PYTHON) demo.py

bench: install ## Measure what we promise
	$(PYTHON) -m bench

lock: install ## Lock the dependencies anew (LOCK_FLAGS=--upgrade for newer ones)
	$(COMPILE) requirements.in -o requirements.txt
	$(COMPILE) requirements-dev.in -o requirements-dev.txt
	@! grep -n '://' requirements.txt requirements-dev.txt || \
		{ echo "A lock file names a host: see docs/decisions/0007-lock-with-hashes-no-hosts.md"; exit 1; }

sbom: install ## List everything that we ship, as CycloneDX: build/sbom.json
	$(PYTHON) -m scripts.sbom

image: sbom ## Build the container image with docker, podman or buildah
	@scripts/image

image-check: sbom ## Build the image and try it for real: Debian, as root, some minutes
	$(PYTHON) -m scripts.image_check

clean: ## Remove .venv and all caches, never any data
	rm -rf .venv build .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
