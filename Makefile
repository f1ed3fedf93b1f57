# The README's two commands are `make demo` and `make test`; the rest is for those who work on wan-core.

PYTHON ?= python3
BIN := .venv/bin
PLUGINS := $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml))
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint fuzz soak figures isolated bench clean

demo: .venv/installed  ## make a video from a sentence
	$(BIN)/wan-core run examples/hello.toml
	@echo "The video is in examples/outputs/hello.mp4"

test: .venv/installed-dev lint  ## every check that a change must pass
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fuzz: .venv/installed-dev  ## 10,000 odd workflows, files and command lines; never a traceback
	WAN_CORE_FUZZ=10000 $(BIN)/python -m pytest -n 2 --dist worksteal tests/bad_input/test_fuzz.py

soak: .venv/installed-dev fuzz  ## the long checks: fuzz, killed runs, 50 runs in one process, memory that runs out, the tiny models' figures
	WAN_CORE_KILLS=20 $(BIN)/python -m pytest tests/commands/test_run_resume.py -k killed
	WAN_CORE_RUNS=25 $(BIN)/python -m pytest -s tests/engine/test_growth.py
	WAN_CORE_SHORTAGES=20 $(BIN)/python -m pytest tests/engine/test_recovery.py -k shortages
	$(BIN)/python -m zoo.evaluate soak --only prompts vae judge variety pictures
	$(BIN)/python -m zoo.evaluate soak --quick --only tracks light

figures: .venv/installed-dev  ## what the plugins' toy models are promised to do, on all clips: 64 tracks, 3 x 64 relit videos
	$(BIN)/python -m zoo.evaluate soak --only tracks light

isolated: .venv/installed-dev  ## each plugin's wheel alone with the core's in a fresh environment, and all together in another
	$(BIN)/python tests/packaging/isolated.py

bench: .venv/installed  ## start-up time, and the demo's time and memory
	$(BIN)/python benchmarks/help_time.py
	$(BIN)/python benchmarks/hello.py

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	@touch $@

.venv/installed-dev: .venv/installed $(PLUGINS:%=%/pyproject.toml)
	$(PIP) --editable '.[dev]' $(PLUGINS:%=--editable %)
	@touch $@

clean:
	rm -rf .venv build dist examples/outputs
	find . -name __pycache__ -prune -exec rm -rf {} +
