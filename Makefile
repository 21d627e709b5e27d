# Every target sets up what it needs in .venv; nothing is installed elsewhere.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
C_BUILD := build/c
CLANG_BUILD := build/clang
I686_BUILD := build/i686
DEATH_BUILD := build/death
SCHEDULE_BUILD := build/schedule
SCHEDULE := $(SCHEDULE_BUILD)/tests/schedule/schedule
ASAN_BUILD := build/asan
ASAN_SITE := build/asan-site
TSAN_BUILD := build/tsan
# each is a filter of tests/protocol/seccomp.py
KERNELS := no-tmpfile no-ofd no-getrandom no-pidfd no-inotify no-populate no-collapse no-fallocate
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

$(VENV)/.interop: $(VENV)/.tools
	$(BIN)/python -m pip install -q --group interop
	touch $@

$(VENV)/.docs: $(VENV)/.tools
	$(BIN)/python -m pip install -q --group docs
	touch $@

$(VENV)/.bench: $(VENV)/.tools
	-$(BIN)/python -m pip install -q --group bench
	touch $@

$(VENV)/.lint: $(VENV)/.tools
	-$(BIN)/python -m pip install -q --group lint
	touch $@

$(VENV)/.wheel: $(VENV)/.tools
	$(BIN)/python -m pip install -q --group wheel
	touch $@

$(VENV)/.built: $(VENV)/.tools $(SOURCES)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip install -q --no-build-isolation --no-deps --force-reinstall -Cbuild-dir=build/py .
	touch $@

build: $(VENV)/.built  ## build the package into .venv

$(C_BUILD)/build.ninja: $(VENV)/.tools
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/meson setup --werror $(C_BUILD) -Dpython=false -Dtests_c=true --buildtype=debugoptimized

test-c: $(C_BUILD)/build.ninja  ## run the C tests
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/meson test -C $(C_BUILD) --print-errorlogs --no-suite poor-long

test-clang: $(VENV)/.tools  ## run the C tests of a build by clang, where there is clang
	@if command -v clang >/dev/null; then \
	  PATH="$(CURDIR)/$(BIN):$$PATH" CC=clang CXX=clang++ && export PATH CC CXX && \
	  { test -e $(CLANG_BUILD)/build.ninja || meson setup --werror $(CLANG_BUILD) -Dpython=false -Dtests_c=true --buildtype=debugoptimized; } && \
	  meson test -C $(CLANG_BUILD) --print-errorlogs; \
	else echo "skipped: the build by clang (no clang here)"; fi

# -Wconversion there finds each size that 32 bits do not hold.
test-32: $(VENV)/.tools  ## run the C tests of a build for 32 bits, where gcc can make one
	@if echo 'int main(void) { return 0; }' | gcc -m32 -xc - -o /dev/null 2>/dev/null; then \
	  PATH="$(CURDIR)/$(BIN):$$PATH" && export PATH && \
	  { test -e $(I686_BUILD)/build.ninja || meson setup --werror $(I686_BUILD) --native-file tests/c/i686.ini -Dpython=false -Dtests_c=true --buildtype=debugoptimized; } && \
	  meson test -C $(I686_BUILD) --print-errorlogs --no-suite long; \
	else echo "skipped: the build for 32 bits (no gcc-multilib here)"; fi

$(DEATH_BUILD)/build.ninja: $(VENV)/.tools
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/meson setup --werror $(DEATH_BUILD) -Dpython=false -Dtests_c=true -Ddeath_points=true --buildtype=debugoptimized

test-death: $(DEATH_BUILD)/build.ninja  ## be killed at each step of each operation (ALL=1: and at each of each recovery)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/meson test -C $(DEATH_BUILD) --print-errorlogs --no-suite poor-long $(if $(ALL),--test-args=--all --timeout-multiplier=0)

test-poor: build $(C_BUILD)/build.ninja $(DEATH_BUILD)/build.ninja  ## run contract and protocol tests as on kernels that lack something (test-c has a short form)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/meson test -C $(C_BUILD) --print-errorlogs --suite poor --suite poor-long
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/meson test -C $(DEATH_BUILD) --print-errorlogs --suite poor-long
	for kernel in $(KERNELS); do \
	  echo "$$kernel:"; \
	  $(BIN)/python tests/protocol/seccomp.py $$kernel $(BIN)/python -m pytest -q tests/contract tests/protocol || exit 1; \
	done

