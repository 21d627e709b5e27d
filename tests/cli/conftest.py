"""Makers of segments, in families of their own: the tests' own process would reclaim."""

import secrets
import signal

import pytest
from protocol.processes import Processes, environment

from .commands import MAKER


@pytest.fixture
def processes(time_limit):
    """Starts processes; none of them outlives the test."""
    processes = Processes()
    yield processes
    processes.close()


@pytest.fixture
def make(processes, name, backend):
    """Start a program with an array of the test's name; it is 'mapped', 'sent' or 'persistent'."""

    def make(kind="mapped", name=name, backend=backend):
        family = f"test-{secrets.token_hex(8)}"
        program = processes.program(MAKER, name, backend, kind, environ=environment(family))
        assert program.hear() == "ready"
        return program

    return make


@pytest.fixture
def stale(make, name):
    """The name of an array whose only user was killed."""
    kill(make())
    return name


def kill(program):
    program.send_signal(signal.SIGKILL)
    program.wait()
