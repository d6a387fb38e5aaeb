# Development tasks. Each target sets up the environment that it needs.

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

help: ## list all targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: $(READY) ## create .venv with charloom and all development tools (2.0 GB)

$(READY): pyproject.toml constraints.txt plugins/llm-charloom/pyproject.toml $(NATIVE)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,dev]' --editable plugins/llm-charloom
	@touch $@

demo: install ## train for one minute on the Python documentation, then generate 600 characters
	rm -rf runs/demo
	$(BIN)/charloom train python-docs --minutes 1 --output runs/demo
	$(BIN)/charloom generate runs/demo --length 600

quick: install ## run the fast unit tests: under a minute on two cores
	$(BIN)/python -m pytest $(WORKERS) -m 'not slow' tests/unit

test: install ## run all fast tests
	$(BIN)/python -m pytest $(WORKERS) -m 'not slow'

# sequential: the recorded times must not be disturbed by other tests
test-full: install ## all tests, including the slow ones; writes docs/reliability.md
	$(BIN)/python -m pytest --reliability=benchmarks/results/reliability.jsonl; status=$$?; $(BIN)/python benchmarks/pages.py && exit $$status

coverage: install ## run all fast tests and require 95 % line coverage
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest $(WORKERS) -m 'not slow'
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

mutation: $(MUTATION) ## mutation testing of sampling, scoring and checkpoints: an hour or more
	mkdir -p mutants/src/charloom/native
	cp .venv-mutation/lib/python*/site-packages/charloom/native/*.so mutants/src/charloom/native
	OMP_NUM_THREADS=1 .venv-mutation/bin/mutmut run
	.venv-mutation/bin/mutmut results

# not editable: the tests must import the mutated copies in mutants/, which an editable install would hide
$(MUTATION): pyproject.toml constraints.txt $(NATIVE)
	$(PYTHON) -m venv .venv-mutation
	.venv-mutation/bin/python -m pip install --quiet --constraint constraints.txt '.[train,dev]' mutmut==3.8.1
	@touch $@

check: format lint types coverage ## run all checks that must pass before a commit

format: install ## check the format (ruff)
	$(BIN)/ruff format --check .

lint: install ## run ruff, and check the layers of packages with import-linter
	$(BIN)/ruff check .
	$(BIN)/lint-imports

complexity: install ## list complex functions: a hint, never fails
	$(BIN)/ruff check --select C901,PLR0912,PLR0915 --exit-zero src

types: install ## check types (mypy, strict)
	$(BIN)/mypy

test-tools: ## Debian: install the ARM cross compiler and emulator for test-full
	apt-get install --yes --no-install-recommends g++-aarch64-linux-gnu qemu-user

browser: ## Debian: install Chromium for the browser tests
	apt-get update --quiet=2
	apt-get install --yes --quiet=2 --no-install-recommends chromium fonts-dejavu-core

bench: install $(BENCH) ## benchmark encoding and generation against other tools, in a separate environment
	$(BIN)/python benchmarks/encoding.py
	.venv-bench/bin/python benchmarks/generation.py

bench-training: install $(BENCH) ## benchmark training against other tools: half an hour
	.venv-bench/bin/python benchmarks/training.py
	.venv-bench/bin/python benchmarks/time_to_loss.py --picture docs/time_to_loss.png
	.venv-bench/bin/python benchmarks/where_time_goes.py

bench-serving: install ## benchmark the server: a few minutes
	$(BIN)/python benchmarks/serving.py

record: install ## BENCHMARK=encoding: run a benchmark, record its result, and rebuild docs/results.md
	$(BIN)/python benchmarks/record.py $(BENCHMARK)

bench-bulk: install ## benchmark bulk scoring of a million lines: a quarter of an hour
	$(BIN)/python benchmarks/bulk.py

clients: $(CLIENTS) ## install LangChain and lm-evaluation-harness for test-full (850 MB)

$(CLIENTS): tests/clients.txt
	$(PYTHON) -m venv .venv-clients
	.venv-clients/bin/python -m pip install --quiet --requirement tests/clients.txt
	@touch $@

wasm: $(WASM) ## rebuild engine.wasm, the WebAssembly engine of exported pages; the build is reproducible
	cd native && ../.venv-wasm/bin/python -m ziglang c++ -target wasm32-wasi -mexec-model=reactor -std=c++20 -O3 -s \
	  -msimd128 -mbulk-memory -mnontrapping-fptoint -fno-exceptions -fno-rtti -fno-math-errno -ffp-contract=off \
	  -Wall -Wextra -I. -DCHARLOOM_ISA=wasm wasm/page_engine.cpp engine/network.cpp engine/sampling.cpp \
	  engine/pointwise.cpp engine/products_int8.cpp engine/products_float32.cpp -o $(abspath $(PAGE_ENGINE))
	chmod 644 $(PAGE_ENGINE)

# a pinned clang: other versions produce different bytes
$(WASM):
	$(PYTHON) -m venv .venv-wasm
	.venv-wasm/bin/python -m pip install --quiet ziglang==0.17.1
	@touch $@

$(BENCH): benchmarks/requirements.txt $(NATIVE)
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --requirement benchmarks/requirements.txt .
	@touch $@

reproduce: install ## train both editions of the tutorial again and rebuild docs/results.md: one to two hours
	$(BIN)/python benchmarks/reproduce.py

pretrained: install ## retrain the bundled model: about ten minutes
	rm -rf runs/pretrained $(BUNDLED)
	$(BIN)/charloom train shakespeare --set num_layers=1 --set hidden_size=512 --steps 10000 --output runs/pretrained
	$(BIN)/charloom export runs/pretrained --to int8 --output $(BUNDLED)

lesson: install ## execute the tutorial and rebuild its outputs and its notebook: a few minutes
	$(BIN)/python docs/tutorial/build.py

docs: install ## build the documentation site, build/site/index.html
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs build/site

dist: install ## build the sdist and the wheel in dist/
	rm -rf dist
	$(BIN)/python -m build

clean: ## delete everything that these targets created, except runs/
	rm -rf .venv .venv-bench .venv-clients .venv-wasm .venv-mutation mutants build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
