# Two commands: `make run` sets up and starts everything, `make test` sets up and passes all tests.
PYTHON ?= $(shell command -v python3.11 2>/dev/null || command -v python3 2>/dev/null || echo python3.11)
VENV := .venv/bin
TESTS ?= tests
# Two test processes; the tests of one file stay together, the longest begin first (tests/conftest.py).
PYTEST := $(VENV)/python -m pytest -n 2 --dist loadfile
export OMP_WAIT_POLICY ?= PASSIVE
export TOKENIZERS_PARALLELISM ?= false

.PHONY: run test check format bench clean install

run:
	@$(PYTHON) app/install.py
	@exec $(VENV)/python -m app up

install:
	@$(PYTHON) app/install.py --dev

test: install
	@$(PYTEST) $(TESTS)

# Format, lint, types, floors, tests.
check: install
	@$(VENV)/ruff format --check .
	@$(VENV)/ruff check .
	@$(VENV)/mypy
	@$(VENV)/lint-imports
	@$(PYTEST) $(TESTS)

format: install
	@$(VENV)/ruff format .
	@$(VENV)/ruff check --fix .

# Every figure that README or docs quote. Each prints one JSON object. serving_report.py runs those of serving again.
bench: install
	@for script in $(filter-out benchmarks/serving_report.py,$(wildcard benchmarks/*.py)); do echo "# $$script" >&2; PYTHONPATH=. $(VENV)/python "$$script" || exit 1; done

# What was built or written here. The demo data, the shipped models and your own var/ stay.
clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
