# Two commands from a fresh checkout: make demo, make test. Both work in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q
# A venv that was killed while it was made has a python and no pip.
HAS_PIP := $(BIN)/python -c 'import pip' 2>/dev/null || $(BIN)/python -m ensurepip
SOURCES := fusekit tests docs hatch_build.py
# What an install compiles, where there is a C compiler.
BUILT := hatch_build.py $(wildcard fusekit/*/*.c fusekit/loader/crops/*.c fusekit/loader/crops/*.h)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# One thread for each test worker: pools of every library on top of them only get in their way.
export OMP_NUM_THREADS := 1

.PHONY: demo test check format docs bench clean

demo: $(VENV)/installed-demo
	$(BIN)/fusekit demo

test: $(VENV)/installed-test
	$(BIN)/python -m pytest -q -n auto --dist worksteal

check: $(VENV)/installed-test
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/make_reference.py --check

format: $(VENV)/installed-test
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

docs: $(VENV)/installed-test
	$(BIN)/python docs/make_reference.py

# Tables, not tests. The first three make docs/benchmarks.md (--into writes them there); those of
# tests/bench that are not named here measure on photographs that the repository has not.
BENCHES := loader scale shuffle order augment ingest mixture listing

bench: $(VENV)/installed-test
	@for name in $(BENCHES); do \
		echo "== $$name"; PYTHONPATH=tests $(BIN)/python tests/bench/$$name.py || exit 1; \
	done

clean:
	rm -rf $(VENV) build dist fusekit-demo

$(VENV)/installed-demo: pyproject.toml $(BUILT) | $(BIN)/python
	@$(HAS_PIP)
	$(PIP) -e '.[demo]'
	@touch $@

$(VENV)/installed-test: pyproject.toml $(BUILT) | $(BIN)/python
	@$(HAS_PIP)
	$(PIP) -e '.[test]'
	@touch $@ $(VENV)/installed-demo

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else "fusekit: $(PYTHON) is Python %d.%d; expected 3.11 or newer; make PYTHON=/path/to/python3.11" % v[:2])'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
