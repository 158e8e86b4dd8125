# `make demo` and `make test` are all the set-up there is: each creates .venv, installs and runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
EXTRAS := $(VENV)/.extras
RUFF := $(BIN)/ruff
# Files of tests side by side: most of the suite keeps one core busy.
TWO_AT_ONCE := -n 2 --dist loadfile

.PHONY: demo test test-all lint format clean

demo: $(INSTALLED)
	$(BIN)/gifnet demo -o demo

test: $(INSTALLED) lint
	$(BIN)/python -m pytest -m "not slow" $(TWO_AT_ONCE)

test-all: $(EXTRAS) lint
	$(BIN)/python -m pytest $(TWO_AT_ONCE)

lint: $(INSTALLED)
	$(RUFF) check --config .ci/ruff.toml .
	$(RUFF) format --config .ci/ruff.toml --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(RUFF) check --config .ci/ruff.toml --fix .
	$(RUFF) format --config .ci/ruff.toml .

clean:
	rm -rf $(VENV) demo build *.egg-info

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gifnet needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

$(EXTRAS): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,onnx,tensorboard,dask,ray,hf]'
	touch $@
