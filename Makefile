# `make help` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt
export PYTHONUNBUFFERED := 1
export GOMP_SPINCOUNT := 0
unexport PYTHONDONTWRITEBYTECODE  # dozens of processes would each compile all modules anew
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(or $(JOBS),4) --dist loadfile --no-loadscope-reorder

# The synchronous client is written from the asynchronous one; folders too, which change when a module goes.
AIO := $(shell find client/perennial/aio -name __pycache__ -prune -o -print)
SYNC := client/perennial/client.py
# The types of replies are written from the OpenAPI document.
TYPES := client/perennial/types.py
# The rules that `perennial verify` recomputes verdicts by are packed from the service's.
CORE := $(shell find core -name '*.py')
RULES := client/perennial/rules/__init__.py

.DEFAULT_GOAL := help
.PHONY: help install install-dev lock demo serve test coverage test-gpu test-databases test-faults test-machine test-fuzz test-inputs test-erasures test-architectures test-mlflow test-mutants lint format study clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: .venv/installed $(SYNC) $(TYPES) $(RULES)  ## create .venv and install the service into it, unless it is up to date

.venv/installed: pyproject.toml client/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Perennial needs Python 3.11 or newer: make PYTHON=python3.11 install"; exit 1; }
	@echo "Making .venv and installing Perennial into it; the first time takes a few minutes."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) --quiet --upgrade pip
	@rm -rf *.egg-info client/*.egg-info  # of earlier builds: Python would read their entry points
	@$(PIP) --editable ".[worker]" --editable client
	@touch $@

$(SYNC): $(AIO) client/building/sync_client.py | .venv/installed
	@$(BIN)/python client/building/sync_client.py
	@touch $@

$(TYPES): docs/openapi.json client/building/reply_types.py | .venv/installed
	@$(BIN)/python client/building/reply_types.py
	@touch $@

$(RULES): $(CORE) client/building/gate_rules.py | .venv/installed
	@$(BIN)/python client/building/gate_rules.py
	@touch $@

install-dev: .venv/installed-dev  ## also install all that tests and benchmarks need: packages, and as root the servers and the browser
	@$(BIN)/python -m devtools.programs

.venv/installed-dev: .venv/installed | $(SYNC) $(TYPES) $(RULES)
	@echo "Installing the packages that only tests, benchmarks and studies need."
	@$(PIP) --group dev
	@touch $@

lock:  ## pin the newest releases that pyproject.toml allows in constraints.txt; torch is not pinned
	rm -rf var/lock && $(PYTHON) -m venv var/lock
	var/lock/bin/python -m pip install --quiet --upgrade pip
	var/lock/bin/python -m pip install --disable-pip-version-check --editable ".[worker]" --editable client --group dev --group mutants
	var/lock/bin/python -m pip freeze --all --exclude-editable \
	  | grep -viE '^(torch|torchvision|setuptools|triton|nvidia-|cuda-)' > var/lock/pins
	{ echo '# Written by "make lock". Not pinned: torch and torchvision, whose CPU and CUDA builds differ, and their own dependencies.'; \
	  cat var/lock/pins; } > constraints.txt

demo: install  ## run the whole cycle, embedded: learn twice, score, promote, refuse, classify, roll back
	@$(BIN)/python -m demo

serve: install  ## run the embedded service until Ctrl-C
	@$(BIN)/perennial serve

test: install-dev  ## run all tests against real services, and lint beside them; JOBS=4 files at a time
	@mkdir -p var
	@$(MAKE) --no-print-directory lint > var/lint.log 2>&1 & lint=$$!; trap "kill $$lint" INT TERM; \
	$(PYTEST); tests=$$?; \
	echo "make lint:"; wait $$lint; linted=$$?; cat var/lint.log; \
	exit $$((tests || linted))

coverage: install-dev  ## run all tests and measure the lines of core/ that they run: half as long again as the tests alone
	@$(PYTEST) --cov --cov-report=term --cov-fail-under=95

test-gpu: .venv/installed-dev  ## run the tests that need a CUDA device
	@$(BIN)/python -m pytest tests/gpu

test-databases: install-dev  ## run the tests of tests/contract each on both databases; make test runs long ones on one
	@$(PYTEST) --each-database tests/contract

test-faults: install-dev  ## inject every fault many times: make test-faults ARGS="--rows redis_kill --tries 5"
	@$(BIN)/python -m tests.nightly.faults $(ARGS)

test-machine: install-dev  ## run 10,000 random operations and check the service's guarantees: ARGS="--steps 50000 --seed 1"
	@$(BIN)/python -m tests.nightly.machine $(ARGS)

test-fuzz: install-dev  ## send every operation random requests with a key of each role, and check the answers: ARGS="--examples 10 --roles viewer"
	@$(BIN)/python -m tests.nightly.fuzz $(ARGS)

test-inputs: install-dev  ## send mutated images and archives, and check answers, files and memory: ARGS="--inputs 1000 --seed 1"
	@$(BIN)/python -m tests.nightly.inputs $(ARGS)

test-erasures: install-dev  ## erase 20 random images and compare each line with one that never had the image: ARGS="--images 5"
	@$(BIN)/python -m tests.nightly.erasures $(ARGS)

test-architectures: install-dev  ## take every architecture of open_clip, with random weights, as far as it goes: ARGS="SigLIP2 RN50"
	@$(BIN)/python -m tests.nightly.architectures $(ARGS)

var/mlflow/installed: client/pyproject.toml
	@echo "Making an environment with MLflow."
	@test -x var/mlflow/bin/python || $(PYTHON) -m venv var/mlflow
	@var/mlflow/bin/python -m pip install --disable-pip-version-check --quiet "mlflow>=3.17,<4" "./client[mlflow]" onnxruntime pillow
	@touch $@

test-mlflow: install-dev var/mlflow/installed  ## mirror to a real MLflow, serve a version there, and guard an alias against 10,000 random moves: ARGS="--moves 100"
	@$(BIN)/python -m tests.nightly.mlflow $(ARGS)

bench-mlflow: var/mlflow/installed

test-mutants: install-dev  ## mutate the rules and list the mutants that survive the tests: ARGS="core.gate.rules.*"
	@$(PIP) --quiet --group mutants
	@$(BIN)/python -m tests.nightly.mutants $(ARGS)

lint: .venv/installed-dev  ## check style, types and import contracts alone
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@cd client && ../$(BIN)/lint-imports --no-cache

format: .venv/installed-dev  ## format the code and apply ruff's fixes
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

study: .venv/installed-dev  ## run the paper's protocol on any image folders: make study ARGS="one cifar20" (ARGS=--help)
	@$(BIN)/python -m benchmarks.study $(or $(ARGS),--help)

bench-%: .venv/installed-dev  ## run a benchmark, such as make bench-step; it prints a table and writes benchmarks/out/NAME.json
	@$(BIN)/python -m benchmarks.$(subst -,_,$*) $(ARGS)

clean:  ## remove the environment, run-time data and caches
	rm -rf .venv var build mutants benchmarks/out .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .coverage *.egg-info client/build client/*.egg-info
	grep -rl '^# Written by building/' --include='*.py' client/perennial | xargs rm -f
	rm -rf client/perennial/resources
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
