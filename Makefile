# Everything here needs only Python >= 3.11 and make. Paths are relative, so a checkout path may hold spaces.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# What is installed: the product alone, or also what tests and checks need.
PRODUCT := $(VENV)/.product
DEV     := $(VENV)/.dev

.DEFAULT_GOAL := help
.PHONY: help demo test pytest check bench browser-test lock format clean

help:  ## Show what can be made
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

# requirements/*.txt lock every package with its hashes, the build backend included: pip downloads and builds nothing else.
$(PRODUCT) $(DEV): $(VENV)/.%: requirements/%.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "esctl needs Python 3.11 or newer; run: make PYTHON=python3.13 ..." >&2; exit 1; }
	@echo "Installing $< in $(VENV) (about a minute, the first time only) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-index --no-build-isolation --no-deps --editable .
	@touch $(PRODUCT) $@

demo: $(PRODUCT)  ## Deploy to a local target and run the whole walkthrough
	@$(BIN)/esctl deploy --local --yes
	@$(BIN)/esctl walkthrough --local
	@echo
	@echo "esctl is in $(BIN); to type it as above:  source $(BIN)/activate"

check: $(DEV)  ## Formatting, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

test: $(DEV)  ## Every check and every test
	@$(MAKE) --no-print-directory -j 2 check pytest

# Three processes on two cores: many tests wait for the emulator. The checks run beside them for the same reason.
pytest: $(DEV)
	$(BIN)/python -m pytest -n 3 --dist loadscope

bench: $(DEV)  ## Measure calls, writes and rates on the local target
	$(BIN)/python -m benchmarks

browser-test: $(DEV)  ## Attack the local target from a web page in Chromium
	$(BIN)/python -m tests.browser

format: $(DEV)  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Wheels only: an sdist would run code of its own and fetch an unlocked build backend.
COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --only-binary :all: \
  --emit-build-options --no-emit-index-url --no-annotate --no-header $(if $(UPGRADE),--upgrade) pyproject.toml --group build

lock:  ## Lock what pyproject.toml asks for; UPGRADE=1 for the newest versions (needs uv)
	$(COMPILE) --output-file requirements/product.txt
	$(COMPILE) --extra dev --constraint requirements/product.txt --output-file requirements/dev.txt

clean:  ## Stop the local target and remove what was made here
	-@test -x $(BIN)/esctl && $(BIN)/esctl local stop
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
