PYTHON ?= python3
BIN = .venv/bin

.PHONY: install demo index test test-all test-reliability reference mutations bench results format clean
.DEFAULT_GOAL := install
PYTEST = $(BIN)/python -m pytest -n 2
RAY = $(BIN)/python -c 'import ray' 2>/dev/null || echo "Ray is not installed, so its tests are skipped; for them: $(BIN)/pip install -e '.[ray]'"

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: install
	$(BIN)/quickstudy demo

# pyright works while the tests run; what it says is shown after them where it found something
test: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@echo "pyright, and beside it: $(PYTEST) -m 'not slow'"; \
	said=$$(mktemp); $(BIN)/pyright >$$said 2>&1 & types=$$!; \
	$(PYTEST) -m 'not slow'; status=$$?; \
	wait $$types || { cat $$said; status=1; }; rm -f $$said; exit $$status

test-all: test
	@$(RAY)
	$(PYTEST) -m slow

test-reliability: install
	@$(RAY)
	$(BIN)/python benchmarks/reliability.py
	$(BIN)/python benchmarks/matrix.py
	$(BIN)/python benchmarks/soak.py

# simulators of others pin what clashes with ours: they have an environment of their own, behind which ours is read
reference: install
	$(PYTHON) -m venv .venv-reference
	.venv-reference/bin/python -m pip install --quiet --disable-pip-version-check -r tests/reference/requirements.txt
	.venv-reference/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/reference/requirements-alone.txt
	$(BIN)/python -c 'import site; print(*site.getsitepackages(), sep="\n")' > \
		$$(.venv-reference/bin/python -c 'import site; print(site.getsitepackages()[0])')/ours.pth
	for file in tests/reference/*.py; do PYTHONPATH=src .venv-reference/bin/python $$file || exit 1; done

mutations: install
	$(BIN)/python benchmarks/mutations.py --jobs 2

bench: install
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/planning.py
	$(BIN)/python benchmarks/sessions.py
	$(BIN)/python benchmarks/robots.py
	$(BIN)/python benchmarks/replay.py
	$(BIN)/python benchmarks/scaling.py

index: install
	$(BIN)/python -m quickstudy.cli.indexing

results: install
	$(BIN)/python benchmarks/results.py --jobs 2

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist src/*.egg-info