$(SCHEDULE_BUILD)/build.ninja: $(VENV)/.tools
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/meson setup --werror $(SCHEDULE_BUILD) -Dpython=false -Dtests_c=true -Dschedules=true --buildtype=debugoptimized

IN_NAMESPACES = unshare $(if $(filter 0,$(shell id -u)),,--user --map-root-user) --mount --ipc --pid --fork --mount-proc sh -c 'mount -t tmpfs tmpfs /dev/shm && "$$@"' in-namespaces

schedule-program: $(SCHEDULE_BUILD)/build.ninja
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/meson compile -C $(SCHEDULE_BUILD) schedule

schedules: schedule-program  ## real processes, one step at a time (SEEDS=FIRST:COUNT FLAGS="--scene NAME | --trace | --seconds N | --repeat")
	$(IN_NAMESPACES) $(SCHEDULE) --seeds $(or $(SEEDS),1:3000) $(FLAGS)

# Seeds that nobody had: a run that fails says which one it was, and SEEDS repeats it.
test-schedules: schedule-program  ## all schedules that ever found a fault, and new ones (SECONDS=26 a scene)
	$(IN_NAMESPACES) tests/schedule/interrupt $(SCHEDULE)
	$(IN_NAMESPACES) $(SCHEDULE) --list tests/schedule/found.txt
	for scene in lifetime flight names locks conditions queue tickets; do \
	  $(IN_NAMESPACES) $(SCHEDULE) --scene $$scene --seeds $$(date +%s)000:1000000 --seconds $(or $(SECONDS),26) || exit 1; \
	done

schedule-faults: $(VENV)/.tools  ## does the scheduler find each of a dozen faults? (FLAGS="--schedules N | NAME")
	$(IN_NAMESPACES) $(BIN)/python tests/schedule/faults.py $(FLAGS)

$(ASAN_BUILD)/build.ninja: $(VENV)/.tools
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/meson setup --werror $(ASAN_BUILD) -Dpython=false -Dtests_c=true --buildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false

# The errno tables fork for each of thousands of faults: minutes, with sanitizers.
asan: $(ASAN_BUILD)/build.ninja  ## the C tests with AddressSanitizer and UBSan (SHORT=1: without the long ones)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/meson test -C $(ASAN_BUILD) --print-errorlogs --timeout-multiplier 4 $(if $(SHORT),--no-suite long)

asan-short:
	$(MAKE) asan SHORT=1

$(ASAN_SITE)/.built: $(VENV)/.tools $(SOURCES)
	rm -rf $(ASAN_SITE)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip install -q --no-build-isolation --no-deps --target $(ASAN_SITE) -Cbuild-dir=build/asan-py -Csetup-args=-Db_sanitize=address,undefined -Csetup-args=-Db_lundef=false -Csetup-args=-Dbuildtype=debugoptimized .
	touch $@

# The interpreter was built without: the run-time libraries go first. It never frees what
# it interned and imported, so leaks are looked for in the C tests only. SIGSEGV and SIGABRT
# are what some tests wait for.
ASAN_PYTHON = LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so) $$($(CC) -print-file-name=libstdc++.so)" \
  ASAN_OPTIONS=detect_leaks=0:halt_on_error=1:abort_on_error=1:handle_segv=0:handle_abort=0:allocator_may_return_null=1 \
  UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
  PYTHONMALLOC=malloc PYTHONPATH="$(CURDIR)/$(ASAN_SITE)"

asan-python: build $(VENV)/.demo $(ASAN_SITE)/.built  ## the Python tests with AddressSanitizer and UBSan (TESTS=: some of them)
	$(ASAN_PYTHON) TEST_PATIENCE=10 $(BIN)/python -m pytest -o faulthandler_timeout=1200 \
	  --deselect tests/cli/test_terminal.py::test_table_on_a_terminal $(TESTS)  # it hides packages by PYTHONPATH

# It knows no fences: those there are order the words of a frame for other processes.
$(TSAN_BUILD)/build.ninja: $(VENV)/.tools
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/meson setup --werror $(TSAN_BUILD) -Dpython=false -Dtests_c=true --buildtype=debugoptimized -Db_sanitize=thread -Db_lundef=false -Dc_args=-Wno-error=tsan

