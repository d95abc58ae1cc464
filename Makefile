# `make help` lists what there is.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt
export PYTHONUNBUFFERED := 1
export GOMP_SPINCOUNT := 0

.DEFAULT_GOAL := help
.PHONY: help install install-dev lock demo serve test test-gpu test-faults test-machine test-mutants lint format study clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: .venv/installed  ## make .venv and install what the service needs (nothing when up to date)

.venv/installed: pyproject.toml client/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Perennial needs Python 3.11 or newer: make PYTHON=python3.11 install"; exit 1; }
	@echo "Making .venv and installing Perennial into it; the first time takes a few minutes."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) --quiet --upgrade pip
	@$(PIP) --editable ".[worker]" --editable client
	@touch $@

install-dev: .venv/installed-dev  ## the same, and what tests, benchmarks and studies need

.venv/installed-dev: .venv/installed
	@echo "Installing what only tests, benchmarks and studies need."
	@$(PIP) --group dev
	@touch $@

lock:  ## pin in constraints.txt the newest releases that pyproject.toml allows; torch stays free
	rm -rf var/lock && $(PYTHON) -m venv var/lock
	var/lock/bin/python -m pip install --quiet --upgrade pip
	var/lock/bin/python -m pip install --disable-pip-version-check --editable ".[worker]" --editable client --group dev --group mutants
	var/lock/bin/python -m pip freeze --all --exclude-editable \
	  | grep -viE '^(torch|torchvision|setuptools|triton|nvidia-|cuda-)' > var/lock/pins
	{ echo '# Made by "make lock". Left free: torch and torchvision, whose CPU and CUDA builds differ, and what only they need.'; \
	  cat var/lock/pins; } > constraints.txt

demo: install  ## the main job, end to end, embedded: learn, score, promote, serve, roll back
	@$(BIN)/python -m demo

serve: install  ## start the same service and leave it running (Ctrl-C stops it)
	@$(BIN)/perennial serve

test: lint  ## everything: style, types, import contracts, all tests with real services; JOBS=3 files at a time
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(or $(JOBS),3) --dist loadfile --no-loadscope-reorder \
	  --cov --cov-report=term --cov-fail-under=90

test-gpu: install-dev  ## the tests that need a CUDA device
	@$(BIN)/python -m pytest tests/gpu

test-faults: install-dev  ## every fault of the table, long form: make test-faults ARGS="--rows redis_kill --tries 5"
	@$(BIN)/python -m tests.faults $(ARGS)

test-machine: install-dev  ## 10,000 steps of everything that may happen, in any order: ARGS="--steps 50000 --seed 1"
	@$(BIN)/python -m tests.machine $(ARGS)

test-mutants: install-dev  ## change the rules bit by bit and see which tests notice: ARGS="core.domain.gate.policy.*"
	@$(PIP) --quiet --group mutants
	@$(BIN)/python -m tests.mutants $(ARGS)

lint: install-dev  ## style, types and import contracts alone
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@cd client && ../$(BIN)/lint-imports --no-cache

format: install-dev  ## let ruff format and mend what it can
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

study: install-dev  ## the paper's protocol on any image folders: make study ARGS="one cifar20" (ARGS=--help)
	@$(BIN)/python -m benchmarks.study $(or $(ARGS),--help)

bench-%: install-dev  ## run the benchmark NAME; it prints a table and writes benchmarks/out/NAME.json
	@$(BIN)/python -m benchmarks.$(subst -,_,$*) $(ARGS)

clean:  ## remove the environment, run-time data and caches
	rm -rf .venv var build mutants benchmarks/out .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .coverage *.egg-info client/build client/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
