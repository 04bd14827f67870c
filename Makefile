# make rehearse   the main job: set up, and rehearse the sample server's rollout
# make test       all tests
# make help       the rest

PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
READY   = $(VENV)/.ready

.DEFAULT_GOAL = help
.PHONY: help rehearse test stages fast lint format bench bench-sim properties compare matrix conformance fidelity lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{ printf "  make %-11s %s\n", $$1, $$2 }'

rehearse: $(READY) ## rehearse the sample server as its templates deploy it
	$(BIN)/rollproof rehearse $(ARGS)

test: lint fast stages ## lint and all tests

stages: $(READY) ## the tests that set whole stages: local ones, and Docker's where an Engine answers
	$(BIN)/python -m pytest -q -m "e2e or load" --durations 5 $(ARGS)

fast: $(READY) ## the fast tests alone: no stage, no Docker; under a minute
	$(BIN)/python -m pytest -q -n 3 --dist worksteal -m "not e2e and not load" $(ARGS)

lint: $(READY) ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

format: $(READY) ## let ruff format the sources
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## both balancers beside plain nginx and the bare backend, and while targets change (docs/performance.md)
	$(BIN)/python -m tests.load.bench $(ARGS)

bench-sim: $(READY) ## how quick simulated rollouts are (docs/performance.md)
	$(BIN)/python -m tests.sim.bench $(ARGS)

properties: $(READY) ## 100,000 random rollouts with random faults against the laws (ten minutes; ARGS="--count 1000")
	$(BIN)/python -m tests.core.rollouts --count 100000 $(ARGS)

# strategy,disruption: each rehearsed on both stages. A verdict of fail (1) is a result; anything above is none. With a
# whole CPU, for what is compared is not how long a server takes to start on a quarter of one.
COMPARED = memory,rolling redis-state,rolling stateless,rolling stateless,bad-image stateless,crashing-image \
           stateless,crash stateless,stop-task memory,crash
ALIKE    = --speed 5 --set deregistration_delay_s=60 --set cpu=1024 --set memory_mib=2048 --sessions 10 --delay 0.5 --slow 1

compare: $(READY) ## the same rehearsals on the local and the docker stage, side by side (needs Docker; a quarter of an hour)
	rm -rf runs/compare
	$(BIN)/rollproof up --stage docker
	@for stage in local docker; do for each in $(COMPARED); do \
	  echo "$$stage: $$each"; \
	  $(BIN)/rollproof rehearse --stage $$stage --strategy "$${each%,*}" --disruption "$${each#*,}" $(ALIKE) $(ARGS) \
	    --runs runs/compare/$$stage >/dev/null 2>runs/compare.log || [ $$? -eq 1 ] || { cat runs/compare.log; break 2; }; \
	done; done
	@$(BIN)/rollproof down --stage docker
	$(BIN)/rollproof compare runs/compare/local runs/compare/docker --markdown

# Sessions and their clients, not the machine, are to decide: a delay long enough for a slow call in flight at this speed.
MATRIX = --speed 30 --set deregistration_delay_s=90 --set health_check_grace_period_s=600 --measure 5

matrix: $(READY) ## every session strategy through every disruption, and docs/strategies.md anew (half an hour)
	rm -rf runs/matrix
	$(BIN)/rollproof matrix $(MATRIX) $(ARGS) --runs runs/matrix || [ $$? -eq 1 ]
	mkdir -p docs/matrix && cp runs/matrix/*/matrix.json docs/matrix/local.json
	$(BIN)/python -m rollproof.matrix.page docs/matrix

conformance: $(READY) ## the official MCP suite against one replica and several; docs/conformance.md (needs PyPI and npm)
	@$(BIN)/python -m tests.conformance.run --report $(ARGS)

fidelity: $(READY) ## docs/fidelity.md anew, from its catalogue and the tests' markers
	@$(BIN)/python -m tests.fidelity

lock: $(READY) ## renew requirements.lock from pyproject.toml
	$(BIN)/python -m pip install -q uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --generate-hashes --upgrade --python-version 3.11 \
	  --no-emit-index-url --no-emit-find-links --no-annotate --no-header -q -o requirements.lock
	@sed -i.bak '1i\
	# Versions and hashes of everything that development and CI install. Made by `make lock` from pyproject.toml.\
	' requirements.lock && rm requirements.lock.bak

clean: ## remove the environment and what runs have left
	rm -rf $(VENV) runs .rollproof .conformance client/node/node_modules
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# The environment: exact versions, checked by their hashes, then rollproof itself in place. --no-deps: the lock is complete
# (pip check says so), and older pips take a newer release for an extra (coverage[toml]) than the lock's.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1); rollproof needs Python 3.11 or newer"; \
	  echo "hint: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "error: $(PYTHON) has no venv module"; echo "hint: sudo apt install python3-venv"; exit 2; }
	@echo "setting up $(VENV) (once, about a minute) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m pip check -q --disable-pip-version-check
	@touch $(READY)
