"""`clean` frees what nobody can reach, says first what it would free, and nothing else."""

import os
import subprocess
import sys

import pytest
from protocol.kernel import held
from protocol.processes import environment

import sharedmem

from .commands import document, output, refusal, run, segments
from .conftest import kill

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
NOBODY = 65534


def test_dry_run_then_done(stale, backend):
    """Without --yes nothing is changed and the exit code is 1; with it the memory is free."""
    before = held()
    found = document("clean", code=1)
    assert [(each["name"], each["freed"]) for each in found["segments"]] == [(stale, False)]
    assert found["dry_run"] and found["families"] == 1
    assert f"{stale}  {backend}" in (text := output("clean", code=1))
    assert "nobody maps it" in text and text.rstrip().endswith("repeat with --yes")
    assert held() == before
    found = document("clean", "--yes")
    assert [(each["name"], each["freed"]) for each in found["segments"]] == [(stale, True)]
    assert not found["dry_run"] and found["families"] == 1 and found["half_made"] == 0
    assert stale not in segments()
    assert output("clean") == "nothing to clean\n"
    assert document("clean") == {"dry_run": True, "segments": [], "half_made": 0, "families": 0}


@pytest.mark.parametrize("kind", ["mapped", "persistent", "sent"])
def test_spares(make, name, kind):
    """What is mapped, persistent or in flight is not touched."""
    program = make(kind)
    assert document("clean")["segments"] == []
    assert document("clean", "--yes")["segments"] == []
    assert name in segments()
    program.end()
    if kind == "persistent":
        output("unlink", name)


@pytest.mark.parametrize("kind", ["mapped", "persistent"])
def test_in_flight_spares(make, name, kind):
    """--in-flight, too, takes nothing that is mapped or persistent."""
    program = make(kind)
    assert document("clean", "--in-flight", "--yes")["segments"] == []
    assert name in segments()
    program.end()
    if kind == "persistent":
        output("unlink", name)


def test_in_flight(make, name):
    """--in-flight takes back what was sent and is still awaited, when nobody maps it."""
    program = make("sent")
    found = document("clean", "--in-flight", code=1)
    assert [each["name"] for each in found["segments"]] == [name]
    assert "not received" in found["segments"][0]["reason"]
    assert name in segments()
    document("clean", "--in-flight", "--yes")
    assert name not in segments()
    program.end()


LOCKER = """
import sys, sharedmem
lock = sharedmem.Lock(name=sys.argv[1], backend=sys.argv[2], persistent=True)
lock.acquire()
print("ready", flush=True)
sys.stdin.readline()
"""


def test_locks(processes, name, backend):
    """--locks says who holds a lock, leaves it to the living, and breaks it when the holder is dead."""
    holder = processes.program(LOCKER, name, backend, environ=environment("locker-" + name))
    assert holder.hear() == "ready"
    lock = {"lock": "in the data, 0", "pid": holder.pid, "state": "alive", "broken": False}
    assert document("clean", "--locks", name, "--yes") == {"dry_run": False, "locks": [lock]}
    assert "no lock to break" in output("clean", "--locks", name)
    kill(holder)
    dead = {**lock, "state": "dead"}
    assert document("clean", "--locks", name, code=1) == {"dry_run": True, "locks": [dead]}
    assert "repeat with --yes" in output("clean", "--locks", name, code=1)
    assert "broken: 1" in output("clean", "--locks", name, "--yes")
    assert document("clean", "--locks", name) == {"dry_run": True, "locks": []}
    lock = sharedmem.Lock.attach(name)
    with pytest.raises(sharedmem.OwnerDiedError), lock:
        pass
    lock.unlink()


def test_locks_of_nothing(name):
    """A name that leads nowhere is said in one line."""
    assert name in refusal("clean", "--locks", name)
    assert "not a valid name" in refusal("clean", "--yes", "--locks", "")  # an unset variable, say
    assert run("clean", "--locks", name, "--in-flight").returncode == 2


def test_text_of_what_was_freed(stale):
    """With --yes it says what was freed."""
    text = output("clean", "--yes")
    assert stale in text and "freed 1 segment, " in text and "1 file of dead families" in text


# ---- as another user -------------------------------------------------------

# Everything is imported before: another user cannot read root's Python.
THEIRS = f"""
import os, sys
from sharedmem._core.segment import BACKENDS, Context
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
context = Context('theirs')
array = context.create(sys.argv[1], BACKENDS[sys.argv[2]], 0, 0o600, b"'<f8'", 8, (3,), None)
print('ready', flush=True)
sys.stdin.readline()
"""
NOT_ROOT = f"""
import gettext, locale, os, sys
from sharedmem.cli import main
os.setuid({NOBODY})
sys.exit(main(['clean', '--user', 'root']))
"""


@AS_ROOT
def test_as_another_user(processes, name, backend):
    """Root cleans what another user has left, and spares what that user still has."""
    program = processes.program(THEIRS, name, backend)
    assert program.hear() == "ready"
    assert document("clean", "--user", NOBODY)["segments"] == []
    kill(program)
    assert document("clean")["segments"] == []
    found = document("clean", "--user", NOBODY, code=1)
    assert [each["name"] for each in found["segments"]] == [name]
    found = document("clean", "--user", "nobody", "--yes")
    assert [(each["name"], each["freed"]) for each in found["segments"]] == [(name, True)]
    assert found["families"] == 1
    assert not [file for file in os.listdir("/dev/shm") if file.startswith(f"smem.{NOBODY}.")]


@AS_ROOT
def test_as_another_user_without_being_root():
    """Who is not root is told so."""
    done = subprocess.run([sys.executable, "-c", NOT_ROOT], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "sharedmem: only root may clean as another user (run it by sudo)\n"


def test_as_oneself(stale):
    """One's own name needs no privilege."""
    found = document("clean", "--user", os.geteuid(), "--yes")
    assert [each["name"] for each in found["segments"]] == [stale]


def test_unknown_user():
    """A user that does not exist is wrong usage."""
    assert "no user is called 'no-such-user'" in refusal("clean", "--user", "no-such-user", code=2)
