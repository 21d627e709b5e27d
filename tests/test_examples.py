"""The examples run, and C and Python see the same arrays."""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sharedmem

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
COMPILER = shutil.which("cc") or shutil.which("gcc")


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """What a program prints that ends in order and in silence.

    It has a family of its own, as one started from a shell: what its pools ended with
    in flight goes with it.
    """
    environment = os.environ | {"SHAREDMEM_FAMILY": f"test-{secrets.token_hex(8)}"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=90, env=environment)
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


def test_integration_has_three_equal_sums(tmp_path: Path) -> None:
    """The array that workers fill, what they add up and what they return: x over [0, 1) is 1/2."""
    printed = run(sys.executable, "-W", "error", EXAMPLES / "integrate.py", "3000000", cwd=tmp_path)
    assert [line.split()[-1] for line in printed.splitlines()] == ["0.500000"] * 3


def test_words_are_counted_as_without_workers(tmp_path: Path) -> None:
    """A given text, and the one that comes with Python."""
    text = tmp_path / "text"
    text.write_text("the statement is. the end\n" * 1000 + "sharedmem\n", "utf-8")
    script = EXAMPLES / "wordcount.py"
    printed = run(sys.executable, "-W", "error", script, text, cwd=tmp_path).split()
    assert printed == ["the", "2000", "statement", "1000", "object", "0", "sharedmem", "1"]
    printed = run(sys.executable, "-W", "error", script, cwd=tmp_path).split()
    assert int(printed[1]) > 1000


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


# ---- tutorial ----------------------------------------------------------------

TUTORIAL = EXAMPLES / "tutorial"
START_METHODS = ["fork", "spawn", "forkserver"]


@pytest.mark.parametrize("script", ["old_way", "first_array", "workers"])
def test_tutorial_prints_what_it_shows(script: str, tmp_path: Path) -> None:
    """The output that the tutorial shows, kept beside the script, is what it prints."""
    shown = (TUTORIAL / f"{script}.txt").read_text("utf-8")
    assert run(sys.executable, "-W", "error", TUTORIAL / f"{script}.py", cwd=tmp_path) == shown


@pytest.mark.parametrize("method", START_METHODS)
def test_tutorial_s_workers_do_not_mind_the_start_method(method: str, tmp_path: Path) -> None:
    """Pool, executor and queue print the same under each start method."""
    shown = (TUTORIAL / "workers.txt").read_text("utf-8")
    assert run(sys.executable, "-W", "error", TUTORIAL / "workers.py", method, cwd=tmp_path) == shown


def test_visitor_attaches_what_the_station_made(tmp_path: Path) -> None:
    """The two programs of the tutorial meet by name; the killed one's array goes."""
    with subprocess.Popen([sys.executable, TUTORIAL / "station.py"], cwd=tmp_path) as station:
        try:
            printed = run(sys.executable, "-W", "error", TUTORIAL / "visitor.py", cwd=tmp_path)
        finally:
            station.kill()
    assert printed == (TUTORIAL / "visitor.txt").read_text("utf-8")
    sharedmem.reclaim()
    assert not sharedmem.exists("tide")


