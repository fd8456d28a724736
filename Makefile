# Earmark: `make demo` shows the whole job, `make test` passes its tests; `make help` lists the rest.
# PYTHON=/path/to/python3.x chooses the interpreter; otherwise the newest working python3.13, 3.12 or 3.11.

VENV ?= .venv
BIN := $(VENV)/bin
FOLDER ?=
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install models test test-network demo check format bench bench-peers references clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

install: models ## environment in .venv and the default model pack

# The pack lives in EARMARK_HOME (default: the user data folder), outside of this one; fetched once, verified each time.
models: $(VENV)/.installed
	@$(BIN)/earmark models pull musicnn

# A process a core, each with whole files: they share no data, and what is set up for a file is set up once.
test: models $(VENV)/.dev ## run the tests
	$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

# Node and the servers lie in the user's cache, or in EARMARK_TEST_NETWORK; installed again for another lock file only.
test-network: models $(VENV)/.dev ## run the tests against the reference PDS and PLC directory (fetches 0.5 GB once)
	@$(BIN)/python tests/network/install.py
	$(BIN)/python -m pytest -m network tests/network $(ARGS)

demo: models ## embedded network + the whole service (FOLDER=your/music, ARGS=--once)
	$(BIN)/earmark demo $(ARGS) $(if $(FOLDER),"$(FOLDER)")

check: $(VENV)/.dev ## lint, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: models ## run the benchmarks (ARGS=NAME...)
	$(BIN)/python -m bench $(if $(ARGS),$(ARGS),list)

bench-peers: models ## install the programs that some benchmarks compare with
	$(BIN)/pip install --quiet --constraint constraints.txt --requirement bench/peers.txt

# They lie in the user's cache, or in EARMARK_REFERENCES; made again only with another torch, transformers or onnx.
references: .references-venv/.installed ## make full-size CLAP graphs and mel references (for the benches; torch, 1.3 GB)
	@HF_HUB_OFFLINE=1 .references-venv/bin/python -m bench.references

clean: ## remove the environment and every cache in this folder
	rm -rf $(VENV) .references-venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# --- the environment ---------------------------------------------------------------------------------------
# Each stamp is remade when the files it depends on change.

# Another PYTHON= than the one that the environment was made with makes it anew.
ifneq ($(PYTHON),)
VERSION := -c 'import sys; print(sys.version_info[:2])' 2>/dev/null
ifneq ($(shell $(BIN)/python $(VERSION)),$(shell $(PYTHON) $(VERSION)))
.PHONY: $(VENV)/.made
endif
endif

$(VENV)/.made: .ci/python
	@python=$$(sh .ci/python "$(PYTHON)") || exit 1; \
	echo "using $$python"; \
	"$$python" -m venv --clear $(VENV) || { echo "make: '$$python -m venv' failed; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

# torch 2.13 is pinned for Python 3.11. Where the index serves a build of it for graphics cards only, that one will do.
.references-venv/.installed: bench/references/requirements.txt constraints.txt
	@python3.11 -m venv --clear .references-venv || { echo "make: the references need python3.11 and its venv module" >&2; exit 1; }
	.references-venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --requirement bench/references/requirements.txt
	@touch $@
