# The two commands of the README are `make demo` and `make test`; both install what they need.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
PEERS := .venv-peers

# The eight papers' networks, and those that the claims compare them with that a CPU can check.
DEMO := mobilenet_v1 mobilenet_v1_conv mobilenet_v2 mobilenet_v2_1.4 mobilenet_v2_1.3 \
	mobilenet_v2_0.75 mobilenet_v2_0.5 mobilenet_v2_0.35 mobilenet_v2_192 mobilenet_v2_160 \
	mobilenet_v2_128 mobilenet_v2_96 mobilenet_v3_large mobilenet_v3_large_relu \
	mobilenet_v3_large_hswish16 mobilenet_v3_large_naive_hswish mobilenet_v3_small \
	efficientnet_b0 efficientnet_b1 resnet_152 alexnet nasnet_mobile \
	shufflenet_g3 shufflenet_g3_0.5 shufflenet_g3_2.0 squeezenet squeezenet_1.1 \
	espnet espnetv2 espnetv2_segmentation_2.0
PROFILED := mobilenet_v1 mobilenet_v2 mobilenet_v3_small efficientnet_b0 shufflenet_g3 \
	squeezenet_1.1 espnet espnetv2
TRIALS := 0

.PHONY: demo test quick lint bench zoo clean

$(INSTALLED): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("edgetvm needs Python 3.11: make PYTHON=python3.11" if sys.version_info[:2] != (3, 11) else 0)'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[host,dev]'
	touch $@

demo: $(INSTALLED)  ## build the papers' networks with the records there are, time them, compare
	for model in $(DEMO); do \
	    $(BIN)/edgetvm tune $$model --target host --threads 1 --trials $(TRIALS) || [ $$? = 6 ] || exit; \
	done
	$(BIN)/edgetvm deploy $(DEMO) --target host --together
	for model in $(PROFILED); do $(BIN)/edgetvm profile $$model --target host > /dev/null || exit; done
	$(BIN)/edgetvm report --target host

test: lint  ## everything that CI runs, on two cores
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal --durations 30

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
