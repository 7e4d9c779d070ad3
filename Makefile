# Everything a developer does often. `make` lists it. The targets use the environment that is active, or PY=path/to/python.

PY ?= python
BIN = $(shell $(PY) -c 'import pathlib, sys; print(pathlib.Path(sys.executable).parent)')
DOCUMENTS ?= tests/resources/documents
ROUNDS ?= 3
SEEDS ?= 0-47

.DEFAULT_GOAL := help
.PHONY: help venv install lint format test test-fast gpu gpu-bench chaos crash faults long fuzz interrupts opening scale bench whole-job choices tune-proof tune-tests hashes samples image clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: ## Make .venv with everything in it (then: source .venv/bin/activate)
	@if command -v uv >/dev/null; then uv venv --quiet --allow-existing --python '>=3.11,<3.13' .venv; else python3 -m venv .venv; fi
	$(MAKE) install PY=.venv/bin/python

install: ## Install the package, both CPU engines, the weights and the tools into the active environment
	@if command -v uv >/dev/null; then uv pip install --quiet --python $(PY) -e '.[cpu,dev]'; else $(PY) -m pip install --quiet -e '.[cpu,dev]'; fi

lint: ## Check style, types and the layers
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	$(BIN)/lint-imports

format: ## Put the code in shape
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

test: ## Run all tests but the long proofs
	$(PY) -m pytest

test-fast: ## Run the tests that start neither Ray nor an S3 server
	$(PY) -m pytest -m 'not slow and not ray and not s3'

gpu: ## Run the tests that need a GPU; elsewhere they are skipped
	$(PY) -m pytest -m gpu tests/gpu tests/contract

gpu-bench: ## Measure pages a second on a GPU, how busy it is and what crosses PCIe (DOCUMENTS=..., else drawn forms)
	$(PY) tests/benchmarks/gpu.py --json build/gpu.json $(if $(filter command% env%,$(origin DOCUMENTS)),--documents $(DOCUMENTS))

chaos: ## Kill, stop and break 48 runs of the job by seeds; goes on where it was cut off (SEEDS=0-47, 50 minutes)
	$(PY) tests/chaos/chaos.py --seeds $(SEEDS) --state build/chaos.jsonl

crash: ## Kill and stop a small run before and after each of its storage calls (30 minutes)
	$(PY) -m pytest -m slow tests/sinks/test_process_crash.py tests/chaos/test_each_call.py tests/ray/test_crashes.py

long: ## Read a PDF of 5,000 pages and a TIFF of 1,000 frames, killed in the middle, in bounded memory (3 minutes)
	$(PY) -m pytest -m slow -s tests/chaos/test_long_documents.py

fuzz: ## Give the decoders 5,000 damaged files (DOCUMENTS=..., a folder to make them from)
	FUZZ_DOCUMENTS=$(DOCUMENTS) $(PY) -m pytest -m slow -s tests/documents/test_documents_fuzz.py

interrupts: ## Time a run's end after Ctrl-C and SIGTERM (3 minutes)
	$(PY) tests/benchmarks/interrupts.py

opening: ## Time the opening of a log of 100,000 records
	$(PY) tests/benchmarks/opening.py

scale: ## Measure a page's cost beside its reading, over 20,000 pages of each kind, and the listing of 10,000,000 (10 minutes)
	$(PY) tests/benchmarks/scale.py run
	$(PY) tests/benchmarks/scale.py listing

faults: ## Prove that storage that fails, fills up or expires loses nothing (3 minutes)
	$(PY) -m pytest -m 'slow or not slow' tests/integration/test_faulty_storage.py

bench: ## Time PaddleOCR, RapidOCR and ocrbatch on the same pages (DOCUMENTS=..., TRUTH=..., PAGES=..., ROUNDS=3); all in build/bench
	$(PY) tests/benchmarks/bench.py $(DOCUMENTS) $(if $(TRUTH),--truth $(TRUTH)) $(if $(PAGES),--pages $(PAGES)) --rounds $(ROUNDS) --json build/bench/bench.json --plot build/bench/bench.png

whole-job: ## Time the whole job beside its reader, and ten times the pages beside a tenth (DOCUMENTS=..., 7 minutes)
	$(PY) tests/benchmarks/whole_job.py $(DOCUMENTS)

choices: ## Measure what each choice of the CPU engines gains (DOCUMENTS=..., some minutes)
	$(PY) tests/benchmarks/choices.py $(DOCUMENTS)

tune-tests: ## Run all tests of the tuner, those that start Ray for a rare failure too (3 minutes)
	$(PY) -m pytest -m 'slow or not slow' tests/tuning

tune-proof: ## Race the tuner against a full sweep of its grid (DOCUMENTS=..., 45 minutes)
	$(PY) tests/benchmarks/tune.py --json build/tune.json $(DOCUMENTS)

hashes: ## Print a hash of the results for each engine, batch size, order and number of threads (DOCUMENTS=...)
	$(PY) tests/benchmarks/identity.py $(DOCUMENTS)

samples: ## Make the sample documents again
	$(PY) tests/resources/make_documents.py

image: ## Build the container image for CPUs
	docker build -f cluster/docker/Dockerfile.cpu -t ocrbatch:cpu .

clean: ## Remove what builds, tools and quickstart leave behind; keeps .venv
	rm -rf build dist out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find ocrbatch jobs tests -name __pycache__ -type d -prune -exec rm -rf {} +
