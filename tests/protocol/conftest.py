"""Fixtures for tests with real processes."""

import os
import secrets
import signal
import sys
from pathlib import Path

import pytest

from .processes import DEATHS, Processes

# Spawned workers import the test modules by name, from the path they are told.
sys.path.append(str(Path(__file__).parents[1]))

# Seconds; reached only in a deadlock. Instrumented code is given more (make asan-python).
TIME_LIMIT = 60 * int(os.environ.get("TEST_PATIENCE", "1"))


@pytest.fixture(autouse=True)
def time_limit():
    """Turn a deadlock into a failure, whatever the test is waiting for."""

    def give_up(signum, frame):
        raise TimeoutError(f"not done within {TIME_LIMIT} s")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(TIME_LIMIT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


@pytest.fixture
def processes(time_limit):
    """Starts processes; none of them outlives the test."""
    processes = Processes()
    yield processes
    processes.close()


@pytest.fixture
def name():
    """A name that no segment has."""
    return f"test-{secrets.token_hex(8)}"


@pytest.fixture
def family():
    """A name for a family other than this process's own."""
    return f"test-{secrets.token_hex(8)}"


@pytest.fixture(params=DEATHS, ids=lambda death: death.__name__)
def death(request):
    """A way to end without cleaning up."""
    return request.param
