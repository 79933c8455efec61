# `make` alone lists the targets. Everything runs from the checkout; nothing but Debian, Python and make is expected.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Molecule and ansible-lint call their siblings by name
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Where tools of the test bed are found; the application's tests must not see it
TESTBED := PYTHONPATH=molecule .venv/bin/python -m testbed
VENV := .venv/.ready
APP := $(MAKE) --no-print-directory -C app
SCENARIO ?= default
# auto: upstream's images where a registry answers, otherwise images built from Debian's and PyPI's packages
IMAGES ?= auto
# What the engine calls the VPS of `make demo`, where another checkout on this machine has a landfall-vps
VPS ?=
SUITE ?= bookworm
# renovate: datasource=go depName=github.com/rhysd/actionlint
ACTIONLINT := v1.7.12
IMPORTER := galaxy-importer==0.4.44
SBOM := cyclonedx-bom==7.5.0
# The application's image, of which `make sbom` tells what is in it; built from app/ where none is named
IMAGE ?=
.PHONY: help venv environments unit-tools lock engine images demo demo-down check test lint unit app-test molecule cores component collection installed upgrade sanity importable clean-room bench sbom release release-notes site site-look workflows docs clean
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 16

demo: $(VENV) engine ## a VPS in a container, the whole stack deployed on it over SSH, the proof that it works
	@$(TESTBED) up --name landfall-vps --image vps --images $(IMAGES) $(VPS:%=--container %)
	ansible-playbook -i inventory/demo site.yml
	@$(TESTBED) used --name landfall-vps

demo-down: $(VENV) ## remove the VPS of `make demo` and its secrets
	@$(TESTBED) down --name landfall-vps
	rm -rf inventory/demo/secrets

check: $(VENV) engine ## for daily work, some minutes: lint, unit and one deploy of the whole stack
	@$(TESTBED) check

test: $(VENV) engine ## everything below and all scenarios, two stages at a time (JOBS=1: one), with the time of each
	@$(TESTBED) test

# All that the stages of `make test` would install, before they run side by side: apt is for one at a time
environments: $(VENV) unit-tools
	$(APP) venv deps

# npm fetches the grammar of LogQL, ip tells the tests how this machine is connected
unit-tools:
	@scripts/need.sh ip:iproute2 node:nodejs npm:npm curl:curl

lint: $(VENV) ## ruff, mypy, yamllint, ansible-lint (production profile)
	ruff check .
	ruff format --check .
	mypy
	yamllint --strict .
	ansible-lint
	$(APP) lint

unit: $(VENV) engine unit-tools ## tests that need no host, on all cores (the engine runs programs that need all their files)
	$(APP) venv
	pytest -n auto

app-test: $(VENV) ## the application's own tests, against a real Redis and both databases
	$(APP) deps test

molecule: $(VENV) engine ## one scenario from nothing to nothing: make molecule SCENARIO=update
	MOLECULE_EPHEMERAL_DIRECTORY=$(CURDIR)/.cache/molecule/$(SCENARIO) molecule test --scenario-name $(SCENARIO)

clean-room: ## CMD (all of CI by default) on a fresh clone in a minimal Debian: make clean-room SUITE=trixie CMD='make unit'
	SUITE=$(SUITE) scripts/clean-room.sh $(CMD)

cores: $(VENV) engine ## the controller's side on each ansible-core that is supported
	PYTHONPATH=molecule python -m testbed.cores

component: $(VENV) ## a role to begin from: make component NAME=whoami IMAGE=traefik/whoami:v1.11.0 PORT=8080 [ARGS='--path /health']
	@python scripts/component.py '$(NAME)' --image '$(IMAGE)' --port '$(PORT)' $(ARGS)

collection: $(VENV) ## build/landfall-vps-<version>.tar.gz, for ansible-galaxy: the same bytes from the same commit
	@python scripts/collection.py

installed: $(VENV) engine ## the collection installed from its tarball into an empty folder, deployed, verified, updated
	PYTHONPATH=molecule python -m testbed.installed

upgrade: $(VENV) engine ## the release before, from git's history, is taken over with its data, history and passwords
	PYTHONPATH=molecule python -m testbed.upgrade

sanity: $(VENV) ## ansible-test's sanity checks on the assembled collection: make sanity [ARGS='pep8 pylint']
	@python scripts/sanity.py $(ARGS)

