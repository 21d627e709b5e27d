"""CPython's own tests of process pools, with `sharedmem.ProcessPoolExecutor` in the place of its class.

They come with the interpreter (package `test`), where the distribution has not
left them out. cloudpickle has to be installed: where tests submit functions that a
worker cannot import, they expect an error of the future, and without cloudpickle our
`submit` raises it. Arguments are modules of those tests, all if there are none:
``python tests/cpython/run.py --method spawn deadlock wait``.
"""

from __future__ import annotations

import concurrent.futures
import importlib
import importlib.util
import sys
import unittest

import sharedmem

# The tests say `futures.ProcessPoolExecutor` when they are imported, and when they run.
concurrent.futures.ProcessPoolExecutor = sharedmem.ProcessPoolExecutor  # type: ignore[misc]
IN_ITS_PLACE = """if True:
    import concurrent.futures, sharedmem
    concurrent.futures.ProcessPoolExecutor = sharedmem.ProcessPoolExecutor
"""

PACKAGE = "test.test_concurrent_futures"
# test_future has no process pool in it; test_thread_pool has one, which forks.
MODULES = ("as_completed", "deadlock", "init", "process_pool", "shutdown", "thread_pool", "wait")
OF_THREAD_POOL = "test_hang_global_shutdown_lock"
METHODS = ("ProcessPoolForkserver", "ProcessPoolFork", "ProcessPoolSpawn")  # in names of classes

# Not run, and why.
EXCLUDED: dict[str, str] = {}


def replace_in_scripts() -> None:
    """Programs that the tests run have our class, too."""
    shutdown = importlib.import_module(f"{PACKAGE}.test_shutdown")
    run = shutdown.assert_python_ok
    shutdown.assert_python_ok = lambda *args, **how: run(*args[:-1], IN_ITS_PLACE + args[-1], **how)


def tests_of(suite: unittest.TestSuite) -> list[unittest.TestCase]:
    found: list[unittest.TestCase] = []
    for each in suite:
        found += tests_of(each) if isinstance(each, unittest.TestSuite) else [each]
    return found


def select(module: str, method: str | None) -> list[unittest.TestCase]:
    """The tests of a module that use a process pool, by one start method or all."""
    every = tests_of(unittest.defaultTestLoader.loadTestsFromName(f"{PACKAGE}.test_{module}"))
    methods = METHODS if method is None else (f"ProcessPool{method.capitalize()}",)
    chosen = []
    for test in every:
        name = type(test).__name__
        of = next((each for each in METHODS if name.startswith(each)), None)
        # Classes without a method in their names are tests of what is the same for all.
        general = (
            of is None
            and method in (None, "fork")
            and ("ThreadPool" not in name or test.id().endswith(OF_THREAD_POOL))
        )
        if (of in methods or general) and test.id().removeprefix(f"{PACKAGE}.") not in EXCLUDED:
            chosen.append(test)
    return chosen


def main(modules: list[str], method: str | None) -> int:
    replace_in_scripts()
    tests = [test for module in modules for test in select(module, method)]
    done = unittest.TextTestRunner(verbosity=2).run(unittest.TestSuite(tests))
    return 0 if done.wasSuccessful() and done.testsRun else 1


if __name__ == "__main__":
    import argparse

    if importlib.util.find_spec("cloudpickle") is None:
        sys.exit("install cloudpickle: some of these tests submit functions that have to go by value")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", choices=("fork", "spawn", "forkserver"))
    parser.add_argument("modules", nargs="*", default=[])
    chosen = parser.parse_args()
    sys.exit(main(chosen.modules or list(MODULES), chosen.method))
