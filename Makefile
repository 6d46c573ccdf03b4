# The two commands: `make repro` runs the main job, `make test` the tests. `make help` lists the rest.
# Needs Python 3.11 or newer, make and git; everything else is installed into .venv from requirements.lock.

PYTHON ?= python3
VENV := $(CURDIR)/.venv
DATASET ?=
UI_ARGS ?=
UV_VERSION := 0.13.8
# dvc runs each stage through `python`: the project's own must come first.
export PATH := $(VENV)/bin:$(PATH)
export PYTHONUNBUFFERED := 1
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true

.DEFAULT_GOAL := help
.PHONY: help setup lock repro test test-all test-slow lint format bench clean ui

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(VENV)/.installed  ## make .venv from requirements.lock, bytecode compiled (nothing the second time)

$(VENV)/.installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is %d.%d; set PYTHON=" % sys.version_info[:2])'
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@test -x $(VENV)/bin/uv || $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@echo "installing from requirements.lock (about 7 GB, a minute or two)"
	@$(VENV)/bin/uv pip install --quiet --python $(VENV)/bin/python --compile-bytecode -r requirements.lock
	@touch $@

lock: $(VENV)/.installed  ## resolve pyproject.toml into requirements.lock
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --extra dev --no-annotate --no-header pyproject.toml -o requirements.lock

repro: setup  ## run the main job: raw video to localised actions and a report (DATASET=weizmann for another set)
	@python -m pipeline run $(if $(DATASET),--dataset $(DATASET))

test: setup  ## the default tests, under 8 minutes on two cores
	@python -m pytest -q -n 2 --dist loadfile

test-all: setup  ## every test, both tiers (under 45 minutes)
	@python -m pytest -q -m "slow or not slow"

test-slow: setup  ## the slow tier alone: kills, the pages in a browser (where there is Chromium), the whole chain at tiny size
	@python -m pytest -q -m slow

lint: setup  ## ruff and mypy
	@ruff check . && ruff format --check . && mypy

format: setup  ## let ruff format the code
	@ruff check --fix . && ruff format .

ui: setup  ## the pages: start runs from a form (Prefect), compare them (MLflow); Ctrl-C stops all. UI_ARGS="--prefect-port 4300"
	@python -m pipeline ui $(UI_ARGS)

bench: setup  ## benchmarks that write reports/bench/*.json
	@python -m pipeline bench

clean: setup  ## forget results in the work store that the current outputs do not use
	@python -m pipeline clean
