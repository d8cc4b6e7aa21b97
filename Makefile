# Everything that a developer, a new user or CI runs. It needs python3 (3.11 or newer) with venv, and make.
# `make help` lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python -m
# Present only when the install came to its end, so that an interrupted one is done again.
INSTALLED := $(VENV)/.installed
XDIST ?= 2

.DEFAULT_GOAL := help
.PHONY: help install run test check lint types vulnerabilities format generate breaking lock migration catalogue bench crash chaos dist clean

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

TOOLS := $(BIN)
include protos/generate.mk

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "keybridge needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 run" >&2; exit 1; }
	@echo "Installing into $(VENV): about a minute, once."
	@$(PYTHON) -m venv --clear $(VENV) \
	    || { echo "python3 can't make a virtual environment: install its venv module (on Debian: apt install python3-venv)" >&2; exit 1; }
# The lock file is whole, so nothing is resolved: a newer release of something in it must not matter.
	@$(RUN) pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements.lock
	@$(RUN) pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(RUN) pip check --disable-pip-version-check >/dev/null || { $(RUN) pip check; exit 1; }
	@touch $@

generate breaking: $(INSTALLED)

install: $(INSTALLED) ## Make the virtual environment, or renew it when the lock file changed.

run: $(INSTALLED) ## Start PostgreSQL and both services; Ctrl-C stops all of it.
	@exec $(RUN) keybridge up

# What `check` has run already is left out.
test: check ## Everything that CI runs: the checks, then the tests with their coverage gate.
	@$(RUN) pytest -n $(XDIST) --cov --cov-report=term-missing --ignore tests/house --ignore tests/protos

check: lint types breaking vulnerabilities ## Lint, types, contracts, generated code, import rules, lock file; no tests of behaviour.
	@$(RUN) pytest -q tests/house tests/protos

vulnerabilities: $(INSTALLED)
	@$(RUN) deploy.vulnerabilities

lint: $(INSTALLED)
	@$(RUN) ruff format --check --quiet . || { echo "make format puts this right" >&2; exit 1; }
	@$(RUN) ruff check --quiet .
	@$(BIN)/lint-imports --no-cache

types: $(INSTALLED)
	@$(RUN) mypy servicekit keyservice bridgeservice keybridge migrations deploy tests

format: $(INSTALLED) ## Put code and protos into their form.
	@$(RUN) ruff check --quiet --fix-only .
	@$(RUN) ruff format --quiet .
	@$(BIN)/buf format -w

crash: $(INSTALLED) ## Kill KeyService 100 times and PostgreSQL 10 times under load; nothing may be lost.
	@GRPC_ENABLE_FORK_SUPPORT=0 $(RUN) tests.evidence.crash_safety --kills 100 --postgres-kills 10

chaos: $(INSTALLED) ## Kill the bridge while orders are placed, let random faults happen, and time its recovery.
	@GRPC_ENABLE_FORK_SUPPORT=0 $(RUN) tests.evidence.order_kills --kills 200
	@GRPC_ENABLE_FORK_SUPPORT=0 $(RUN) tests.evidence.fault_run --steps 500
	@$(RUN) benchmarks.recovery

lock: $(INSTALLED) ## Renew requirements.lock from pyproject.toml.
	@$(BIN)/uv pip compile --quiet --upgrade --all-extras --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
	    --output-file requirements.lock pyproject.toml

migration: $(INSTALLED) ## Draft a migration from the models: make migration m="what it does".
	@test -n "$(m)" || { echo 'say what it does: make migration m="add the clients table"' >&2; exit 2; }
	@$(RUN) migrations.draft "$(m)"

catalogue: $(INSTALLED) ## Renew the catalogue of exchanges from ccxt.
	@$(RUN) bridgeservice.exchanges.catalogue --write

bench: $(INSTALLED) ## Measure: custody beside raw gRPC and asyncpg, sealing, the chain of interceptors, the start, connectors.
	@$(RUN) benchmarks.custody
	@$(RUN) benchmarks.audit
	@$(RUN) benchmarks.rpc_chain --uvloop
	@$(RUN) benchmarks.start
	@$(RUN) benchmarks.instruments
	@$(RUN) benchmarks.ledger
	@$(RUN) benchmarks.connectors
	@$(RUN) benchmarks.bridge --uvloop
	@$(RUN) benchmarks.bridge_health
	@$(RUN) benchmarks.greedy
	@$(RUN) benchmarks.hostile

# The time of the last commit is all that a build knows of time, so that everybody's are the same to the byte.
dist: export SOURCE_DATE_EPOCH = $(shell git log -1 --format=%ct)
dist: $(INSTALLED) ## Build the wheel, twice and with the same result, the source distribution and the bill of materials.
	@rm -rf dist build/again
	@$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist
	@$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir build/again
	@for made in dist/*.whl dist/*.tar.gz; do \
	    cmp "$$made" "build/again/$${made#dist/}" || { echo "two builds of $$made differ" >&2; exit 1; }; \
	done
	@$(RUN) deploy.sbom dist/*.whl dist/keybridge.cdx.json

clean: ## Remove what the other targets made.
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
