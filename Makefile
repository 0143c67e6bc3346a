# Two commands matter: `make run` and `make test`. Both do all of their own set-up.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

hash = $(shell cat $(1) 2>/dev/null | sha256sum | cut -c1-16)
RUN_REQUIREMENTS := requirements.txt requirements-embedded.txt
DEV_REQUIREMENTS := requirements-dev.txt
RUN_STAMP := .venv/.stamp-run-$(call hash,$(RUN_REQUIREMENTS))
DEV_STAMP := .venv/.stamp-dev-$(call hash,$(DEV_REQUIREMENTS))
# The development set contains the other one.
NEEDED_STAMP := $(if $(wildcard $(DEV_STAMP)),$(DEV_STAMP),$(RUN_STAMP))

BIN := .venv/bin
# Should make be killed, what it started ends in good order.
EMBEDDED := setpriv --pdeathsig TERM $(BIN)/python -m controlplane.embedded
JOBS ?= 2
ARGS ?=

.PHONY: help run test attack lint fmt bench bench-audit bench-backups bench-monitoring clean clean-data

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

run: $(NEEDED_STAMP) ## start everything on this machine (PORT=, DATABASE_URL=, REDIS_URL=, POSTGRES_BIN=)
	@exec $(EMBEDDED) run $(ARGS)

test: $(DEV_STAMP) ## lint, then the whole suite on real servers (JOBS=2, ARGS="-k name")
	@scripts/system-packages
	@$(MAKE) lint
	@exec $(EMBEDDED) exec --with-postgres15 -- $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

attack: $(DEV_STAMP) ## one tenant against another on both PostgreSQLs; writes docs/isolation-report.md
	@scripts/system-packages
	@ATTACK_REPORT=docs/isolation-report.md exec $(EMBEDDED) exec --with-postgres15 -- \
		$(BIN)/python -m pytest -q tests/isolation/test_attack.py $(ARGS)

lint: $(DEV_STAMP) ## style, types, import contracts, migrations, Django's checks
	@scripts/lint

fmt: $(DEV_STAMP) ## format the code and repair what can be repaired
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

bench: $(NEEDED_STAMP) ## measure provisioning on durable servers (ARGS=--json)
	@exec $(EMBEDDED) exec --durable -- $(BIN)/python manage.py bench_provisioning $(ARGS)

bench-audit: $(NEEDED_STAMP) ## measure the audit log on durable servers (ARGS="--events 10000000")
	@exec $(EMBEDDED) exec --durable -- $(BIN)/python manage.py bench_audit $(ARGS)

bench-backups: $(NEEDED_STAMP) ## measure backups on durable servers (ARGS="--size 256")
	@exec $(EMBEDDED) exec --durable -- $(BIN)/python manage.py bench_backups $(ARGS)

bench-monitoring: $(NEEDED_STAMP) ## measure probes, samples and rollups on durable servers (ARGS="--tenants 200")
	@exec $(EMBEDDED) exec --durable -- $(BIN)/python manage.py bench_monitoring $(ARGS)

clean: ## remove the virtual environment and caches (data stays)
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache staticfiles
	@find . -name __pycache__ -type d -not -path './.local/*' -prune -exec rm -rf {} +

clean-data: ## remove the servers and data of `make run` for good
	@scripts/remove-data

$(RUN_STAMP):
	@scripts/setup-venv $@ $(RUN_REQUIREMENTS)

$(DEV_STAMP):
	@scripts/setup-venv $@ $(DEV_REQUIREMENTS)
