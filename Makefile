# Everything here needs only Python >= 3.11 and make. Paths are relative, so a checkout path may hold spaces.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test pytest check bench browser-test lock format clean

help:  ## Show what can be made
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

$(READY): pyproject.toml requirements/lock.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "esctl needs Python 3.11 or newer; run: make PYTHON=python3.13 ..." >&2; exit 1; }
	@echo "Setting up $(VENV) with the locked packages (a minute or two, the first time only) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements/lock.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $(READY)

demo: $(READY)  ## Deploy to a local target and run the whole walkthrough
	@$(BIN)/esctl deploy --local --yes
	@$(BIN)/esctl walkthrough --local
	@echo
	@echo "esctl is in $(BIN); to type it as above:  source $(BIN)/activate"

check: $(READY)  ## Formatting, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

test: $(READY)  ## Every check and every test
	@$(MAKE) --no-print-directory -j 2 check pytest

# Three processes on two cores: many tests wait for the emulator. The checks run beside them for the same reason.
pytest: $(READY)
	$(BIN)/python -m pytest -n 3 --dist loadscope

bench: $(READY)  ## Measure calls, writes and rates on the local target
	$(BIN)/python -m benchmarks

browser-test: $(READY)  ## Attack the local target from a web page in Chromium
	$(BIN)/python -m tests.browser

format: $(READY)  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock:  ## Renew requirements/lock.txt (needs uv)
	uv pip compile --universal --python-version 3.11 --all-extras --no-annotate --no-header --no-emit-index-url \
	  --upgrade pyproject.toml --output-file requirements/lock.txt

clean:  ## Stop the local target and remove what was made here
	-@test -x $(BIN)/esctl && $(BIN)/esctl local stop
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
