# setup: a virtual environment with everything in it; demo, test and bench need nothing done before them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready

.PHONY: setup demo test bench bench-scale soak lint docs peers fuzz clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: setup
	$(BIN)/harmonode demo $(if $(DIR),--dir '$(DIR)')

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Orthanc, DCMTK, dicom3tools and Postgres from Debian where we may install them; the tests that need them are skipped, and say so, where not.
peers:
	@sh tests/peers.sh

# What fails beside others is tried once more by itself, which decides: real nodes, archives and browsers share two cores here.
# One thread a process: threads that spin for their share of two cores made single tests of the simulator up to ten times slower.
test: export OMP_NUM_THREADS = 1
test: setup peers lint
	$(BIN)/pytest --numprocesses=4 --dist=worksteal || $(BIN)/pytest --last-failed --last-failed-no-failures=none

bench: setup peers
	$(BIN)/pytest tests/bench --override-ini='norecursedirs=.*' --override-ini=tmp_path_retention_policy=failed -s

# The database with 100,000 series and 20 million instances in it: some 17 GB in the temporary folder, and many minutes.
bench-scale: setup
	HARMONODE_SCALE=1 $(BIN)/pytest tests/bench/test_scale.py --override-ini='norecursedirs=.*' --override-ini=tmp_path_retention_policy=failed -s

# Mixed traffic with random kills, against a real PACS; the books must balance in the end.
SOAK_MINUTES ?= 30
SOAK_SEED    ?= 1
soak: setup peers
	PYTHONPATH=tests/support $(BIN)/python tests/soak --minutes $(SOAK_MINUTES) --seed $(SOAK_SEED)

# The parts of the documents that are made from the code.
docs: setup
	$(BIN)/python tests/support/documents.py

# A million inputs for every target of tests/fuzz; FUZZ_RUNS=10000 for a short one.
FUZZ_RUNS ?= 1000000
fuzz: setup
	for target in tests/fuzz/target_*.py; do \
		name=$${target##*/target_}; echo "$$target: $(FUZZ_RUNS) inputs"; \
		$(BIN)/python tests/fuzz/run.py "$${name%.py}" --runs $(FUZZ_RUNS) || exit 1; \
	done

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache demo-output
