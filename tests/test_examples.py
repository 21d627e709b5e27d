"""The examples run, and C and Python see the same arrays."""

from __future__ import annotations

import glob
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import sharedmem

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
COMPILER = shutil.which("cc") or shutil.which("gcc")


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr + done.stdout
    return done.stdout


@pytest.mark.parametrize("script", ["two_processes.py", "process_pool.py"])
def test_script_runs(script: str, tmp_path: Path) -> None:
    """A short script ends in order, without a warning."""
    assert run(sys.executable, "-W", "error", EXAMPLES / script, cwd=tmp_path)


def test_unrelated_programs_meet_by_name(tmp_path: Path) -> None:
    """The writer ends when the reader, which shares nothing with it but a name, has read."""
    command = [sys.executable, "-W", "error", EXAMPLES / "unrelated_writer.py"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as writer:
        assert writer.stdout is not None
        assert "readings" in writer.stdout.readline()
        assert run(sys.executable, "-W", "error", EXAMPLES / "unrelated_reader.py", cwd=tmp_path)
        assert "taken" in writer.stdout.read()
    assert writer.returncode == 0


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_hillshade_by_workers_is_the_serial_one(method: str, tmp_path: Path) -> None:
    """The demo's workers compute what one process does, and leave nothing."""
    pytest.importorskip("matplotlib")
    picture = tmp_path / "hillshade.png"
    printed = run(
        sys.executable, EXAMPLES / "hillshade.py", "--scale", "3", "--start-method", method,
        "--out", picture, cwd=tmp_path,
    )  # fmt: skip
    assert "equal" in printed and "nothing" in printed
    assert picture.stat().st_size > 10_000


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The C example, built as C99 with the installed header and the core's sources."""
    if COMPILER is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("c")
    core = folder / "core.o"
    # The reaper is a program of its own.
    sources = sorted(set(glob.glob(str(ROOT / "src/c/*/*.c"))) - {str(ROOT / "src/c/reaper/reaper.c")})
    includes = ["-I", str(ROOT / "src/c"), "-I", str(ROOT / "src/c/include")]
    run(COMPILER, "-std=c11", "-O1", "-D_GNU_SOURCE", *includes, "-r", "-nostdlib", "-o", core, *sources)
    run(
        COMPILER, "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror",
        "-I", sharedmem.get_include(), "-o", folder / "named_array",
        EXAMPLES / "c" / "named_array.c", core, "-lpthread",
    )  # fmt: skip
    yield folder / "named_array"


def test_python_attaches_what_a_c_program_made(program: Path) -> None:
    """Shape, dtype and values made in C are there in Python, and changes go back."""
    with subprocess.Popen(
        [program, "create", "from-c"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as c:
        assert c.stdin is not None and c.stdout is not None
        assert c.stdout.readline()
        array = sharedmem.attach("from-c")
        assert array.dtype == np.dtype("<f8")
        assert np.array_equal(array, np.arange(12.0).reshape(3, 4))
        c.communicate("\n")
    assert c.returncode == 0
    assert array.sum() == 66
    del array
    assert not sharedmem.exists("from-c")


def test_c_program_attaches_what_python_made(program: Path, backend: str) -> None:
    """A C program sums and scales an array made in Python."""
    array = sharedmem.copy(np.arange(12.0).reshape(3, 4), name="from-python", backend=backend)
    assert "66" in run(program, "sum", "from-python")
    run(program, "scale", "from-python", "2")
    assert array.sum() == 132


def test_c_program_says_what_is_wrong(program: Path) -> None:
    """An error of the C program names the cause and what to do."""
    done = subprocess.run([program, "sum", "nobody-made-this"], capture_output=True, text=True)
    assert done.returncode != 0
    assert "no segment of this name" in done.stderr
