# `make demo` and `make test` set themselves up: Python 3.11+, Go and git are all they need.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Which Python to use; by default `python3`, or the newest that can be found where that one is too old.
PYTHON ?=
python = $(or $(PYTHON),$(shell .ci/pythons --first),false)
BIN := .venv/bin
SOURCES := instrumentation stack tests benchmarks examples .ci hatch_build.py

.PHONY: help
help: ## List what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-16s %s\n", $$1, $$2}'

# Made anew whenever a lock file or the project file is newer than the environment, or PYTHON names another version.
.venv/ready: requirements/dev.txt pyproject.toml
	@.ci/environment .venv $(PYTHON)
ifneq ($(PYTHON),)
version = $(shell { $(1) -Ic 'import sys; print(sys.version)'; } 2>/dev/null)
ifneq ($(call version,$(PYTHON)),$(call version,$(BIN)/python))
.PHONY: .venv/ready
endif
endif

.PHONY: setup
setup: .venv/ready ## Make the environment in .venv
	@# As .ci/environment did, after a change too.
	@$(BIN)/python -m compileall -q instrumentation/orchwatch

# For docker compose: whose spool it reads, and where, quoted: it would expand a `$`. Never overwritten.
.env:
	@printf 'ORCHWATCH_UID=%s\nORCHWATCH_GID=%s\nORCHWATCH_HOME=\047%s\047\n' "$$(id -u)" "$$(id -g)" \
	  "$${ORCHWATCH_HOME:-$${XDG_STATE_HOME:-$$HOME/.local/state}/orchwatch}" > $@

.PHONY: demo
demo: setup | .env ## Run a real orchestration and show each operation against its target
	@$(BIN)/orchwatch demo

.PHONY: test
test: setup stack ## Run every test, the real servers and a real browser included
	@.ci/browser
	@.ci/shells
	@# More than there are cores: those with servers, which come first, wait most of the time.
	@.ci/tests $(BIN)/python -n 5 --dist loadgroup

.PHONY: test-unit
test-unit: setup ## Run the tests that need no server
	$(BIN)/pytest -n 2 tests/unit

.PHONY: test-pythons
test-pythons: setup ## Run those and the demo on every other Python that is here
	@.ci/test-pythons

.PHONY: test-compose
test-compose: setup stack ## Start docker-compose.yml on a real engine and send operations through
	tests/compose/run

.PHONY: test-claude
test-claude: setup ## Run the real Claude Code client on a scripted model; needs npm and tmux
	$(BIN)/python -m pytest tests/claude_client

.PHONY: dist
dist: setup ## Build sdist and wheel, check them, and try both on every Python that is here
	@.ci/dist

.PHONY: check
check: setup ## Format, lint, types, imports, drift of what is generated
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/orchwatch generate --check

.PHONY: format
format: setup ## Format the code and mend what the linter can
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

.PHONY: generate
generate: setup ## Write everything that follows from targets.toml
	$(BIN)/orchwatch generate

.PHONY: stack
stack: ## Build the servers and the tools that check their files into a cache
	@$(python) stack/build.py

.PHONY: up
up: setup | .env ## Start its servers on loopback, without Docker
	@$(python) stack/build.py servers
	@$(python) stack/native.py up

.PHONY: down
down: ## Stop it
	@$(python) stack/native.py down

.PHONY: screens
screens: setup ## Draw the terminal's pictures in docs/ anew
	@$(BIN)/python .ci/screens.py

.PHONY: pictures
pictures: setup ## Draw its dashboards with Grafana's own packages into pictures/; needs npm
	@.ci/browser
	@PYTHONPATH=stack:. $(BIN)/python -m tests.stack.pictures pictures

.PHONY: bench-overhead
bench-overhead: setup ## Measure what an operation costs its host, as ratios
	@$(BIN)/python benchmarks/overhead.py

.PHONY: bench-status-line
bench-status-line: setup ## Measure what a status line costs as a process
	@$(BIN)/python benchmarks/status_line.py

.PHONY: bench-cli
bench-cli: setup ## Measure what each command costs, over up to a million operations
	@$(BIN)/python benchmarks/cli.py

.PHONY: bench-trace
bench-trace: setup ## Measure what it takes to look at a trace of 200,000 spans
	@$(BIN)/python benchmarks/one_trace.py

.PHONY: bench-hooks
bench-hooks: setup ## Measure what a hook costs the agent
	@$(BIN)/python benchmarks/hooks.py

.PHONY: bench-freshness
bench-freshness: setup ## Measure how soon the monitor shows what a real client did; needs npm
	@$(BIN)/python -m benchmarks.freshness

.PHONY: bench-dashboards
bench-dashboards: setup stack ## Measure the dashboards' queries on a month of data and a thousand sessions
	@PYTHONPATH=stack:. $(BIN)/python -m benchmarks.dashboard_queries

.PHONY: bench-agents
bench-agents: setup ## Measure how fast another agent's sessions are imported
	@$(BIN)/python benchmarks/codex_import.py

.PHONY: bench-monitor
bench-monitor: setup ## Measure refresh, query, compaction, report, flame, status line over up to ten million operations
	@$(BIN)/python benchmarks/monitor.py

.PHONY: bench-monitor-process
bench-monitor-process: setup ## Measure what the monitor takes after an hour of operations
	@$(BIN)/python benchmarks/monitor_process.py

.PHONY: bench-runtime
bench-runtime: setup ## Measure state, queries, tasks, events, messages and agents beside floors
	@$(BIN)/python benchmarks/runtime_state.py
	@$(BIN)/python benchmarks/runtime_queries.py
	@$(BIN)/python benchmarks/runtime_tasks.py
	@$(BIN)/python benchmarks/runtime_events.py
	@$(BIN)/python benchmarks/state_query_process.py
	@$(BIN)/python benchmarks/runtime_agents.py

.PHONY: lock
lock: setup ## Pin the dependencies anew
	$(BIN)/uv pip compile pyproject.toml --extra local --extra grafana --extra history --extra tui --extra forecast --extra codex --extra prices --extra config --group dev --universal --fork-strategy fewest --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --quiet --output-file requirements/dev.txt
	# The image builds the package too; nothing in it may differ from what was tested.
	echo hatchling | $(BIN)/uv pip compile pyproject.toml - --extra local --universal --python-version 3.11 \
	  --constraints requirements/dev.txt --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  --quiet --output-file requirements/image.txt
	# Each with what the package needs, and apart from everything else.
	for example in examples/*/; do $(BIN)/uv pip compile pyproject.toml $${example}requirements.in --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet --output-file $${example}requirements.txt; done
