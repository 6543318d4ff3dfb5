# One verb a habit. Every verb makes .venv first if it is missing or out of date.

PYTHON  ?= python3
RUN     ?= runs/default
CONFIG  ?=
ARGS    ?=
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

VENV := .venv
BIN  := $(VENV)/bin
RLHF  = $(BIN)/python -m pipeline
FLAGS = --run $(RUN) $(if $(CONFIG),--config $(CONFIG)) $(ARGS)
PIP   = $(BIN)/python -m pip --disable-pip-version-check install --no-compile --constraint constraints.txt

# Without bytecode of the installed packages on disk, each start compiles them anew, which takes twice as long as the start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo collect label import reward policy evaluate export loop report doctor test lint bench bench-gpu models clients clean FORCE

help: ## Print these verbs
	@echo "make VERB [RUN=runs/mine] [CONFIG=my.yaml] [ARGS='--set policy.steps=200']"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-9s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/installed ## The whole loop with simulated annotators on a small model, in minutes
	@$(RLHF) loop --simulate --run runs/demo --config configs/demo.yaml $(ARGS)

loop: $(VENV)/installed ## Every stage in turn, as far as there are labels for it
	@$(RLHF) loop $(FLAGS)

collect: $(VENV)/installed ## Sample candidate responses for the prompts
	@$(RLHF) collect $(FLAGS)

label: $(VENV)/installed ## Open the labeling app
	@$(RLHF) label $(FLAGS)

import: $(VENV)/installed ## Take in existing judgements: make import ARGS='--format hh FILE'
	@$(RLHF) import $(FLAGS)

reward: $(VENV)/installed ## Train the reward model on the judgements
	@$(RLHF) reward $(FLAGS)

policy: $(VENV)/installed ## Tune the policy adapter against the reward model
	@$(RLHF) policy $(FLAGS)

evaluate: $(VENV)/installed ## Compare the policy with the base on held-out prompts
	@$(RLHF) evaluate $(FLAGS)

export: $(VENV)/installed ## Write the adapter as an ordinary PEFT folder with its model card
	@$(RLHF) export $(FLAGS)

report: $(VENV)/installed ## Write report.html
	@$(RLHF) report $(FLAGS)

doctor: $(VENV)/installed ## Tell what this machine offers and what will be chosen
	@$(RLHF) doctor $(if $(CONFIG),--config $(CONFIG)) $(ARGS)

# One worker more than there are cores, for a third of the time is waiting for servers, browsers and launchers; at most 4. One torch
# thread a worker: several that each start as many threads as there are cores only get in each other's way.
test: $(VENV)/installed-dev ## Run the tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist worksteal $(ARGS)

lint: $(VENV)/installed-dev ## Check style, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python -m mypy
	@$(BIN)/lint-imports

# Threads that wait sleep soon, as under `rlhf` (foundation/threads.py): scripts load torch before they could say so.
# gpu.py has a verb of its own.
bench: $(VENV)/installed-dev ## Run the benchmarks, each with the machine it ran on
	@set -e; export GOMP_SPINCOUNT=$${GOMP_SPINCOUNT-3000}; for script in $(filter-out benchmarks/gpu.py,$(wildcard benchmarks/*.py)); do echo "== $$script"; \
		$(BIN)/python "$$script" $(ARGS); done

bench-gpu: $(VENV)/installed-dev ## Measure policy steps, collecting and reward training on a GPU, in half an hour
	@$(BIN)/python benchmarks/gpu.py $(ARGS)

models: $(VENV)/installed-dev ## Compare every architecture with its own forward pass, and write docs/models.md
	@$(BIN)/python -m benchmarks.architectures $(ARGS)

clients: $(VENV)/installed-dev ## Try other programs with what leaves the project
	@$(PIP) --requirement tests/clients/requirements.txt
	@$(PIP) --quiet --upgrade --no-deps --target $(VENV)/rewardbench --requirement tests/clients/rewardbench.txt
	@PYTHONPATH=$(VENV)/rewardbench $(BIN)/python -m pytest tests/clients $(ARGS)

clean: ## Remove .venv and caches; runs and models stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# While packages are being installed, `unfinished` lies in .venv; one that is found later tells of an
# interrupted installation, whose packages may be cut short: such a .venv is made anew.
INTERRUPTED := $(if $(wildcard $(VENV)/unfinished),FORCE)

$(VENV)/installed: pyproject.toml constraints.txt $(INTERRUPTED)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or newer is needed; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true)." >&2; \
	  echo "Name another one: make $(firstword $(MAKECMDGOALS)) PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' has no venv module. On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@if [ -e $(VENV)/unfinished ]; then echo "An earlier installation was interrupted; starting it anew."; rm -rf $(VENV); fi
	@echo "Installing into $(VENV) (once; one to three minutes) ..."
	@mkdir -p $(VENV) && touch $(VENV)/unfinished
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@$(PIP) --editable .
	@rm $(VENV)/unfinished && touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo "Installing the development tools into $(VENV) ..."
	@touch $(VENV)/unfinished
	@$(PIP) --editable '.[dev]'
	@rm $(VENV)/unfinished && touch $@

FORCE:
