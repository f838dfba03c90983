# SPDX-License-Identifier: Apache-2.0
# `make help` is the menu. Everything that a target needs, it sets up itself.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory --no-builtin-rules
.DEFAULT_GOAL := help

# Debian's own interpreter is optimised by profiles; one that was built plainly and comes first in PATH is slower
# by a sixth. It is also the one that hosts have.
PYTHON ?= $(shell /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo /usr/bin/)python3
VENV   := .venv
BIN    := $(VENV)/bin

# Run-time needs, then what building and testing adds.
PACKAGES_RUN   := libbpf1 iproute2 util-linux procps ethtool
PACKAGES_BUILD := clang llvm libbpf-dev linux-libc-dev bpftool python3-venv
PACKAGES_DEMO  := iputils-ping iperf3
PACKAGES_TEST  := clang-format gcc tcpdump tshark openvswitch-switch curl openssl netcat-openbsd traceroute arping
PACKAGES_BENCH := nftables

BPF_OBJECTS := $(patsubst bpf/%.bpf.c,mizar/dataplane/objects/%.bpf.o,$(wildcard bpf/*.bpf.c))
BPF_HEADERS := $(shell find bpf/include -name '*.h')
BPF_CFLAGS  := -target bpf -mcpu=v3 -O2 -g -std=gnu11 -Wall -Wextra -Werror -Wno-unused-function \
               -I bpf/include -isystem /usr/include/$(shell uname -m)-linux-gnu
PROTO_STUBS := mizar/rpc/gen/mizar/node/v1/node_pb2.py

##@ Try it
.PHONY: demo
demo: install packages-demo ## Two tenants with the same addresses on four hosts, then clean up
	@$(BIN)/python -m mizar.lab.demo

##@ Develop
.PHONY: setup
setup: build/.packages-run build/.packages-build $(VENV)/.ready ## Debian packages and the virtual environment

.PHONY: build
build: setup $(BPF_OBJECTS) $(PROTO_STUBS) ## Compile the data plane and the API stubs

.PHONY: install
install: build

.PHONY: check
check: build packages-test ## Format, lint, types, layers, C warnings as errors
	@echo "==> ruff";          $(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet .
	@echo "==> clang-format";  clang-format --dry-run --Werror $$(git ls-files 'bpf/*.c' 'bpf/*.h')
	@echo "==> mypy";          $(BIN)/mypy --no-error-summary mizar tests
	@echo "==> layers";        $(BIN)/lint-imports --no-cache >build/layers.log || { cat build/layers.log; exit 1; }

.PHONY: format
format: build packages-test ## Rewrite sources in the house format
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --fix --quiet .
	@clang-format -i $$(git ls-files 'bpf/*.c' 'bpf/*.h')

.PHONY: test
test: build packages-test packages-demo ## All tests: pure, kernel, namespaces, end to end (root)
	@$(BIN)/python -m pytest tests

.PHONY: bench
bench: install packages-test packages-demo packages-bench ## Measure beside peers; QUICK=1 for five minutes
	@$(BIN)/python -m bench $(if $(QUICK),--quick)

.PHONY: bench-check
bench-check: build ## Size and time of the programs beside the baseline; fails when one has grown by over 10 %
	@$(BIN)/python -m bench check

.PHONY: wheel
wheel: build ## The package for hosts, programs compiled, in build/dist
	@$(BIN)/pip wheel -qq --disable-pip-version-check --no-deps --no-build-isolation -w build/dist .
	@ls build/dist/*.whl

.PHONY: lock
lock: $(VENV)/.ready ## Renew requirements.lock from pyproject.toml
	@$(BIN)/pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-header --no-emit-index-url --extra dev -o requirements.lock pyproject.toml

.PHONY: clean
clean: ## Remove all that was built, the virtual environment included
	@rm -rf build $(VENV) mizar/dataplane/objects mizar/rpc/gen *.egg-info

.PHONY: help
help: ## This menu
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo

# ------------------------------------------------------------------ set-up

.PHONY: packages-demo packages-test packages-bench
packages-demo: build/.packages-demo
packages-test: build/.packages-test
packages-bench: build/.packages-bench

build:
	@mkdir -p build

build/.packages-run:   PACKAGES = $(PACKAGES_RUN)
build/.packages-build: PACKAGES = $(PACKAGES_BUILD)
build/.packages-demo:  PACKAGES = $(PACKAGES_DEMO)
build/.packages-test:  PACKAGES = $(PACKAGES_TEST)
build/.packages-bench: PACKAGES = $(PACKAGES_BENCH)
build/.packages-%: Makefile scripts/install-packages
	@mkdir -p build
	@scripts/install-packages $(PACKAGES)
	@touch $@

$(VENV)/.ready: requirements.lock pyproject.toml | build/.packages-build
	@echo "==> Python packages into $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

mizar/dataplane/objects/%.bpf.o: bpf/%.bpf.c $(BPF_HEADERS) | build/.packages-build
	@echo "==> Compiling $<"
	@mkdir -p $(@D)
	@clang $(BPF_CFLAGS) -c $< -o $@
	@llvm-strip -g $@

$(PROTO_STUBS): proto/mizar/node/v1/node.proto | $(VENV)/.ready
	@echo "==> Generating stubs of the node API"
	@scripts/generate-stubs
