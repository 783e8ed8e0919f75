# Every habit of this repository, one target each; `make help` lists them.
.DEFAULT_GOAL := help
.SUFFIXES:
.PHONY: help install run test lint types contracts format bench chaos simulate fuzz soak monitoring lock clean

VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(BIN)/python
TESTS ?= tests
WORKERS ?= 2
PEERS ?=
MILLION ?=
FAULTS ?=
SCALE ?= 1
SEED ?=
SEEDS ?= 10000
REQUESTS ?= 50000
RUNS ?= 200000
comma := ,
loopback := 127.0.0.0/8$(comma)::1/128

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

install: $(VENV)/.development ## Install everything into .venv; the command line is then .venv/bin/headgate
	@echo "Headgate is installed: $(BIN)/headgate --help"

run: export HEADGATE_EGRESS_ALLOW := $(or $(HEADGATE_EGRESS_ALLOW),$(loopback))
run: $(VENV)/.runtime ## Run Headgate on this machine with the example flows; Ctrl-C stops it
	@exec $(BIN)/headgate up --flows examples/flows --with-parent

test: lint types contracts ## Install, lint, check types and import arrows, run the tests (TESTS=tests/flows for a part)
	@$(PYTHON) -m pytest -n $(WORKERS) --dist loadfile $(TESTS)

lint: $(VENV)/.development ## Lint, and check the formatting
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check --quiet

types: $(VENV)/.development ## Check the types
	@$(BIN)/mypy

contracts: $(VENV)/.development ## Check that imports point down
	@$(BIN)/lint-imports --no-cache

format: $(VENV)/.development ## Format the code, and fix what can be fixed
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

bench: $(VENV)/.development ## Run the benchmark (PEERS="restate dbos" adds those, MILLION=1 a million runs)
	@$(PYTHON) -m bench --everything $(if $(MILLION),--million) $(foreach peer,$(PEERS),--peer $(peer))

chaos: $(VENV)/.development ## Break the stack from outside, count what is lost (FAULTS="broker-kill", SCALE=0.1)
	@$(PYTHON) -m chaos --scale $(SCALE) $(if $(FAULTS),$(foreach fault,$(FAULTS),--fault $(fault)),--page)

simulate: $(VENV)/.development ## Live through 10,000 seeded bad days (SEED=7: that one again; SEEDS=500: fewer)
	@$(PYTHON) -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

monitoring: $(VENV)/.development ## Make the dashboards and the operator's alert rules anew
	@$(PYTHON) -m monitoring

fuzz: $(VENV)/.development ## Ask the whole OpenAPI document 50,000 times, well and badly (REQUESTS=1000: fewer)
	@$(PYTHON) -m tests.fuzz --requests $(REQUESTS) $(if $(SEED),--seed $(SEED))

soak: $(VENV)/.development ## Watch the memory of every process over 200,000 runs (RUNS=20000: fewer)
	@$(PYTHON) -m tests.soak --runs $(RUNS)

lock: ## Resolve the dependencies anew and write both lock files
	@$(find_python); "$$python" -m venv $(VENV)/lock && $(VENV)/lock/bin/pip install --quiet uv
	@$(VENV)/lock/bin/uv pip compile $(uv_flags) pyproject.toml --output-file requirements.lock
	@$(VENV)/lock/bin/uv pip compile $(uv_flags) pyproject.toml --group dev --output-file requirements-dev.lock
	@rm -rf $(VENV)/lock

clean: ## Remove .venv and every cache; the data in .headgate stays
	@rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

uv_flags := --quiet --universal --generate-hashes --no-header --no-annotate --python-version 3.11 --upgrade

# The first Python that is new enough and can make virtual environments, as $python.
define find_python
	python=; for each in python3.13 python3.12 python3.11 python3 python; do \
		if "$$each" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
		then python=$$each; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "Headgate needs Python 3.11 or newer with its venv module (on Debian: the package python3-venv)." >&2; \
		exit 1; \
	fi
endef

# Install a lock file ($(1)) and then the project itself: a dot for each package, pip's own words only when it fails.
define install_from
	@echo "Installing $$(grep -c == $(1)) packages into $(VENV)"
	@{ $(PYTHON) -m pip install --disable-pip-version-check --no-input --require-hashes -r $(1) \
		&& $(PYTHON) -m pip install --disable-pip-version-check --no-input --no-deps --no-build-isolation -e . \
		&& touch $(VENV)/.done; } 2>&1 | tee $(VENV)/install.log | awk '/^(Collecting|Processing)/ {printf "."; fflush()} END {print ""}'
	@rm $(VENV)/.done 2>/dev/null || { tail -n 25 $(VENV)/install.log >&2; echo "The installation failed." >&2; exit 1; }
endef

$(PYTHON):
	@$(find_python); "$$python" -m venv --clear $(VENV)

$(VENV)/.runtime: requirements.lock pyproject.toml | $(PYTHON)
	$(call install_from,requirements.lock)
	@touch $@

$(VENV)/.development: requirements-dev.lock requirements.lock pyproject.toml | $(PYTHON)
	$(call install_from,requirements-dev.lock)
	@touch $(VENV)/.runtime $@
