# make demo · make serve · make test · make check · make docs: each sets up all that it needs in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYTHONDONTWRITEBYTECODE :=# bytecode is kept: else every process compiles all it imports
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt

.PHONY: demo serve test check docs tables plots clean

demo: $(VENV)/.installed
	$(BIN)/lks demo

serve: $(VENV)/.serve
	$(BIN)/lks serve --demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The site, in build/site; a broken link or a table that is not of the results ends it. (With --quiet,
# --strict would see no warning.)
docs: $(VENV)/.docs
	$(BIN)/typer lks.cli.app utils docs --name lks --output docs/cli.md
	$(BIN)/python benchmarks/tables.py --check
	$(BIN)/python benchmarks/plots.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Tables and plots of the documents, from benchmarks/results.
tables: $(VENV)/.installed
	$(BIN)/python benchmarks/tables.py

plots: $(VENV)/.dev
	$(BIN)/python benchmarks/plots.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e ".[demo]"
	touch $@

$(VENV)/.serve: $(VENV)/.installed
	$(PIP) -e ".[demo,serve]"
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(PIP) -e ".[dev]"
	touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(PIP) -e ".[docs]"
	touch $@
