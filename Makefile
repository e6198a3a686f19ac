# Needs Python 3.11 to 3.13, git and make; everything else goes into .venv. Other interpreter: make train PYTHON=/path/to/python
.DEFAULT_GOAL := help
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c '$(SUPPORTED)' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
ARGS ?=

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 14

train: .venv/installed ## set up, then racing train: make train ARGS="track=oval seed=1"
	@$(BIN)/racing train $(ARGS)

# Processes of a run, and of the next ones, share bytecode also where the shell says to write none.
test: .venv/installed-dev ## set up, then all tests: make test ARGS="tests/sim -x"
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 5 --dist worksteal $(ARGS)

check: .venv/installed-dev ## lint, format and types, changing nothing
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

format: .venv/installed-dev ## mend what can be mended mechanically
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

bench: .venv/installed ## measure this machine: make bench ARGS=sim
	@$(BIN)/racing bench $(ARGS)

torture: .venv/installed-dev ## kill trainings 200 times and compare: make torture ARGS=40; half an hour
	@$(BIN)/python -m tests.torture $(ARGS)

mutate: .venv/installed-dev ## put 300 small faults into the code, see which no test notices
	@$(BIN)/python -m tests.mutate $(ARGS)

docs: .venv/installed-dev ## write the page made from conf/ and the picture made from the imports
	@$(BIN)/python docs/make_configuration.py
	@$(BIN)/python docs/make_architecture_picture.py

install: .venv/installed-dev ## set up only

packages: ## install what tests use beside Python (SLURM, Chromium, zsh, fish), as root on Debian or Ubuntu; without, those tests are skipped
	@.ci/packages

lock: .venv/installed-dev ## renew the locks: the newest versions that pyproject.toml allows; ARGS=--keep: only add what is new
	@.ci/lock $(ARGS)

audit: .venv/installed-dev ## fail on a known vulnerability in the locked packages
	@$(BIN)/python .ci/audit

infra: .venv/checkov ## look for what is unsafe in infra/, with checkov in an environment of its own: minutes, 300 MB
	@.venv/checkov/bin/checkov --directory infra --skip-download --compact --quiet

clean: ## remove .venv and what tools left behind; outputs/ stays
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/pip:
	@test -n "$(PYTHON)" || { echo "Python 3.11 to 3.13 is not on the PATH; give make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c '$(SUPPORTED)' || { echo "PYTHON=$(PYTHON) must be Python 3.11 to 3.13" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml requirements.lock | .venv/bin/pip
	$(PIP) install --quiet --require-hashes --no-deps --requirement requirements.lock
	$(PIP) install --quiet --editable .
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.lock
	$(PIP) install --quiet --require-hashes --no-deps --requirement requirements-dev.lock
	$(PIP) install --quiet --editable '.[dev]'
	@touch $@

.venv/checkov: | .venv/bin/pip
	$(BIN)/python -m venv $@
	$@/bin/python -m pip --disable-pip-version-check install --quiet checkov==3.3.30 || { rm -rf $@; exit 1; }

.PHONY: help train test check infra format bench torture mutate docs install packages lock audit clean
