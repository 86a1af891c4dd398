# Fresh machine: Python >= 3.11 and make. Everything else goes into .venv, from requirements.lock, hash by hash.

PYTHON ?= python3
JOBS ?= 2
VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
EXACT := jdn_core/space/*,jdn_core/search/*,jdn_core/storage/*,jdn_core/settings/*

.PHONY: help install demo test test-rest test-all coverage docs lint format bench lock clean

help:
	@echo "make demo    the whole upgrade on generated shapes, on a CPU, in minutes"
	@echo "make test    the tests before a commit, in minutes: no servers, no browser, no crash matrix"
	@echo "make test-all  every test, with the coverage that CI asks for"
	@echo "make docs    write the generated pages of docs/reference anew"
	@echo "make lint    ruff, mypy, import contracts"
	@echo "make format  ruff's formatter and its safe fixes"
	@echo "make bench   speed and memory of this machine"
	@echo "make lock    write requirements.lock for pyproject.toml; UPGRADE=--upgrade takes newer releases"
	@echo "make clean   remove .venv and what the tools left behind"

install: $(INSTALLED)

# uv does the installing: plain pip takes a torch of another build when an extra wheel folder is configured,
# and then finds no torchvision for it. uv's own line of the lock is what pip installs it from.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed: make PYTHON=python3.x")'
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@awk '/^[^ ]/ { uv = /^uv==/ } uv' requirements.lock > $(VENV)/uv.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(VENV)/uv.txt
	$(VENV)/bin/uv pip install --quiet --python $(PY) --require-hashes -r requirements.lock
	$(VENV)/bin/uv pip install --quiet --python $(PY) --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(INSTALLED)
	$(VENV)/bin/jdn demo

# Two tiers, split by the markers of tests/tiers.py. Long files come first, and the tests of a file stay together:
# their trainings and servers are made once a file.
PYTEST := $(PY) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --durations=15 --durations-min=5 \
	--cov --cov-report= --cov-fail-under=0
SLOW := slow or browser or crash or services

# What one runs before every commit; its coverage is shown and not judged, for the other tier has lines of its own.
test: $(INSTALLED)
	COVERAGE_FILE=.coverage-fast $(PY) -m coverage erase
	@start=$$(date +%s); COVERAGE_FILE=.coverage-fast $(PYTEST) -m "not ($(SLOW))" || exit; \
		echo "make test: $$(($$(date +%s) - start)) s, coverage $$(COVERAGE_FILE=.coverage-fast \
		$(PY) -m coverage report --format=total --fail-under=0) %; the rest: make test-rest, both: make test-all"

test-rest: $(INSTALLED)
	COVERAGE_FILE=.coverage-rest $(PY) -m coverage erase
	COVERAGE_FILE=.coverage-rest $(PYTEST) -m "$(SLOW)"

# Both tiers, then two reports: the whole house, and the rooms whose every line and branch must have run.
test-all:
	$(MAKE) test
	$(MAKE) test-rest
	$(MAKE) coverage

coverage: $(INSTALLED)
	$(PY) -m coverage combine --keep --quiet .coverage-fast .coverage-rest
	$(PY) -m coverage report
	$(PY) -m coverage report --include='$(EXACT)' --fail-under=100

# The generated pages of docs/reference.
docs: $(INSTALLED)
	$(PY) -m docs.generate

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(INSTALLED)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: $(INSTALLED)
	$(PY) -m pytest -o python_files='bench_*.py' -p no:cacheprovider --timeout=3600 -q -s tests/benchmarks

lock: $(INSTALLED)
	$(VENV)/bin/uv pip compile pyproject.toml --all-extras --group dev --universal --generate-hashes $(UPGRADE) \
		--custom-compile-command 'make lock' --quiet --output-file requirements.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.* .coverage-* htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
