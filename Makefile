# Everything from nothing but python3 and make: each target makes .venv from pyproject.toml and constraints.txt when needed.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test unit e2e bench lint fmt clean
.DEFAULT_GOAL := test

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("airflow-ice needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --editable '.[emulator]'
	touch $@

demo: .venv/installed
	$(BIN)/airflow-ice demo $(ARGS)

test: lint
	$(BIN)/python -m pytest tests/unit tests/contract tests/e2e

unit: .venv/installed
	$(BIN)/python -m pytest tests/unit tests/contract

e2e: .venv/installed
	$(BIN)/python -m pytest tests/e2e

# An environment of its own: the providers that are measured beside this one are heavy, and nothing else needs them.
.venv/bench/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv/bench
	.venv/bench/bin/python -m pip install --quiet --constraint constraints.txt "pip>=25.1"
	.venv/bench/bin/python -m pip install --quiet --constraint constraints.txt --group bench --editable .
	touch $@

bench: .venv/bench/installed
	.venv/bench/bin/python -m tests.benchmarks $(ARGS)

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fmt: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist demo-output
