# Works with GNU make 3.81 and later. `make help` lists the targets.

# The main job: the bundled model plans an answer and decodes its parts side by side.
DEMO = flowdecode run --backend local: --strategy plato --temperature 0 --compare --timeline demo.html \
	"Write a long guide to Yarralda: its festival, food, craft, history and hotels."

# Another Python: make PYTHON=/path/to/python3
PYTHON =
# Arguments for pytest: make test ARGS="-k plan"
ARGS =

BIN = .venv/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input -c constraints.txt
RECIPE = pyproject.toml constraints.txt

.PHONY: help venv demo test test-sglang lint bench clean
.NOTPARALLEL:
.DEFAULT_GOAL := help

help:
	@echo 'make demo    make .venv, install what the demo needs, run it'
	@echo 'make test    make .venv, install, run the tests; ARGS="-k plan" goes to pytest'
	@echo 'make test-sglang  install the SGLang server for CPUs (Linux, x86-64, Python 3.11), run its tests'
	@echo 'make lint    ruff, mypy and pyright over everything'
	@echo 'make bench   install the peers, run tests/benchmarks'
	@echo 'make venv    make .venv with all that test and lint need'
	@echo 'make clean   remove .venv, caches and build output'
	@echo "torch without CUDA: make demo PIP_EXTRA_INDEX_URL=the address of PyTorch's index for CPUs"
	@echo 'Needs Python 3.11 or later; PYTHON=/path/to/python3 chooses one.'

venv: .venv/dev.stamp

demo: .venv/demo.stamp
	@$(BIN)/$(DEMO)
	@echo 'The answer, its graph and its timeline are in demo.html.'

test: .venv/dev.stamp
	@$(BIN)/python -m pytest $(ARGS)

# The server has an environment of its own, in the user's cache folder: see tests/sglang_server.
test-sglang: .venv/dev.stamp
	@$(BIN)/python -m tests.sglang_server.environment >/dev/null
	@FLOWDECODE_TEST_SGLANG=1 $(BIN)/python -m pytest tests/sglang $(ARGS)

# The type checkers read the benchmarks too, so they need the peers.
lint: .venv/dev.stamp .venv/peers.stamp
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/pyright

bench: .venv/dev.stamp .venv/peers.stamp
	@$(BIN)/python -m tests.benchmarks $(ARGS)

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp for each set of packages, made again when the recipe changes.
.venv/demo.stamp: .venv/made.stamp $(RECIPE)
	@echo 'Installing flowdecode with torch and transformers into .venv (minutes the first time)'
	@$(INSTALL) -e '.[demo]'
	@touch $@

.venv/dev.stamp: .venv/made.stamp $(RECIPE)
	@echo 'Installing flowdecode and its development tools into .venv (minutes the first time)'
	@$(INSTALL) -e '.[dev]'
	@touch .venv/demo.stamp $@

.venv/peers.stamp: .venv/made.stamp $(RECIPE)
	@echo 'Installing what the benchmarks compare with into .venv'
	@$(INSTALL) -e '.[peers]'
	@touch $@

# Each candidate is run, not only looked up: a version manager's shim may exist and yet fail.
.venv/made.stamp:
	@found= ; bare= ; \
	for candidate in $(or $(PYTHON),python3.13 python3.12 python3.11 python3); do \
		"$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
		if "$$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then found=$$candidate; break; fi; \
		bare=$${bare:-$$candidate}; \
	done; \
	if [ -z "$$found" ] && [ -n "$$bare" ]; then \
		echo "$$bare has no venv module: install it (Debian, Ubuntu: apt install python3-venv) and try again." >&2; \
		exit 1; \
	elif [ -z "$$found" ]; then \
		echo "No Python 3.11 or later found$(if $(PYTHON), at $(PYTHON)): install one, or name it: make PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi; \
	rm -rf .venv && "$$found" -m venv .venv
	@touch $@
