# Two commands are all that a newcomer needs: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MARK := $(VENV)/.installed

.PHONY: demo test check format clean

demo: $(MARK)-demo
	@$(BIN)/malmoi demo

test: $(MARK)-dev
	$(BIN)/python -m pytest

# What CI runs before the tests: lint, format, types.
check: $(MARK)-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(MARK)-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "malmoi needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 2; }  # half an environment is none

# Installed once; again only when what is to be installed has changed.
$(MARK)-demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV) (a minute or so, the first time only) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(MARK)-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV) (a minute or so, the first time only) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@ $(MARK)-demo
