# `make` alone lists what there is.
.DEFAULT_GOAL := help
.PHONY: help venv demo test lint bench campaign mutants lock clean mosquitto

BIN := .venv/bin
UV := $(firstword $(wildcard $(BIN)/uv) uv)

help:  ## this list
	@awk -F ':.*## +' '/^[a-z]+:.*##/ { printf "make %-8s %s\n", $$1, $$2 }' Makefile

venv: .venv/.stamp  ## set up .venv, as requirements.lock says

.venv/.stamp: pyproject.toml requirements.lock scripts/make-venv
	scripts/make-venv

demo: venv  ## a whole 45-minute session in less than a minute, with simulated pumps
	$(BIN)/pumpd demo

test: lint mosquitto  ## everything that is checked: style, types, import rules, all tests
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: venv  ## style, types and import rules only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

mosquitto:
	@scripts/install-mosquitto

bench: venv mosquitto  ## measure, and print each figure beside its physical floor
	$(BIN)/python -m tests.bench

campaign: venv mosquitto  ## the daemon under random fire for a long time; `make test` has a small part of it
	$(BIN)/python -m tests.campaign

mutants: venv  ## change the pure modules in one place at a time: does a test notice? (ARGS="--module plan" for one)
	$(BIN)/python -m tests.mutants $(ARGS)

lock:  ## choose the newest allowed versions anew (needs uv)
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --extra dev \
	  --custom-compile-command "make lock" pyproject.toml -o requirements.lock

clean:  ## remove .venv and everything that tools left behind
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .mutants.json
	find pumpd drivers simulator tests -name __pycache__ -prune -exec rm -rf {} +
