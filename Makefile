# Every verb does its own set-up; the second time that costs nothing.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RECIPE ?= quickstart
PORT ?= 3000
UI_PORT ?= 5000
# One for each of two cores: a third imports everything once more, which takes longer than what it finds to do.
WORKERS ?= 2
OMNIVEC_HOME ?= $(CURDIR)/.omnivec
TOOLS := $(OMNIVEC_HOME)/tools
export OMNIVEC_HOME PORT

.DEFAULT_GOAL := help
.PHONY: help setup run test test-slow test-infra test-containers bench serve ui images render lint format golden lock clean

help:  ## list the verbs
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

setup: $(READY)  ## virtual environment with the locked packages

$(READY): requirements.lock pyproject.toml infra/setup.sh
	@bash infra/setup.sh $(VENV)
	@touch $@

run: $(READY)  ## the whole chain on this machine: validate, train, evaluate, register, serve check, gate, drift
	@$(BIN)/omnivec run --recipe $(RECIPE)

test: lint  ## lint, then every test that does not take minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-slow: $(READY)  ## what takes minutes and is left out of test: TrainJob nodes, killed workers, rows of the benchmark
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m minutes

test-infra: $(READY)  ## manifests rendered by a real kubectl, validated strictly for three Kubernetes minors
	@bash infra/tools.sh $(TOOLS)
	OMNIVEC_INFRA_TOOLS=$(TOOLS) OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/infra -m "not minutes"

test-containers: $(READY)  ## steps in real containers, by an engine and a registry of its own (root, Debian)
	@bash tests/containers/run.sh

bench: $(READY)  ## side by side with sentence-transformers on two threads; result in OMNIVEC_HOME/bench
	@OMP_NUM_THREADS=2 $(BIN)/python -m benchmarks

serve: $(READY)  ## serve the champion on 127.0.0.1:$(PORT)
	@$(BIN)/omnivec serve --port $(PORT)

ui: $(READY)  ## MLflow on 127.0.0.1:$(UI_PORT)
	@$(BIN)/mlflow server --backend-store-uri sqlite:///$(OMNIVEC_HOME)/mlflow.db --host 127.0.0.1 --port $(UI_PORT)

images: $(READY)  ## images data, train, serve and pipeline (BASE, TORCH, REGISTRY), linted, with lists of what is inside
	@$(BIN)/python infra/images/build.py
	@$(BIN)/python infra/images/check.py $(TOOLS)/images

render: $(READY)  ## render the overlays into infra/rendered; review the difference before committing it
	@bash infra/tools.sh $(TOOLS) && bash infra/render.sh $(TOOLS)/kubectl

lint: $(READY)  ## style, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers 2
	$(BIN)/lint-imports

format: $(READY)  ## rewrite in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

golden: $(READY)  ## refresh the golden files; review the difference before committing it
	OMNIVEC_UPDATE_GOLDEN=1 $(BIN)/python -m pytest -k golden

lock: $(READY)  ## write requirements.lock from the environment
	@$(BIN)/python -m pip freeze --all --exclude pip --exclude omnivec --exclude uv --exclude-editable \
		| sed -E -e 's/\+cpu$$//' -e 's/^([^=]+)/\L\1/' -e ':a;s/^([^=]*)[._]/\1-/;ta' | LC_ALL=C sort -f > $(VENV)/lock
	@{ head -1 requirements.lock; cat $(VENV)/lock; } > $(VENV)/lock.new && mv $(VENV)/lock.new requirements.lock
	@$(BIN)/python infra/images/closure.py
	@git diff --stat -- requirements.lock infra/images/lists

clean:  ## remove caches and build output (keeps .venv and OMNIVEC_HOME)
	rm -rf dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis htmlcov .coverage
	find components data model pipelines serving tests -name __pycache__ -prune -exec rm -rf {} +