def test_crash_of_the_tutorial_leaves_nothing(tmp_path: Path) -> None:
    """A killed program neither takes an array from others nor keeps one in memory."""
    environment = {name: value for name, value in os.environ.items() if name != "SHAREDMEM_REAPER"}
    command = [sys.executable, "-W", "error", TUTORIAL / "crash.py"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env=environment | {"SHAREDMEM_FAMILY": f"test-{secrets.token_hex(8)}"},
        start_new_session=True,
    ) as crash:
        try:
            printed, _ = crash.communicate(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(crash.pid, signal.SIGKILL)  # its station, if it failed
    assert printed == (TUTORIAL / "crash.txt").read_text("utf-8")
    assert crash.returncode == 0


# ---- moving to other start methods, and from other libraries -------------------

FORKSERVER = EXAMPLES / "forkserver"
LESSONS = {  # what the old way says where there is no fork
    "global": "'NoneType' object is not subscriptable",
    "result": "counted somewhere else",
    "closure": "local object 'main.<locals>.brighten'",
}


@pytest.mark.parametrize("method", START_METHODS)
@pytest.mark.parametrize("lesson", LESSONS)
def test_after_prints_what_before_did_under_fork(lesson: str, method: str, tmp_path: Path) -> None:
    """The old script works under fork alone; the new one prints the same under any start method."""
    before = [sys.executable, FORKSERVER / f"{lesson}_before.py"]
    wanted = run(*before, "fork", cwd=tmp_path)
    assert (
        run(sys.executable, "-W", "error", FORKSERVER / f"{lesson}_after.py", method, cwd=tmp_path)
        == wanted
    )
    if method != "fork":
        done = subprocess.run(
            [*before, method], capture_output=True, text=True, timeout=60, cwd=tmp_path
        )
        assert done.returncode == 1
        assert LESSONS[lesson] in done.stderr


def test_shared_memory_s_successor_computes_the_same(tmp_path: Path) -> None:
    """The pair of scripts for moving from multiprocessing.shared_memory agrees."""
    scripts = [EXAMPLES / "migration" / f"shared_memory_{when}.py" for when in ("before", "after")]
    before, after = (run(sys.executable, "-W", "error", script, cwd=tmp_path) for script in scripts)
    assert before == after == "[ 0  1  4  9 16 25 36 49 64 81]\n"


def test_joblib_s_workers_write_into_a_shared_array(tmp_path: Path) -> None:
    """Rows go to joblib's workers by name, and results come back through an array."""
    pytest.importorskip("joblib")
    assert (
        run(sys.executable, "-W", "error", EXAMPLES / "joblib_rows.py", cwd=tmp_path)
        == "sum: 799984.0\n"
    )


def test_ranks_of_a_node_fill_one_array(tmp_path: Path) -> None:
    """Each MPI rank writes its row of the array that rank 0 broadcast."""
    pytest.importorskip("mpi4py")
    mpiexec = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if mpiexec is None:
        pytest.skip("no mpiexec")
    printed = run(mpiexec, "-n", "3", sys.executable, EXAMPLES / "mpi_ranks.py", cwd=tmp_path)
    assert printed == "column: [1. 2. 3.]\n"


# ---- C ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
    return folder / "named_array"


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


# ---- frames: a producer in C, viewers in Python, and deaths ---------------------------


@pytest.fixture(scope="module")
def producer(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("frames") / "producer"
    run(
        COMPILER, "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror",
        "-I", sharedmem.get_include(), "-o", out,
        EXAMPLES / "frames" / "producer.c", program.parent / "core.o", "-lpthread",
    )  # fmt: skip
    return out


def test_viewers_and_producer_of_frames_may_be_killed(producer: Path) -> None:
    """A killed viewer is in nobody's way; a killed producer's successor goes on with the same arrays."""

    def start(*command: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(list(command), stdout=subprocess.PIPE, text=True)

    def hear(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.wait()
        return line

    def reach(process: subprocess.Popen[str], number: int) -> int:
        seen = 0
        while seen < number:
            seen = int(hear(process))
        return seen

    viewer = EXAMPLES / "frames" / "viewer.py"
    running = [start(producer, "frames")]
    try:
        assert hear(running[0]) == "from frame 1\n"
        running += [start(sys.executable, viewer, "frames") for _ in range(2)]
        last = max(reach(process, 50) for process in running[1:])
        running[1].kill()
        last = reach(running[2], last + 50)
        running[0].kill()
        running[0].wait()
        running.append(start(producer, "frames"))
        assert int(hear(running[3]).split()[-1]) > last - 1
        reach(running[2], last + 500)
    finally:
        for process in running:
            process.kill()
            process.communicate()
    assert sharedmem.reclaim()[0] >= 0
    assert not sharedmem.exists("frames.head")
