# Two commands matter: `make up` and `make test`. Both do their own set-up. `make help` lists the rest.
SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?=
MODEL ?=
PORT_BASE ?=
export PYTHON MODEL

py := .venv/bin/python
detach_option := $(if $(DETACH),--detach)
up_options := $(if $(PORT_BASE),--port-base $(PORT_BASE)) $(if $(filter 0,$(MODEL)),--no-model) $(detach_option)

.PHONY: help up down demo seed test check torture bench css lock install install-dev

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: install ## install, start everything, print addresses and a demo key (DETACH=1, PORT_BASE=9000, MODEL=0)
	@exec $(py) manage.py up $(up_options)

down: ## stop the stack of this checkout
	@exec $(py) manage.py down

demo: ## the running stack's addresses, logins and key as JSON (make -s demo)
	@exec $(py) manage.py demo

seed: ## demo organization, catalog and prices again, on the running stack
	@exec $(py) manage.py seed

test: install-dev ## lint, types, floors and every suite; what CI runs
	@exec deploy/test.sh

check: install-dev ## lint, format, types, import floors; shows long files
	$(py) -m ruff check .
	$(py) -m ruff format --check .
	$(py) -m mypy
	.venv/bin/lint-imports --no-logo
	@$(py) -m tests.house.lengths

torture: install-dev ## the long form of the kills, crashes and floods
	TORTURE=long $(py) -m pytest tests/torture -m torture --timeout 3600

bench: install-dev ## measure the gateway against calling the upstream directly
	@exec $(py) -m tests.bench

css: ## rebuild tokia/static/tokia/app.css (needs npm; nobody else does)
	@exec deploy/css/build

lock: ## resolve the three lock files anew
	@exec deploy/lock.sh

install:
	@deploy/install.sh requirements.lock

install-dev:
	@deploy/install.sh requirements-dev.lock
