# Everything here runs from the repository root, in a virtual environment of its own (.venv).
#   make run PYTHON=python3.12 SAMPLES="my scans" OUT="my results"

PYTHON ?= python3
SAMPLES ?= manifests/samples/documents
OUT ?= out
SEEDS ?= 3
TORCH := 2.13.0

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
ENGINES := .venv-engines

export PIP_REQUIRE_VIRTUALENV := 1

.DEFAULT_GOAL := help
.PHONY: help run test test-engines check soak bench clean

help: ## Say what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 16

run: $(VENV)/.installed ## Install, then read the bundled sample on a local Ray into OUT (default: out)
	$(BIN)/pagefleet ocr "$(SAMPLES)" -o "$(OUT)"
	@$(BIN)/python -m benchmarks.quality.compare "$(OUT)"
	@echo
	@echo "Done. One Markdown file per document: $(OUT)/markdown"
	@echo "      one Parquet row per page:       $(OUT)/pages"
	@echo "      totals and rates:               $(OUT)/summary.json"
	@echo "Read your own: $(BIN)/pagefleet ocr FOLDER -o OUTPUT   (or: make run SAMPLES=FOLDER OUT=OUTPUT)"

test: $(VENV)/.installed-dev ## Install with the test tools, then run the tests
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

test-engines: $(ENGINES)/.installed ## Install vLLM's CPU build and Transformers beside it, then test the engines
	$(ENGINES)/bin/python -m pytest tests/engines

check: $(VENV)/.installed-dev ## Lint, formatting, types, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

soak: $(VENV)/.installed-dev ## Kill things at random and compare the results, for SEEDS seeds (default: 3)
	PAGEFLEET_SOAK_SEEDS=$(SEEDS) $(BIN)/python -m pytest -m soak --timeout=0

bench: $(VENV)/.installed-dev ## Measure against the named baselines
	$(BIN)/python -m benchmarks

clean: ## Remove the virtual environment and caches; results stay
	rm -rf $(VENV) $(ENGINES) build dist *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is older than pyproject.toml exactly when the dependencies may have changed.

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "Installing pagefleet and what it needs into $(VENV) (1.1 GB, a few minutes the first time) ..."
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	@echo "Installing pagefleet and the test tools into $(VENV) (1.1 GB, a few minutes the first time) ..."
	@$(PIP) install --editable ".[dev]"
	@touch $@ $(VENV)/.installed

# vLLM for GPUs and the CPU build used for tests need different versions of torch: hence an environment
# of its own. Where pip would fetch torch for CUDA: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
$(ENGINES)/.installed: pyproject.toml tests/engines/requirements.txt | $(BIN)/python
	@echo "Installing pagefleet, vLLM for CPU and Transformers into $(ENGINES) (4 GB, a few minutes) ..."
	@"$(PYTHON)" -m venv $(ENGINES)
	@$(ENGINES)/bin/python -m pip --disable-pip-version-check --quiet install torch==$(TORCH)
	@$(ENGINES)/bin/python -m pip --disable-pip-version-check --quiet install \
	  -r tests/engines/requirements.txt --editable ".[test]"
	@touch $@

$(BIN)/python:
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "There is no '$(PYTHON)' here. Install Python 3.11 or newer (Debian: apt install python3 python3-venv)"; \
	  echo "or name one: make PYTHON=/path/to/python3.12 ..."; exit 1; } >&2
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "pagefleet needs Python 3.11 or newer; '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1)."; \
	  echo "Name a newer one: make PYTHON=/path/to/python3.12 ..."; exit 1; } >&2
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments. On Debian or Ubuntu: apt install python3-venv"; exit 1; } >&2
	@"$(PYTHON)" -m venv $(VENV)
