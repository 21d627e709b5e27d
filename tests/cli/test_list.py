"""`list` and `show` say what there is, and change nothing by it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import sharedmem

from .commands import COMMAND, document, output, refusal, run, segments
from .conftest import kill

# ---- list ------------------------------------------------------------------

FIELDS = {
    "name": str,
    "backend": str,
    "dtype": str,
    "shape": list,
    "nbytes": int,
    "size": int,
    "status": str,
    "mapped": bool,
    "persistent": bool,
    "holders": list,
    "tickets": int,
    "pins": int,
    "voided": int,
    "oldest_ticket": (int, type(None)),
    "created": int,
    "owner": int,
    "permissions": str,
    "kernel_id": int,
    "nonce": str,
}


def test_mapped(make, name, backend):
    """A segment in use is listed with all its facts and the one process that maps it."""
    program = make()
    row = segments()[name]
    assert {field: type(row[field]) for field in row}.keys() == FIELDS.keys()
    assert all(isinstance(row[field], kind) for field, kind in FIELDS.items())
    assert [holder["pid"] for holder in row["holders"]] == [program.pid]
    assert row["holders"][0]["command"].startswith("python")
    expected = {"backend": backend, "dtype": "float64", "shape": [3, 4], "nbytes": 96}
    expected |= {"status": "mapped", "mapped": True, "tickets": 0, "permissions": "0600"}
    assert row | expected == row
    program.end()
    assert name not in segments()


@pytest.mark.parametrize(
    ("kind", "status"), [("mapped", "stale"), ("sent", "stale"), ("persistent", "persistent")]
)
def test_after_sigkill(make, name, kind, status):
    """What only a killed process could reach is stale, and stays so however often it is looked at."""
    kill(make(kind))
    for _ in range(2):
        row = segments()[name]
        assert (row["status"], row["mapped"], row["holders"]) == (status, False, [])
    assert row["voided"] == (kind == "sent")
    document("clean", "--yes")
    if status == "persistent":
        output("unlink", name)
    assert name not in segments()


def test_in_flight(make, name):
    """A segment that only a ticket keeps is in flight, and its age is told."""
    program = make("sent")
    row = segments()[name]
    assert (row["status"], row["tickets"], row["mapped"]) == ("in flight", 1, False)
    assert row["oldest_ticket"] >= row["created"]
    assert "in flight  1 (" in output("list")
    program.end()


def test_one_backend(make, name, backend):
    """`--backend` lists that backend only."""
    program = make()
    other = {"posix": "sysv", "sysv": "posix"}[backend]
    assert name in output("list", "--backend", backend)
    assert name not in output("list", "--backend", other)
    program.end()


def test_table(make, name):
    """Every column of the table stands in the help, and the row under its head."""
    program = make()
    head, row = output("list").splitlines()[:2]
    titles = ["NAME", "BACKEND", "DTYPE", "SHAPE", "SIZE", "STATUS", "TICKETS", "MAPPED BY"]
    assert [title for title in titles if title in head] == titles
    text = output("list", "--help")
    assert all(f"  {title} " in text for title in titles)
    assert row.index("float64") == head.index("DTYPE") and row.index("mapped") == head.index("STATUS")
    assert row.split()[-1] == str(program.pid)
    program.end()


def test_nothing_to_list():
    """Without segments there is a word of it, and an empty list as JSON."""
    assert output("list") == "no segments\n"
    assert document("list") == {"segments": []}


def test_the_command_is_no_participant(processes):
    """It joins no family and frees nothing by being imported, however it is started."""
    code = "import sharedmem, sys; sys.stdout.write(repr(sharedmem.family()))"
    for argv in ("['-m']", "['/usr/bin/sharedmem']"):
        source = f"import sys; sys.argv = {argv}; sys.orig_argv = ['python', 'sharedmem']; {code}"
        done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("''", "")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == repr(sharedmem.family())


def test_control_characters(processes):
    """A name with escape sequences reaches the terminal escaped, and JSON whole."""
    name = "\x1b[31mred\nline\u202e"
    with sharedmem.zeros(3, name=name):
        text = output("list")
        assert "\x1b" not in text and "\u202e" not in text
        assert "\\x1b[31mred\\nline\\u202e" in text
        assert name in segments()
        assert "\x1b" not in output("show", name)
        assert name not in output("names")


# Buffered output is written when the command ends.
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def test_reader_that_ends_early(make):
    """`sharedmem list | head -0` ends without a word."""
    program = make()
    command = subprocess.Popen(
        [*COMMAND, "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=BUFFERED
    )
    command.stdout.close()
    assert command.stderr.read() == b""
    command.stderr.close()
    assert command.wait() == 0
    program.end()


def test_full_disk():
    """Output that cannot be written is an error in one line."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "list"], stdout=full, stderr=subprocess.PIPE, text=True, env=BUFFERED
        )
    assert (done.returncode, done.stderr) == (1, "sharedmem: No space left on device\n")


