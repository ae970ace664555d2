# `make run` starts a server, `make test` passes the tests, `make check` is everything CI does
# after it. Each makes what it needs first: a virtual environment in .venv.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: run test check format lint types layers docs coverage bench clean system-packages

run: $(VENV)/.installed
	$(BIN)/jabberd run $(ARGS)

test: $(VENV)/.installed-dev
	$(BIN)/pytest -n 2 --dist loadscope $(ARGS)

check: format lint types layers

format: $(VENV)/.installed-dev
	$(BIN)/ruff format --check src tests bench

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check src tests bench

types: $(VENV)/.installed-dev
	$(BIN)/mypy

layers: $(VENV)/.installed-dev
	$(BIN)/lint-imports

docs: $(VENV)/.installed-dev
	$(BIN)/python -m jabberd.docgen .

coverage: $(VENV)/.installed-dev
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage report

bench: $(VENV)/.installed-dev
	$(BIN)/python bench/compare.py $(ARGS)

# What some tests talk to: real clients and a real PostgreSQL. Needs root; Debian only.
system-packages:
	sh .ci/system-packages

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[email,sms]'
	touch $@

$(VENV)/.installed-dev: pyproject.toml $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist
