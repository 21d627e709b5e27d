"""CPython's own tests of process pools pass with our class in the place of the standard library's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import run

pytest.importorskip(
    "test.test_concurrent_futures.util", reason="this Python comes without that package of tests"
)


@pytest.mark.parametrize("module", run.MODULES)
def test_cpythons_own(module: str, start_method: str) -> None:
    """All of a module but what `run.EXCLUDED` names with a reason."""
    pytest.importorskip("cloudpickle")
    if module == "thread_pool" and start_method != "fork":
        pytest.skip("its one process pool forks")
    command = [sys.executable, str(Path(run.__file__)), "--method", start_method, module]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