def test_what_is_imported():
    """Looking at segments imports nothing that takes long beside NumPy and the library."""
    source = "import sys; sys.argv = ['sharedmem']; from sharedmem.cli import main; main(['list']); "
    source += "print(*{'rich', 'matplotlib', 'pydoc', 'unittest', 'asyncio'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "", done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["list", "--nonsense"],
        ["list", "--js"],
        ["list", "--backend", "memfd"],
        ["show"],
        ["show", "x", "--values", "-1"],
        ["watch", "--interval", "0"],
        ["watch", "--interval", "nan"],
        ["watch", "--interval", "x"],
        ["show", "x", "--values", "x"],
        ["completion", "fish"],
        ["show", "x", "--json", "--plot"],
        ["clean", "--user", "no such user"],
    ],
)
def test_usage(arguments):
    """Wrong usage is exit code 2 and a text on stderr."""
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr
    assert "Traceback" not in done.stderr and "invalid _" not in done.stderr


def test_unknown_command():
    """The commands that an error lists are those that the help lists."""
    done = run("frob")
    assert done.returncode == 2 and "'frob'" in done.stderr
    assert "list" in done.stderr and "names" not in done.stderr
    assert run("names").returncode == 0


# ---- show ------------------------------------------------------------------

RECORD = [("x", "f8"), ("when", "M8[s]"), ("tag", "S3"), ("grid", "i2", (2, 2))]
NAN = np.nan
ARRAYS = {
    "float64": (np.array([3.0, NAN, 1.0, np.inf]), (1.0, "inf", "inf", 1), [3.0, None, 1.0, "inf"]),
    "all NaN": (np.full(3, NAN), (None, None, None, 3), [None] * 3),
    "bool": (np.array([True, False]), (False, True, 0.5, 0), [True, False]),
    "int64": (np.array([2**63 - 1, -5]), (-5, 2**63 - 1, 2.0**62, 0), [2**63 - 1, -5]),
    "float16": (np.full(100_000, 7, "f2"), (7.0, 7.0, 7.0, 0), [7.0] * 8),
    "complex": (np.array([3 + 4j, 0]), (0.0, 5.0, [1.5, 2.0], 0), [[3.0, 4.0], [0.0, 0.0]]),
    "datetime": (
        np.array(["2020-01-02", "NaT"], "M8[D]"),
        ("2020-01-02", "2020-01-02", None, 1),
        ["2020-01-02", None],
    ),
    "text": (np.array(["grün\x1b", ""]), None, ["grün\x1b", ""]),
    "bytes": (np.array([b"ab", b"\xff"]), None, ["ab", "\xff"]),
    "0-d": (np.array(7), (7, 7, 7.0, 0), [7]),
    "empty": (np.zeros((3, 0)), None, []),
    "Fortran": (np.asfortranarray(np.arange(6).reshape(2, 3)), (0, 5, 2.5, 0), [0, 1, 2, 3, 4, 5]),
    "big-endian": (np.array([1, 2], ">i4"), (1, 2, 1.5, 0), [1, 2]),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_values_of(kind, name):
    """Range and values of an array are exact; what is missing is counted and does not count."""
    values, expected, first = ARRAYS[kind]
    with sharedmem.copy(values, name=name):
        found = document("show", name)
        text = output("show", name)
    statistics = found["statistics"].get("")
    assert (statistics and tuple(statistics.values())) == expected
    assert found["values"] == first
    assert found["shape"] == list(values.shape) and found["dtype"] == str(values.dtype)
    assert found["order"] == ("F" if kind == "Fortran" else "C")
    assert found["strides"] == list(values.strides) or values.size == 0
    assert "\x1b" not in text and f"name         {name}\n" in text


def test_records(name):
    """Each field of a record has a range of its own; values are shown as far as asked for."""
    with sharedmem.zeros(5, RECORD, name=name) as records:
        records["x"][:] = range(5)
        found = document("show", name, "--values", 1)
        text = output("show", name, "--values", 0)
    assert set(found["statistics"]) == {"x", "when", "grid"}
    assert found["statistics"]["x"] == {"min": 0.0, "max": 4.0, "mean": 2.0, "missing": 0}
    assert len(found["values"]) == 1 and "values" not in text
    assert "range x      0 to 4, mean 2\n" in text


def test_view_of_another_order(name):
    """An array that is neither in C's nor in Fortran's order is walked as it lies."""
    source = np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2)
    with sharedmem.copy(source, name=name):
        found = document("show", name)
    assert found["order"] == "strided" and found["statistics"][""]["max"] == 23
    assert found["values"] == source.flat[:8].tolist()


