# `make` alone lists the targets. Everything runs in .venv, which is made on first use.
# PYTHON=python3.12 chooses the interpreter (3.11-3.14) for it; WORKERS=4 runs the tests on more cores.
PYTHON  ?=
WORKERS ?= 2
VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed
OUT     ?= runs/demo
LAB     ?= 0

# The tests share the cores between workers, so each worker computes with one thread.
TEST_ENV := OMP_NUM_THREADS=1 LABKIT_PROFILE=cpu LABKIT_QUIET=1 LABKIT_PROGRESS=$(CURDIR)/$(VENV)/progress.json

.DEFAULT_GOAL := help
.PHONY: help demo lab test quick lint build nbval clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-7s %s\n", $$1, $$2}' Makefile

demo: $(STAMP) ## from a vision-language model to a small student, and the table (under five minutes)
	$(BIN)/labkit demo aviary --out $(OUT)

lab: $(STAMP) ## open lab 00 in JupyterLab; `make lab LAB=1` opens lab 01
	$(BIN)/labkit lab $(LAB)

# $(call stage,NAME,COMMAND) runs COMMAND and prints its name and minutes. COMMAND holds no comma.
define stage
	@echo; echo "== $(1)"; began=$$(date +%s); $(2) || { code=$$?; echo "== $(1): failed"; exit $$code; }; \
	echo "== $(1): $$(awk "BEGIN{printf \"%.1f\", ($$(date +%s)-$$began)/60}") min"
endef
ruff   := $(BIN)/ruff check . && $(BIN)/ruff format --check .
pytest := $(TEST_ENV) $(BIN)/python -m pytest -n $(WORKERS)
nbval  := $(pytest) --dist loadfile --nbval-lax --nbval-current-env --nbval-cell-timeout=300 solutions

test: $(STAMP) ## everything: style, drift of the notebooks, all tests, the solutions run with nbval
	$(call stage,style,$(ruff))
	$(call stage,notebooks against their sources,$(BIN)/labkit build --check)
	$(call stage,tests,$(pytest) --dist loadgroup tests)
	$(call stage,solutions with nbval,$(nbval))

quick: $(STAMP) ## the fast tests (under 3 minutes)
	$(call stage,fast tests,$(pytest) --dist loadgroup -m 'not slow' tests)

lint: $(STAMP) ## style only
	$(call stage,style,$(ruff))

build: $(STAMP) ## notebooks/ and solutions/*.ipynb from solutions/*.py
	$(BIN)/labkit build

nbval: $(STAMP) ## run the solution notebooks and compare their outputs
	$(call stage,solutions with nbval,$(nbval))

clean: ## remove what the tools leave behind; .venv, work/, runs/ and data/cache/ stay
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis
	find labkit tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# Both stamps are written last, so that whatever was interrupted starts again. pip prints its own progress.
$(STAMP): pyproject.toml constraints.txt $(VENV)/.made
	$(BIN)/python -m pip install -c constraints.txt -e ".[test,instructor]"
	@touch $@

# A .venv that works is kept. Otherwise it is made by the first interpreter that starts (a pyenv shim may
# not), is 3.11-3.14 and can make a virtual environment with pip in it.
in_range := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
$(VENV)/.made:
	@if $(BIN)/python -c '$(in_range)' 2>/dev/null && $(BIN)/python -m pip --version >/dev/null 2>&1; \
	then touch $@; exit 0; fi; \
	no_venv=; \
	for python in $(or $(PYTHON),python3.14 python3.13 python3.12 python3.11 python3 python); do \
		$$python -c '$(in_range)' >/dev/null 2>&1 || continue; \
		$$python -c 'import venv, ensurepip' >/dev/null 2>&1 || { no_venv=$$python; continue; }; \
		echo "Making $(VENV) with $$($$python --version)"; \
		$$python -m venv --clear $(VENV) && touch $@; exit; \
	done; \
	if [ -n "$$no_venv" ]; then \
		echo "$$no_venv can't make a virtual environment: apt install python3-venv (Debian, Ubuntu)." >&2; \
	else \
		echo "No Python 3.11-3.14 found$(if $(PYTHON), as $(PYTHON)): install one, or name it: make PYTHON=/path/to/python3" >&2; \
	fi; exit 1
