# `make run` does all set-up and serves; `make test` does all set-up and checks everything.

EXTRA ?= cpu
PYTHON ?= python3.11
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
CONFIG ?= $(if $(filter gpu,$(EXTRA)),serve_config.gpu.yaml,serve_config.yaml)

VENV := .venv
BIN := $(VENV)/bin
LOCK := $(if $(filter gpu,$(EXTRA)),requirements-gpu.lock,requirements.lock)
# The CPU build of torch stands in a comment of its lock file, which says why.
TORCH := $(shell sed -n 's/^# \(torch==.*\)/\1/p' $(LOCK))
# What comes with Python 3.11 is too old to report its progress to `multimodal models pull`.
PIP := pip==26.3
STAMP := $(VENV)/.installed-$(EXTRA)-$(shell cat $(LOCK) pyproject.toml Makefile | sha256sum | cut -c1-12)

$(if $(filter cpu gpu,$(EXTRA)),,$(error EXTRA is cpu or gpu))
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test install models lint format unit bench bench-full lock clean test-packages

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo '  Variables: EXTRA=cpu|gpu  CONFIG=$(CONFIG)  PYTHON=$(PYTHON)  TORCH_INDEX=$(TORCH_INDEX)'
	@echo '  Environment of the server: MULTIMODAL_HOME, MULTIMODAL_STATE, MULTIMODAL_HOST, MULTIMODAL_PORT, MULTIMODAL_DASHBOARD_PORT'

run: install models ## Set up, then serve until Ctrl-C
	@$(BIN)/multimodal serve --stop-with-parent --config $(CONFIG)

test: install test-packages models lint ## Set up, then run lint, types and every test
	$(BIN)/pytest

install: $(STAMP) ## Make .venv from the lock file

models: install ## Fetch the models that the configuration names
	@$(BIN)/multimodal models pull --config $(CONFIG)

lint: install ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install ## Fix style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

unit: install ## Run the fast tests
	$(BIN)/pytest tests/unit

bench: install test-packages models ## Run the benchmarks for a moment each, ten minutes
	$(BIN)/python -m benchmarks.suite quick

bench-full: install test-packages models ## Run all benchmarks, hours; what is done is not done again
	$(BIN)/python -m benchmarks.suite full

clean: ## Delete .venv and caches; models stay in MULTIMODAL_HOME
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# --- Debian packages: each with a command that succeeds where it is installed --------------------

HAVE_python3.11-venv = $(PYTHON) -c 'import ensurepip'
# vLLM's CPU kernels link to it.
HAVE_libnuma1 = $(PYTHON) -c 'import ctypes; ctypes.CDLL("libnuma.so.1")'
# PyTorch compiles the generator's model with these.
HAVE_g++ = command -v g++
HAVE_python3.11-dev = $(PYTHON) -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")'
# Tests make media with these.
HAVE_ffmpeg = command -v ffmpeg
HAVE_espeak-ng = command -v espeak-ng
# The metadata are tested on both databases.
HAVE_postgresql = ls /usr/lib/postgresql/*/bin/initdb
# The shared cache is tested on the real one.
HAVE_redis-server = command -v redis-server
# OpenAI's JavaScript client is one of the tests' clients.
HAVE_nodejs = command -v node
HAVE_npm = command -v npm

# $(call require,packages): install what is missing, or name the command that does.
define require
@missing=; \
$(foreach package,$(1),$(HAVE_$(package)) >/dev/null 2>&1 || missing="$$missing $(package)";) \
if [ -z "$$missing" ]; then exit 0; fi; \
if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
	echo "The system lacks:$$missing. Install with: sudo apt-get install$$missing" >&2; exit 1; \
fi; \
echo "Installing$$missing"; \
{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y $$missing >/dev/null; } || { \
	echo "Could not install$$missing. Try: apt-get install$$missing" >&2; exit 1; }
endef

test-packages:
	$(call require,ffmpeg espeak-ng nodejs npm postgresql redis-server)

# --- the virtual environment; its stamp carries a hash of what it was made from -------------------

$(STAMP): | $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { \
		echo "CPython 3.11 is needed and $(PYTHON) is not it: name one with make PYTHON=/path/to/python3.11." >&2; \
		exit 1; }
	$(call require,python3.11-venv libnuma1)
# Without them the model is not compiled, and slower: no reason to stop.
	-$(call require,g++ python3.11-dev)
	@if ls $(VENV)/.installed-* 2>/dev/null | grep -qv -- '-$(EXTRA)-'; then rm -rf $(VENV); fi
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet $(PIP)
	$(if $(TORCH),$(install_torch))
	$(BIN)/pip install --no-deps --require-hashes -r $(LOCK)
	$(BIN)/pip install -qq --no-deps --no-build-isolation --editable .
	@$(write_ray_defaults)
	@rm -f $(VENV)/.installed-* && touch $@

define install_torch
@$(BIN)/pip install --no-deps $(TORCH) 2>/dev/null \
|| $(BIN)/pip install --no-deps --index-url $(TORCH_INDEX) $(TORCH) \
|| { echo "No CPU build of PyTorch ($(TORCH)): neither your package index nor $(TORCH_INDEX) has it," \
	"or neither can be reached. Name an index that does with make TORCH_INDEX=..." >&2; exit 1; }
endef

# A plain `serve run` in this environment is as closed and as fast as `make run`.
write_ray_defaults = echo 'import multimodal.serving.ray_environment as ray_environment; ray_environment.apply()' \
	> $(VENV)/lib/python3.11/site-packages/multimodal_ray.pth

# --- lock files: their own comments say what is special about each ---------------------------------

TOOLS := $(VENV)/lock
COMPILE = $(TOOLS)/bin/pip-compile --quiet --extra $(EXTRA) --extra dev --strip-extras --generate-hashes --allow-unsafe \
	--no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host -o $(TOOLS)/compiled $(UPGRADE)

lock: ## Pin everything of EXTRA anew, keeping what still fits (UPGRADE=--upgrade: the newest)
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet pip-tools==7.6.2
	cp $(LOCK) $(TOOLS)/compiled
	$(COMPILE) pyproject.toml $(if $(TORCH),|| $(COMPILE) --extra-index-url $(TORCH_INDEX) pyproject.toml)
	@( $(finish_$(EXTRA)_lock) ) > $(TOOLS)/finished
	mv $(TOOLS)/finished $(LOCK)

define finish_cpu_lock
{ sed -n '/^# torch==/d; /^#/p' $(LOCK); \
sed -n 's/^\(torch==[^ ]*\).*/# \1/p' $(TOOLS)/compiled; \
awk '/^#|^$$/ { next } /^[^ ]/ { drop = /^torch(audio|codec)?==/ } !drop' $(TOOLS)/compiled; }
endef

define finish_gpu_lock
if grep '^torch==.*+cpu' $(TOOLS)/compiled >&2; then \
	echo "pip was offered a CPU build of torch: make this lock file without --find-links." >&2; exit 1; \
fi; \
{ sed -n '/^#/p' $(LOCK); grep -v '^#' $(TOOLS)/compiled; }
endef
