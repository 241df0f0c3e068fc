# Six targets: setup | demo | check | test | bench | docs, and two for special occasions: test-cluster | pictures
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo check test test-cluster bench docs pictures
.DEFAULT_GOAL := help

help:
	@echo 'make setup   virtual environment with everything for development'
	@echo 'make demo    a walk through the platform, against a gateway of its own'
	@echo 'make check   format, lint, types, layers, file sizes, docs in step'
	@echo 'make test    every test that this machine can run'
	@echo 'make test-cluster   the Kubernetes suite against the cluster that KUBECONFIG names'
	@echo 'make bench   benchmarks side by side with peers (about twenty minutes); ONLY="small startup" for some parts, whose figures are renewed on the page'
	@echo 'make docs    regenerate docs/reference from the code, and build the site into site/'
	@echo 'make pictures       take the terminal pictures of the README anew'

$(BIN)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet --editable '.[kubernetes,seal,sso]' --group dev
	@touch $@

setup: $(BIN)/.ready

demo: $(BIN)/.ready
	@$(BIN)/python examples/demo.py

check: $(BIN)/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tools/import_circles.py
	$(BIN)/python tools/file_sizes.py
	$(BIN)/python tools/reference.py --check

# One more than there are processors: tests wait for processes more than they compute.
JOBS ?= $(shell expr $$(nproc) + 1)

test: $(BIN)/.ready
	$(BIN)/python tools/test.py $(JOBS)

test-cluster: $(BIN)/.ready
	HILBERT_TEST_CLUSTER=1 $(BIN)/python -m pytest tests/contract/kubernetes

# Some parts alone: make bench ONLY='small table'
bench: $(BIN)/.ready
	$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

docs: $(BIN)/.ready
	$(BIN)/python tools/reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo 'The site is in site/. To read it: $(BIN)/python -m http.server --directory site'

pictures: $(BIN)/.ready
	$(BIN)/python tools/pictures.py
