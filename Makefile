# The two commands of the README are `make demo` and `make test`; both install what they need.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
PEERS := .venv-peers

.PHONY: demo test quick lint bench zoo clean

$(INSTALLED): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("edgetvm needs Python 3.11: make PYTHON=python3.11" if sys.version_info[:2] != (3, 11) else 0)'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[host,dev]'
	touch $@

demo: $(INSTALLED)  ## tune two networks for a few minutes, deploy them here, compare with the papers
	$(BIN)/python -m edgetvm.tune mobilenet_v2 --target host --budget 150s
	$(BIN)/python -m edgetvm.tune squeezenet --target host --budget 90s
	$(BIN)/python -m edgetvm.deploy mobilenet_v2 squeezenet --target host

test: lint  ## everything that CI runs, on two cores
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

quick: $(INSTALLED)  ## the tests that take seconds
	$(BIN)/python -m pytest -m 'not slow'

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(PEERS)/installed: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv --clear $(PEERS)
	$(PEERS)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

bench: $(INSTALLED) $(PEERS)/installed  ## nothing else should run meanwhile
	$(BIN)/python benchmarks/pipeline.py
	$(BIN)/python benchmarks/peers.py

zoo: $(INSTALLED)  ## build and verify every model, also the slow ones; takes up where it ended
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/zoo.py

clean:
	rm -rf .venv $(PEERS) build test-artefacts .mypy_cache .pytest_cache .ruff_cache