# A forked child has no threads but its own, and makes the locks anew that its parent
# held for the fork: it would be told of leaked threads and of misused locks.
tsan: $(TSAN_BUILD)/build.ninja  ## the C tests with ThreadSanitizer
	PATH="$(CURDIR)/$(BIN):$$PATH" TSAN_OPTIONS=halt_on_error=1:report_thread_leaks=0:report_mutex_bugs=0 $(BIN)/meson test -C $(TSAN_BUILD) --print-errorlogs --timeout-multiplier 4 --no-suite long

memcheck: $(C_BUILD)/build.ninja  ## the C tests in valgrind, where it is found
	@if command -v valgrind >/dev/null; then \
	  PATH="$(CURDIR)/$(BIN):$$PATH" SMEM_TEST_VALGRIND=1 && export PATH SMEM_TEST_VALGRIND && \
	  meson test -C $(C_BUILD) --print-errorlogs --timeout-multiplier 4 --no-suite long \
	    --wrap='valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite'; \
	else echo "skipped: memcheck (no valgrind here)"; fi

STORM = cd tests && ../$(BIN)/python -m storm

storm: build  ## many processes that share and kill each other (SECONDS=60 SEED=1 FLAGS="--vanish | --warm")
	$(STORM) --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1) $(FLAGS)

# 77: no namespaces of its own to be had here
test-storm: build  ## a minute of both storms
	$(STORM) --seconds 40 || [ $$? = 77 ]
	$(STORM) --seconds 20 --warm || [ $$? = 77 ]

test-python: build $(VENV)/.demo $(VENV)/.interop  ## run the Python tests
	$(BIN)/python -m pytest

# Each of the two uses one processor.
model-and-schedules:
	$(MAKE) -j2 --output-sync=target model test-schedules

test: test-c test-death model-and-schedules asan-short test-storm test-python  ## set up all that is needed and run every test

test-all: $(VENV)/.tools  ## run the Python tests on every Python, NumPy and start method
	$(BIN)/python tests/matrix.py

lint: build $(VENV)/.lint  ## run every linter that is found
	$(BIN)/python tests/lint.py

lint-fast: build $(VENV)/.lint  ## the linters that compile no C
	$(BIN)/python tests/lint.py --fast

wheel: $(VENV)/.wheel  ## build a manylinux wheel into dist and test it outside the tree
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/wheel.py

demo: build $(VENV)/.demo  ## hillshade of a real elevation model, computed in worker processes
	$(BIN)/python examples/hillshade.py

pictures: build  ## draw the pictures of the command line's output again
	unshare -rmipf --mount-proc sh -c 'mount -t tmpfs tmpfs /dev/shm && $(BIN)/python doc/images/make.py'

model:  ## check the lifetime protocol with Spin, where it is installed
	tests/model/run

model-long:  ## the same with one operation more in each scene: long
	tests/model/run --long

bench: build $(VENV)/.bench  ## measure beside peers, and renew the figures of README and documentation
	$(BIN)/python benchmarks/run.py

bench-quick: build $(VENV)/.bench  ## fewer rounds and cases; writes build/bench/figures.json only
	$(BIN)/python benchmarks/run.py --quick

# asv keeps what it knows of the machine in the home directory.
ASV = HOME="$(CURDIR)/build/asv" $(CURDIR)/$(BIN)/asv
bench-asv: build $(VENV)/.bench  ## run our own cases once each in asv, with the package in .venv
	mkdir -p build/asv
	cd benchmarks && $(ASV) machine --yes
	cd benchmarks && $(ASV) check -E existing:$(CURDIR)/$(BIN)/python
	cd benchmarks && $(ASV) run --quick --dry-run --show-stderr -E existing:$(CURDIR)/$(BIN)/python

docs: build $(VENV)/.docs  ## build the documentation into build/docs, warnings being errors
	$(BIN)/python -m sphinx -E -W --keep-going -n -q -d build/doctrees doc build/docs

clean:  ## remove everything that was built
	rm -rf build $(VENV)

.PHONY: help build schedule-program schedules test-schedules schedule-faults model-and-schedules storm test-storm test-c test-32 test-death asan asan-short tsan memcheck test-clang test-python test test-all lint lint-fast wheel demo pictures model bench bench-quick bench-asv docs clean model-long asan-python test-poor
