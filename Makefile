# `make demo` sets up and runs everything on synthetic motion, `make up` starts what runs it every night, `make test` passes the tests.
PYTHON ?= python3
BIN := .venv/bin
export MLFLOW_DISABLE_TELEMETRY := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1

.PHONY: install demo up test check docs mediapipe clean

install: .venv/installed

.venv/installed: constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install
	$(BIN)/uplift pipeline --preset demo

up: install
	@$(BIN)/uplift up

# Tests run in random order; the header prints the seed, and `pytest --randomly-seed=SEED` repeats the order.
test: install check
	$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: install  # the documentation site, in site/; broken links fail
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

mediapipe: .venv-mediapipe/installed

.venv-mediapipe/installed: requirements-mediapipe.txt
	$(PYTHON) -m venv .venv-mediapipe
	.venv-mediapipe/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-mediapipe.txt
	@touch $@

clean:
	rm -rf store site .venv .venv-mediapipe
