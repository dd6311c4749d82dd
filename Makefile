# Everything from nothing but python3 and make: each target makes .venv from pyproject.toml and
# constraints.txt when needed. `make test PYTHON=python3.12` makes it with another Python.
PYTHON ?= python3
# The interpreter itself: within the recipes, a plain python3 is that of .venv.
FOUND := $(shell $(PYTHON) -c 'import sys; print(sys._base_executable)')
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
BIN := .venv/bin
INSTALLED := .venv/installed-$(VERSION)
BENCH := .venv/bench/installed-$(VERSION)
CLUSTER := .venv/cluster/installed-$(VERSION)
PIP_INSTALL := python -m pip install --quiet --constraint constraints.txt
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: install demo test unit e2e browser smoke docs bench cluster lint fmt clean
.DEFAULT_GOAL := test

$(INSTALLED): pyproject.toml constraints.txt
	$(FOUND) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
	    "airflow-ice needs Python 3.11 or newer")'
	test -x $(BIN)/python$(VERSION) || $(FOUND) -m venv --clear .venv
	$(BIN)/$(PIP_INSTALL) "pip>=25.1"
	$(BIN)/$(PIP_INSTALL) --group dev --editable '.[emulator]'
	touch $@

install: $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/airflow-ice demo $(ARGS)

test: lint docs unit e2e browser smoke

# On all cores: no test of these shares anything with another.
unit: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses auto tests/unit tests/contract

e2e: $(INSTALLED)
	$(BIN)/python -m pytest tests/e2e

# Every reference must resolve (-n), and a warning is an error (-W). Needs no network.
docs: $(INSTALLED)
	$(BIN)/python -m sphinx -W -n -E -q --keep-going -b html docs docs/_build/html

# The page in a real browser: any Chromium or Chrome that is installed, else Debian's if it may be.
browser: $(INSTALLED)
	@command -v chromium chromium-browser google-chrome google-chrome-stable chrome > /dev/null \
	    || { apt-get update && apt-get install --yes --no-install-recommends chromium; } \
	    > /dev/null 2>&1 || true
	$(BIN)/python -m pytest tests/browser

# An environment of its own: the providers that are measured beside this one are heavy, and
# nothing else needs them.
$(BENCH): pyproject.toml constraints.txt
	$(FOUND) -m venv .venv/bench
	.venv/bench/bin/$(PIP_INSTALL) "pip>=25.1"
	.venv/bench/bin/$(PIP_INSTALL) --group bench --editable .
	touch $@

bench: $(BENCH)
	.venv/bench/bin/python -m tests.benchmarks $(ARGS)

# An environment of its own, too: Celery, PostgreSQL and Redis come with it, as wheels.
$(CLUSTER): pyproject.toml constraints.txt | $(INSTALLED)
	$(FOUND) -m venv .venv/cluster
	.venv/cluster/bin/$(PIP_INSTALL) "pip>=25.1"
	.venv/cluster/bin/$(PIP_INSTALL) --group cluster --editable '.[emulator]'
	touch $@

# The kills that matter most, on a small cluster.
smoke: $(CLUSTER)
	.venv/cluster/bin/python -m pytest tests/cluster

# Every fault on a real cluster; ARGS are --seed N, --runs N, --rows WORD ... One row needs Debian's
# libfaketime, and says so where it may not be installed. ARGS="scale --waits 1000 ..." measures
# thousands of waits instead, ARGS=burst 32 processes that submit at once.
cluster: $(CLUSTER)
	@ls /usr/lib/*/faketime/libfaketimeMT.so.1 > /dev/null 2>&1 \
		|| apt-get install --yes libfaketime > /dev/null 2>&1 || true
	.venv/cluster/bin/python -m tests.cluster $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fmt: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist demo-output docs/_build
