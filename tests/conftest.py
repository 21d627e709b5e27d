"""Both backends, all start methods, a time limit. That no test leaves anything
behind is seen to by sharedmem's own plugin, which pyproject.toml switches on."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import signal
from collections.abc import Iterator

import pytest

# Unless it is asked for, nobody frees behind the back of a test that shows who does.
os.environ.setdefault("SHAREDMEM_REAPER", "0")

BACKENDS = ("posix", "sysv")
START_METHODS = ("fork", "spawn", "forkserver")
# Seconds; reached only in a deadlock. Instrumented code is given more (make asan-python).
TIME_LIMIT = 100 * int(os.environ.get("TEST_PATIENCE", "1"))

pytest_plugins = ["nose_shim", "pytester"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--start-method", choices=START_METHODS, help="multiprocessing's default for this run"
    )


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts what runs in the background deaf to ^C, and so would be what tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    method = config.getoption("--start-method")
    if method:
        multiprocessing.set_start_method(method)
    # pytest's faulthandler has a thread of its own, which is why every fork would warn.
    config.addinivalue_line("filterwarnings", "ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture(params=[pytest.param(each, marks=pytest.mark.contract) for each in BACKENDS])
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend in turn."""
    return request.param


@pytest.fixture(params=START_METHODS)
def start_method(request: pytest.FixtureRequest) -> str:
    """Each of multiprocessing's start methods in turn."""
    return request.param


@pytest.fixture
def name() -> str:
    """A name that no segment has."""
    return f"test-{secrets.token_hex(8)}"


@pytest.fixture(autouse=True)
def time_limit() -> Iterator[None]:
    """Turn a deadlock into a failure, whatever the test is waiting for."""

    def give_up(signum: int, frame: object) -> None:
        raise TimeoutError(f"not done within {TIME_LIMIT} s")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(TIME_LIMIT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)