importable: $(VENV) ## what Galaxy's importer says of the collection; it is installed from PyPI into build/importer
	@rm -rf build/importer && uv venv --quiet build/importer
	@uv pip install --quiet --python build/importer/bin/python $(IMPORTER)
	@python scripts/collection.py --output build/importer/tarball
	@cd build/importer && PATH="$$PWD/bin:$$PATH" GALAXY_IMPORTER_CONFIG=$(CURDIR)/scripts/importable.cfg \
	  bin/python -m galaxy_importer.main tarball/*.tar.gz >importer.log 2>&1 || { tail -20 importer.log; exit 1; }
	@grep -iE 'warning|error|successfully' build/importer/importer.log

sbom: $(VENV) engine ## build/sbom.cdx.json: what the application's image holds, as CycloneDX; IMAGE=... another one
	@rm -rf build/cyclonedx && uv venv --quiet build/cyclonedx
	@uv pip install --quiet --python build/cyclonedx/bin/python $(SBOM)
	@[ -n '$(IMAGE)' ] || docker build --quiet --tag landfall/app:sbom app >/dev/null
	@python scripts/sbom.py '$(or $(IMAGE),landfall/app:sbom)' --tool build/cyclonedx/bin/cyclonedx-py

bench: $(VENV) engine ## measure docs/benchmarks.md anew (half an hour), or ARGS='--parts unchanged,change --runs 3 --keep'
	PYTHONPATH=molecule python -m testbed.bench $(ARGS)

release: $(VENV) ## check, write CHANGELOG.md, commit and tag, push nothing: make release VERSION=0.2.0 [ARGS=--check]
	@python scripts/release.py '$(VERSION)' $(ARGS)

site: $(VENV) ## the documentation as a site in build/site: docs/, a page for each role, search; dead links are refused
	@python scripts/website.py

site-look: site ## look at the site in Chromium (apt install chromium nodejs npm): screenshots, console, other hosts, axe
	@scripts/need.sh node:nodejs npm:npm chromium:chromium
	@mkdir -p build/looking && cp scripts/look/* build/looking && cd build/looking && npm ci --silent --no-audit --no-fund
	@node build/looking/look.mjs build/site build/look "$$(command -v chromium)"

release-notes: $(VENV)
	@python scripts/release.py '$(VERSION)' --notes

workflows: ## actionlint for the workflows in .github and in examples; needs Go 1.24 or newer
	@command -v go >/dev/null || { echo 'make workflows: needs Go 1.24 or newer (https://go.dev/dl/)' >&2; exit 1; }
	@GOBIN=$(CURDIR)/.cache/bin go install github.com/rhysd/actionlint/cmd/actionlint@$(ACTIONLINT)
	.cache/bin/actionlint -shellcheck= .github/workflows/*.yml $(wildcard examples/ci/github/*.yml examples/ci/github*.yml)

docs: $(VENV) ## generate what is generated: the README of each role
	python scripts/role_readmes.py

images: $(VENV) engine ## build the test bed's images; only what changed is built
	@$(TESTBED) images --images $(IMAGES)

engine: ## a Docker engine on this machine, installed from Debian and started if there is none
	@molecule/engine.sh

venv: $(VENV) ## the Python environment with exact versions

# Debian ships Python without the module that makes environments. A lock is complete, so nothing is resolved: it installs
# the same set on every day (tests/test_locks.py).
$(VENV): requirements-dev.txt
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null; }
	python3 -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.txt
	@touch $@

lock: $(VENV) ## pin the development tools anew from pyproject.toml, and what the sample application installs
	uv pip compile --quiet --upgrade --no-strip-extras --group dev --python-version 3.11 --universal --generate-hashes \
	  --custom-compile-command 'make lock' -o requirements-dev.txt pyproject.toml
	uv pip compile --quiet --upgrade --no-strip-extras --python-version 3.13 --python-platform x86_64-manylinux_2_28 \
	  --generate-hashes --custom-compile-command 'make lock' -o molecule/board/project/requirements.txt \
	  molecule/board/project/requirements.in

clean: $(VENV) ## remove the test bed's containers, volumes, images and caches
	@$(TESTBED) clean
	rm -rf .cache/images .cache/apt app/wheelhouse build
