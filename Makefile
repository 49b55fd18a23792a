# Everything starts from a bare clone: each target first makes .venv when it is missing or out of date.
PYTHON ?= python3
# Where the torch wheel comes from, when PyPI's own (CUDA on Linux) is not wanted; see CONTRIBUTING.md.
TORCH_INDEX ?=
# Interpreters on which `make release-check` tries the wheel; by default all of Python 3.11 to 3.13 that it finds.
PYTHONS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: env demo test test-slow lint types docs bench release-check format constraints clean

env: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'quickstudy needs Python 3.11 or newer: make PYTHON=python3.11 env')"
	$(PYTHON) -m venv .venv
	$(PIP) install --upgrade "pip>=25.3"
	$(PIP) install --constraint constraints.txt torch $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
	$(PIP) install --constraint constraints.txt --build-constraint constraints.txt --editable . --group dev
	touch $@

demo: env
	$(BIN)/quickstudy demo

test: env
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

test-slow: env
	$(BIN)/python -m pytest -m slow

lint: env
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: env
	$(BIN)/mypy

docs: env
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

bench: env
	$(PIP) install --constraint constraints.txt --group bench
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.cost_model

release-check: env
	TORCH_INDEX="$(TORCH_INDEX)" PYTHONS="$(PYTHONS)" $(BIN)/python -m release

constraints:
	$(PIP) install --group bench --group release
	sed -n 1p constraints.txt > constraints.tmp
	$(PIP) freeze --exclude-editable | sed -e 's/+[a-z0-9.]*$$//' >> constraints.tmp
	mv constraints.tmp constraints.txt

clean:
	rm -rf .venv docs/_build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
