"""What a worker keeps of the memory that its function frees, counted in page faults."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

SCRIPT = """
import resource
import numpy as np
import sharedmem

def faults(i):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    some = [np.ones(2**20) for _ in range(4)]  # of 8 MB, as temporaries of one expression
    del some
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with sharedmem.MapReduce(np=1) as pool:
    print(pool.map(faults, range(6))[-1])
"""

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library")


def faults_of_last_item(**environment: str) -> int:
    """In a process of its own: malloc adapts itself to what a process has freed before."""
    named = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-W", "error", "-c", SCRIPT]
    done = subprocess.run(
        command, env=named | environment, capture_output=True, text=True, check=True, timeout=90
    )
    return int(done.stdout)


def test_pages_of_temporaries_are_made_once() -> None:
    """The temporaries of a later item lie in the pages of those before."""
    assert faults_of_last_item() < 100


def test_environment_is_followed() -> None:
    """Where the user says what malloc is to do, it does that."""
    assert faults_of_last_item(MALLOC_MMAP_THRESHOLD_="131072") > 100
