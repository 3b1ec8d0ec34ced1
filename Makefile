# Everything a person does with this project: `make` tells. What a command needs (the virtual environment, the pinned
# agents, the model's weights) are file targets below, made once and again only when what they are made of changes.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

bin := .venv/bin
agents := .cache/agents/pinned
types := .cache/types/pinned
compile = CUSTOM_COMPILE_COMMAND='make lock' .cache/lock/bin/pip-compile --quiet --upgrade --strip-extras \
    --generate-hashes --no-annotate --no-emit-options
# Tests wait for processes, clocks and disks for nearly half of their time: four at once keep two processors busy.
# Those that lie together share gateways: each worker begins with a part of its own, and takes from others' when done.
workers = $$(( $$(nproc) * 2 ))
say = printf '\n\033[1m%s\033[0m\n'

.PHONY: help run test docs leaks chaos bench clean lock

help:
	@echo 'clawdforge: coding agents as a service on your own machine'
	@echo
	@echo '  make run      a gateway with a small language model on this CPU, a conversation with it through the SDK,'
	@echo '                curl lines to go on with; it serves until Ctrl-C'
	@echo '                ONCE=1 ends after the conversation; AGENT=claude talks to Claude Code by your own login'
	@echo '  make test     all that must hold: lint, types, import walls, tests, real agents'
	@echo '                (later, some of it: .venv/bin/pytest tests/unit/wire, .venv/bin/pytest -k permission)'
	@echo '  make docs     builds docs/ into build/docs, and fails where a link or a reference leads nowhere'
	@echo '  make leaks    looks, from outside, for what agents have left, however they and the gateway ended: a table'
	@echo '  make chaos    ten minutes of agents killed, connections cut, gateways killed: is every promise kept?'
	@echo '                CHAOS_SECS=60 is shorter; CHAOS_SEED=… replays the storm that a failure has named'
	@echo '  make bench    measures the numbers of bench/RESULTS.md on this machine'
	@echo '  make clean    removes all that these have made: .venv, .cache, the caches of the tools'
	@echo
	@echo 'Needs Python 3.11 or newer, make, and for make test Node 20 or newer and curl. The rest is put into .venv and .cache.'

run: .venv/installed
	@AGENT='$(AGENT)' ONCE='$(ONCE)' $(bin)/python tools/demo.py

# Whatever the environment says, what is compiled is kept: all workers load all tests.
test: export PYTHONDONTWRITEBYTECODE :=
test: .venv/installed $(agents)/installed $(types)/installed .cache/models/installed
	@$(say) 'Lint, types, import walls'
	@$(bin)/python -m compileall -q src  # thousands of agents start, and may not write what they compile
	@$(MAKE) --jobs --output-sync=target tests-compiled typed-outside typed-inside walls linted
	@$(say) 'Tests'
	@# Those of the SDK are run by tests/unit/test_client_coverage.py, once, and counted.
	@$(bin)/pytest -n $(workers) --dist worksteal --durations=15 --ignore=tests/unit/client

.PHONY: tests-compiled typed-outside typed-inside walls linted
tests-compiled:
	@$(bin)/pytest -n 0 --collect-only --quiet | tail -n 1
typed-outside:
	@$(bin)/python tools/typed.py $(types)/node_modules/pyright
typed-inside:
	@$(bin)/mypy
walls:
	@$(bin)/lint-imports --no-logo
linted:
	@$(bin)/ruff check
	@$(bin)/ruff format --check

docs: .venv/installed
	@$(bin)/python -m sphinx --quiet --fail-on-warning -c docs -b html . build/docs
	@echo 'build/docs/index.html'

leaks: .venv/installed
	@$(bin)/pytest -n 0 -v tests/leaks

chaos: export CHAOS_SECS := $(or $(CHAOS_SECS),600)
chaos: .venv/installed
	@$(bin)/pytest -n 0 -s tests/chaos

bench: .venv/installed $(agents)/installed
	@$(bin)/python -m bench

clean:
	rm -rf .venv .cache build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests tools bench -name __pycache__ -prune -exec rm -rf {} +

# For developers: pins anew what everything runs on, after a change of pyproject.toml or to take newer releases.
# The locks have the hashes of all files of a release, and name no place to fetch them from. There is one for
# `make run` and `make test`: one environment then serves both, and the second of them installs no Python again. Those
# of the Docker image are parts of it.
lock:
	@python3 -m venv .cache/lock
	@.cache/lock/bin/python -m pip install -qq --disable-pip-version-check 'pip-tools>=7.6,<8'
	@$(compile) --extra dev --build-deps-for editable --output-file requirements/dev.txt pyproject.toml
	@$(compile) -c requirements/dev.txt --extra server --build-deps-for wheel \
	    --output-file requirements/server.txt pyproject.toml
	@$(compile) -c requirements/dev.txt --extra local --output-file requirements/local.txt pyproject.toml

# --- What the targets above stand on ---------------------------------------------------------------------------

.venv/locked: requirements/dev.txt
	@$(say) 'Making .venv'
	@for python in python3.11 python3; do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then break; fi; \
	    python=; \
	done; \
	test -n "$$python" || { echo 'clawdforge needs Python 3.11 or newer: install it so that python3 runs it.' >&2; exit 1; }; \
	"$$python" -m venv --clear .venv || { echo 'A virtual environment could not be made: on Debian and Ubuntu, install python3-venv.' >&2; exit 1; }
	@$(bin)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

.venv/installed: .venv/locked pyproject.toml
	@$(bin)/python -m pip install -qq --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

# The agents that the tests talk to, and pyright, exactly as pinned; their lifecycle scripts never run.
$(agents)/installed: tests/agents/pin/package.json tests/agents/pin/package-lock.json
$(types)/installed: tests/types/pin/package.json tests/types/pin/package-lock.json
.cache/%/pinned/installed:
	@$(say) 'Installing what the tests need: $*'
	@node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null && command -v npm >/dev/null \
	    || { echo 'The tests talk to real agents, which need Node 20 or newer with npm: install these (nodejs, npm).' >&2; exit 1; }
	@rm -rf $(@D) && mkdir -p $(@D) && cp $^ $(@D)
	@cd $(@D) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# Weights that are there and whole are not fetched again.
.cache/models/installed: src/clawdforge/local_agent/weights.py | .venv/installed
	@$(say) 'Fetching the weights of the embedded model'
	@$(bin)/clawdforge agents --data-dir .cache install local
	@touch $@
