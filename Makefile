PYTHON ?= python3
BIN = .venv/bin

.PHONY: install demo test test-all test-reliability mutations bench results format clean
.DEFAULT_GOAL := install
RAY = $(BIN)/python -c 'import ray' 2>/dev/null || echo "Ray is not installed, so its tests are skipped; for them: $(BIN)/pip install -e '.[ray]'"

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: install
	$(BIN)/python -m quickstudy.recipes.grid_navigation

test: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/python -m pytest -n 2 -m 'not slow'

test-all: test
	@$(RAY)
	$(BIN)/python -m pytest -n 2 -m slow

test-reliability: install
	@$(RAY)
	$(BIN)/python benchmarks/reliability.py
	$(BIN)/python benchmarks/matrix.py
	$(BIN)/python benchmarks/soak.py

mutations: install
	$(BIN)/python benchmarks/mutations.py --jobs 2

bench: install
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/sessions.py
	$(BIN)/python benchmarks/robots.py
	$(BIN)/python benchmarks/replay.py
	$(BIN)/python benchmarks/scaling.py

results: install
	$(BIN)/python benchmarks/results.py --jobs 2

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist src/*.egg-info
