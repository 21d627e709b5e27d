"""Sub-interpreters are refused clearly, and free-threaded Python gets its GIL back."""

from __future__ import annotations

import subprocess
import sys
import sysconfig

import pytest

# Run in processes of their own: what is loaded in an interpreter cannot be unloaded.
PROBE = """
import sys
{before}
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
    shared, own = dict(isolated=False), dict(isolated=True)
    make = lambda options: interpreters.create(**options)
    run = interpreters.run_string
else:
    make = lambda kind: interpreters.create(kind)
    shared, own = "legacy", "isolated"
    def run(interpreter, code):
        failure = interpreters.run_string(interpreter, code)
        if failure is not None:
            raise RuntimeError(failure.formatted)
try:
    run(make({options}), "import sharedmem")
except Exception as error:
    print(error)
else:
    print("imported")
import sharedmem
print(sharedmem.ones(3).sum())
"""


@pytest.mark.parametrize("before", ["", "import sharedmem"], ids=["first", "second"])
@pytest.mark.parametrize("options", ["shared", "own"])
def test_sub_interpreter_is_refused(options: str, before: str) -> None:
    """The import says what to do, whichever lock the interpreter has, and the main one imports as ever."""
    pytest.importorskip("_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters")
    probe = PROBE.format(options=options, before=before)
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    refusal, total = done.stdout.splitlines()
    assert "ImportError" in refusal and "main interpreter only" in refusal and "use processes" in refusal
    assert total == "3.0"


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="Python with a GIL")
def test_free_threaded_python_gets_its_gil_back() -> None:
    """The extension does not claim to work without the GIL, so CPython turns it on, with a warning."""
    code = "import sys, sharedmem; print(sys._is_gil_enabled())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "True\n")
    assert "RuntimeWarning" in done.stderr and "GIL" in done.stderr
