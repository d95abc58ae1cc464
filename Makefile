# `make help` lists what there is.
PYTHON ?= python3
BIN := .venv/bin
export PYTHONUNBUFFERED := 1
export GOMP_SPINCOUNT := 0

.DEFAULT_GOAL := help
.PHONY: help install demo serve test test-gpu test-faults test-machine lint format study clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: .venv/installed  ## make .venv and install everything into it (nothing when up to date)

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Perennial needs Python 3.11 or newer: make PYTHON=python3.11 install"; exit 1; }
	@echo "Making .venv and installing Perennial into it; the first time takes a few minutes."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --disable-pip-version-check --editable . --group dev
	@touch $@

demo: install  ## the main job, end to end, embedded: learn, score, promote, serve, roll back
	@$(BIN)/python -m demo

serve: install  ## start the same service and leave it running (Ctrl-C stops it)
	@$(BIN)/python -m api serve

test: lint  ## everything: style, types, import contracts, all tests with real services
	@$(BIN)/python -m pytest --cov --cov-report=term --cov-fail-under=90

test-gpu: install  ## the tests that need a CUDA device
	@$(BIN)/python -m pytest tests/gpu

test-faults: install  ## every fault of the table, long form: make test-faults ARGS="--rows redis_kill --tries 5"
	@$(BIN)/python -m tests.faults $(ARGS)

test-machine: install  ## 10,000 steps of everything that may happen, in any order: ARGS="--steps 50000 --seed 1"
	@$(BIN)/python -m tests.machine $(ARGS)

lint: install  ## style, types and import contracts alone
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: install  ## let ruff format and mend what it can
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

study: install  ## the paper's protocol on any image folders: make study ARGS="one cifar20" (ARGS=--help)
	@$(BIN)/python -m benchmarks.study $(or $(ARGS),--help)

bench-%: install  ## run benchmarks/NAME.py; it prints a table and writes benchmarks/out/NAME.json
	@$(BIN)/python -m benchmarks.$(subst -,_,$*) $(ARGS)

clean:  ## remove the environment, run-time data and caches
	rm -rf .venv var build benchmarks/out .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .coverage *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
