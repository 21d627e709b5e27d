# Every target sets up what it needs in .venv; nothing is installed elsewhere.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
C_BUILD := build/c
DEATH_BUILD := build/death
# without pidfd_open and inotify: tests/protocol/test_reaper.py
KERNELS := no-ofd no-tmpfile no-getrandom
SOURCES := $(shell find src meson.build meson.options pyproject.toml -type f)

.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/.tools: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade "pip>=25.1"
	$(BIN)/python -m pip install -q --group build --group test
	touch $@

$(VENV)/.demo: $(VENV)/.tools
	$(BIN)/python -m pip install -q --group demo
	touch $@

$(VENV)/.bench: $(VENV)/.tools
	-$(BIN)/python -m pip install -q --group bench
	touch $@

$(VENV)/.built: $(VENV)/.tools $(SOURCES)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip install -q --no-build-isolation --no-deps --force-reinstall -Cbuild-dir=build/py .
	touch $@

build: $(VENV)/.built  ## build the package into .venv

$(C_BUILD)/build.ninja: $(VENV)/.tools
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/meson setup $(C_BUILD) -Dpython=false -Dtests_c=true --buildtype=debugoptimized

test-c: $(C_BUILD)/build.ninja  ## run the C tests
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/meson test -C $(C_BUILD) --print-errorlogs

$(DEATH_BUILD)/build.ninja: $(VENV)/.tools
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/meson setup $(DEATH_BUILD) -Dpython=false -Dtests_c=true -Ddeath_points=true --buildtype=debugoptimized

test-death: $(DEATH_BUILD)/build.ninja  ## be killed at each step of each operation (ALL=1: and at each of each recovery)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/meson test -C $(DEATH_BUILD) --print-errorlogs $(if $(ALL),--test-args=--all --timeout-multiplier=0)

test-poor: build $(C_BUILD)/build.ninja  ## run C and protocol tests as on kernels that lack something
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/meson test -C $(C_BUILD) --print-errorlogs --suite poor
	for kernel in $(KERNELS); do \
	  $(BIN)/python tests/protocol/seccomp.py $$kernel $(BIN)/python -m pytest -q tests/protocol || exit 1; \
	done

test-python: build $(VENV)/.demo  ## run the Python tests
	$(BIN)/python -m pytest

test: test-c test-death model test-python  ## set up all that is needed and run every test

demo: build $(VENV)/.demo  ## hillshade of a real elevation model, computed in worker processes
	$(BIN)/python examples/hillshade.py

model:  ## check the lifetime protocol with Spin, where it is installed
	tests/model/run

bench: build $(VENV)/.bench  ## measure beside multiprocessing.shared_memory and SharedArray
	$(BIN)/python benchmarks/first_figures.py

clean:  ## remove everything that was built
	rm -rf build $(VENV)

.PHONY: help build test-c test-death test-poor test-python test demo model bench clean