def test_holders_and_flight(make, name):
    """The processes that map a segment are shown with what was typed to start them."""
    program = make()
    text = output("show", name)
    assert f"mapped by    {program.pid} {sys.executable}" in text
    assert "in flight    nothing\n" in text and "family alive" in text
    program.end()


def test_show_leaves_the_stale(stale):
    """What nobody can reach any more can be shown, and is still there then."""
    for _ in range(2):
        found = document("show", stale)
        assert found["status"] == "stale" and found["values"] == list(range(8))
        assert not found["family_alive"]
    document("clean", "--yes")


def test_show_without_segment(name):
    """A name that does not exist is exit code 1 and says so."""
    assert f"{name}: no segment of this name exists" in refusal("show", name)


def test_read_only(make, name):
    """The user of an array may write while it is shown: nothing of it is locked or changed."""
    program = make()
    before = json.dumps(document("show", name))
    assert json.dumps(document("show", name)) == before
    program.end()


def test_what_the_library_has_for_itself(name):
    """Locks and queues that nobody named are shown with --all only; what users named always."""
    own = sharedmem.Lock(), sharedmem.Event(), sharedmem.Queue()
    named = sharedmem.Lock(name=name), sharedmem.zeros(3, name=f"{name}-array"), sharedmem.zeros(3)
    shown = {each["name"] for each in document("list")["segments"]}
    assert shown >= {each.name for each in named}
    assert not shown & {each.name for each in own}
    assert {each.name for each in (*own, *named)} <= segments().keys()
    assert "3 of the library's own not shown (--all)" in output("list")
    listed = {info.name for info in sharedmem.list_segments()}
    assert listed >= {each.name for each in named} and not listed & {each.name for each in own}


IDLE = """
import sys
import sharedmem
array = sharedmem.zeros(1000)
name = array.name
del array
print(name, flush=True)
sys.stdin.readline()
"""


def test_idle(processes):
    """What a process keeps for its next array is shown as idle, under a name that nobody was told."""
    environ = {**os.environ, "SHAREDMEM_CACHE": "1000000", "SHAREDMEM_FAMILY": "test-idle"}
    program = processes.program(IDLE, environ=environ)
    told = program.hear()
    (row,) = (row for row in segments().values() if row["status"] == "idle")
    assert row["name"] != told and row["mapped"]
    assert [holder["pid"] for holder in row["holders"]] == [program.pid]
    assert "1 idle" in output("list") and row["name"] not in output("list")
    assert row["name"] in output("list", "--all")
    program.end()
    assert "idle" not in {row["status"] for row in segments().values()}
