# Everything a developer does. Each target sets up what it needs in .venv.

PYTHON ?= python3
WORKERS ?= -n logical --dist loadgroup
BIN := .venv/bin
READY := .venv/.ready
BENCH := .venv-bench/.ready
CLIENTS := .venv-clients/.ready
WASM := .venv-wasm/.ready
MUTATION := .venv-mutation/.ready
PAGE_ENGINE ?= src/charloom/web/assets/offline/engine.wasm
NATIVE := $(shell find native -type f)
BUNDLED := src/charloom/model/pretrained/shakespeare.safetensors

.DEFAULT_GOAL := help
.PHONY: help install demo quick test test-full coverage mutation test-tools browser check format lint complexity types bench bench-training bench-serving record clients wasm reproduce pretrained lesson docs dist bench-bulk clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: $(READY) ## make .venv with charloom and everything a developer needs

$(READY): pyproject.toml constraints.txt plugins/llm-charloom/pyproject.toml $(NATIVE)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,dev]' --editable plugins/llm-charloom
	@touch $@

demo: install ## train a minute on the Python docs, then write 600 characters
	rm -rf runs/demo
	$(BIN)/charloom train python-docs --minutes 1 --output runs/demo
	$(BIN)/charloom generate runs/demo --length 600

quick: install ## the unit tests that are fast: under a minute on two cores
	$(BIN)/python -m pytest $(WORKERS) -m 'not slow' tests/unit

test: install ## the fast tests
	$(BIN)/python -m pytest $(WORKERS) -m 'not slow'

# sequential: the recorded times must not be disturbed by other tests
test-full: install ## all tests, including the slow ones; writes docs/reliability.md
	$(BIN)/python -m pytest --reliability=benchmarks/results/reliability.jsonl; status=$$?; $(BIN)/python benchmarks/pages.py && exit $$status

coverage: install ## the fast tests, and how much of the package they ran: at least 95 % of its lines
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest $(WORKERS) -m 'not slow'
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

mutation: $(MUTATION) ## change sampling, scoring and checkpoints a little, a thousand times: does a test notice? An hour or more
	mkdir -p mutants/src/charloom/native
	cp .venv-mutation/lib/python*/site-packages/charloom/native/*.so mutants/src/charloom/native
	OMP_NUM_THREADS=1 .venv-mutation/bin/mutmut run
	.venv-mutation/bin/mutmut results

# not editable: what is tested are the changed copies in mutants, and an editable charloom would come before them
$(MUTATION): pyproject.toml constraints.txt $(NATIVE)
	$(PYTHON) -m venv .venv-mutation
	.venv-mutation/bin/python -m pip install --quiet --constraint constraints.txt '.[train,dev]' mutmut==3.8.1
	@touch $@

check: format lint types coverage ## everything that must hold before a commit

format: install
	$(BIN)/ruff format --check .

lint: install ## ruff, and the layers of packages: pyproject.toml, tool.importlinter
	$(BIN)/ruff check .
	$(BIN)/lint-imports

complexity: install ## functions that ruff finds complex: a hint, it never fails
	$(BIN)/ruff check --select C901,PLR0912,PLR0915 --exit-zero src

types: install
	$(BIN)/mypy

test-tools: ## Debian: install the cross compiler and emulator that test-full uses for NEON, where they are wanted
	apt-get install --yes --no-install-recommends g++-aarch64-linux-gnu qemu-user

browser: ## Debian: install the browser in which the report's page is tested, where that is wanted
	apt-get update --quiet=2
	apt-get install --yes --quiet=2 --no-install-recommends chromium fonts-dejavu-core

bench: install $(BENCH) ## the benchmarks, the peers in a virtual environment of their own
	$(BIN)/python benchmarks/encoding.py
	.venv-bench/bin/python benchmarks/generation.py

bench-training: install $(BENCH) ## the benchmarks of training, the peers likewise: half an hour
	.venv-bench/bin/python benchmarks/training.py
	.venv-bench/bin/python benchmarks/time_to_loss.py --picture docs/time_to_loss.png
	.venv-bench/bin/python benchmarks/where_time_goes.py

bench-serving: install ## the benchmark of the server: some minutes
	$(BIN)/python benchmarks/serving.py

record: install ## BENCHMARK=encoding: measure it alone, keep the result, and write docs/results.md again
	$(BIN)/python benchmarks/record.py $(BENCHMARK)

bench-bulk: install ## the benchmark of bulk scoring: a million lines, a quarter of an hour
	$(BIN)/python benchmarks/bulk.py

clients: $(CLIENTS) ## LangChain and lm-evaluation-harness for test-full, 850 MB

$(CLIENTS): tests/clients.txt
	$(PYTHON) -m venv .venv-clients
	.venv-clients/bin/python -m pip install --quiet --requirement tests/clients.txt
	@touch $@

wasm: $(WASM) ## compile the engine of web pages, which is in the repository, again: the same bytes everywhere
	cd native && ../.venv-wasm/bin/python -m ziglang c++ -target wasm32-wasi -mexec-model=reactor -std=c++20 -O3 -s \
	  -msimd128 -mbulk-memory -mnontrapping-fptoint -fno-exceptions -fno-rtti -fno-math-errno -ffp-contract=off \
	  -Wall -Wextra -I. -DCHARLOOM_ISA=wasm wasm/page_engine.cpp engine/network.cpp engine/sampling.cpp \
	  engine/pointwise.cpp engine/products_int8.cpp engine/products_float32.cpp -o $(abspath $(PAGE_ENGINE))
	chmod 644 $(PAGE_ENGINE)

# clang and what belongs to it; another version makes other bytes
$(WASM):
	$(PYTHON) -m venv .venv-wasm
	.venv-wasm/bin/python -m pip install --quiet ziglang==0.17.1
	@touch $@

$(BENCH): benchmarks/requirements.txt $(NATIVE)
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --requirement benchmarks/requirements.txt .
	@touch $@

reproduce: install ## train both editions of the tutorial again, one to two hours: docs/results.md
	$(BIN)/python benchmarks/reproduce.py

pretrained: install ## train the model that comes with charloom again, some ten minutes
	rm -rf runs/pretrained $(BUNDLED)
	$(BIN)/charloom train shakespeare --set num_layers=1 --set hidden_size=512 --steps 10000 --output runs/pretrained
	$(BIN)/charloom export runs/pretrained --to int8 --output $(BUNDLED)

lesson: install ## execute the lesson, some minutes: docs/tutorial, its outputs and its notebook
	$(BIN)/python docs/tutorial/build.py

docs: install ## build the documentation site: build/site/index.html; it needs no network, nor does its reader
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs build/site

dist: install ## the sdist and the wheel of a release in dist; CONTRIBUTING.md has the steps
	rm -rf dist
	$(BIN)/python -m build

clean: ## remove what these targets made, but not your runs
	rm -rf .venv .venv-bench .venv-clients .venv-wasm .venv-mutation mutants build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
