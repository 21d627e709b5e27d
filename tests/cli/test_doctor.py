"""`doctor` says what might surprise, with a remedy, and changes nothing."""

import json
import os
import resource
import shutil
import subprocess

import pytest
from protocol.kernel import held

from sharedmem import machine
from sharedmem.cli import doctor, probes, system

from .commands import COMMAND, document, output, run

ROWS = {
    "sharedmem",
    "Python",
    "NumPy",
    "compiler",
    "kernel",
    "/dev/shm",
    "default backend",
    "memory cgroup",
    "bound of a family",
    "filling",
    "idle segments",
    "kernel.shmmni",
    "kernel.shmmax",
    "kernel.shmall",
    "vm.max_map_count",
    "RLIMIT_NOFILE",
    "RLIMIT_AS",
    "RLIMIT_FSIZE",
    "lock kept by a mapping",
    "file without a name",
    "SysV segments",
    "pages made at once",
    "huge pages on demand",
    "logind RemoveIPC",
    "namespaces",
    "family",
    "families",
    "reaper",
    "segments",
}


def findings(found):
    return {each["what"]: each for each in found["findings"]}


def test_rows():
    """Every row has a state and what was found; a remedy stands by what is not ok."""
    before = held()
    done = run("doctor", "--json")
    code = done.returncode
    found = document("doctor", code=code)
    rows = findings(found)
    assert rows.keys() >= ROWS
    for row in rows.values():
        assert row.keys() == {"group", "what", "state", "found", "remedy"}
        assert row["state"] in ("ok", "warning", "problem") and row["found"]
        assert row["remedy"] or row["state"] == "ok"
    assert found["ok"] == (code == 0) == all(row["state"] != "problem" for row in rows.values())
    assert held() == before
    text = output("doctor", code=code)
    assert all(what in text for what in ROWS) and "warning" in text.splitlines()[-1]


def test_what_is_stale(stale):
    """What was left over is a warning with the remedy."""
    rows = findings(document("doctor", code=run("doctor").returncode))
    assert rows["segments"]["state"] == rows["families"]["state"] == "warning"
    assert "1 stale" in rows["segments"]["found"] and "clean" in rows["segments"]["remedy"]
    document("clean", "--yes")


def test_process_limits():
    """Limits of this process that are too tight are warnings."""

    def tighten():
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))

    done = run("doctor", "--json", preexec_fn=tighten)
    assert '"ulimit -n 1024"' in done.stdout and '"1.0 GiB"' in done.stdout


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="mounting takes root")
@pytest.mark.parametrize(
    ("mount", "state", "backend"),
    [
        ("mount -t tmpfs -o size=64m tmpfs /dev/shm", "warning", "posix"),
        ("mount -t tmpfs -o size=999m tmpfs /dev/shm", "ok", "posix"),
        ("mount -t tmpfs -o ro tmpfs /dev/shm", "warning", "sysv"),
    ],
)
def test_room(mount, state, backend):
    """A small /dev/shm, as Docker's, is a warning; where there is none, sysv is the default."""
    script = f'{mount} && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", *COMMAND, "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if "mount" in done.stderr:
        pytest.skip(done.stderr)
    rows = findings(json.loads(done.stdout))
    assert rows["/dev/shm"]["state"] == state
    assert rows["default backend"]["found"].startswith(backend)


@pytest.mark.parametrize("probe", probes.PROBES)
def test_probes_leave_nothing(probe):
    """A probe succeeds or raises OSError, and nothing of it stays."""
    try:
        probes.PROBES[probe][0]("/dev/shm")
    except OSError:
        pass


def test_probe_of_locks_can_fail(tmp_path):
    """Where a directory is missing a probe says so."""
    for probe in (probes.locks, probes.tmpfile, probes.populate, probes.collapse):
        with pytest.raises(OSError):
            probe(str(tmp_path / "missing"))


# ---- what files say --------------------------------------------------------


@pytest.fixture
def logind(tmp_path, monkeypatch):
    """Write logind's files: lower precedence first."""
    folders = [tmp_path / "vendor", tmp_path / "own"]
    monkeypatch.setattr(system, "_LOGIND", [str(folder) for folder in folders])

    def write(which, name, text):
        path = folders[which] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


def test_remove_ipc(logind):
    """The own file goes before the vendor's, and drop-ins by name before both; the default is yes."""
    logind(0, "logind.conf", "[Login]\n#RemoveIPC=no\n")
    assert system.remove_ipc() is True
    logind(1, "logind.conf", "[Login]\nKillUserProcesses=no\nRemoveIPC=no\n")
    assert system.remove_ipc() is False
    logind(0, "logind.conf.d/20-a.conf", "[Login]\nRemoveIPC=yes\n")
    assert system.remove_ipc() is True
    logind(1, "logind.conf.d/20-a.conf", "[Login]\nRemoveIPC=off\n")
    assert system.remove_ipc() is False
    logind(1, "logind.conf.d/30-b.conf", "not a file of logind's\n")
    assert system.remove_ipc() is False


@pytest.mark.parametrize(("uid", "state"), [(0, "ok"), (5000, "warning")])
def test_remove_ipc_by_user(logind, monkeypatch, uid, state):
    """RemoveIPC is a warning for those it applies to."""
    logind(1, "logind.conf", "[Login]\nRemoveIPC=yes\n")
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert doctor._logind().state == state


def test_memory_limit(tmp_path, monkeypatch):
    """The tightest limit counts, be it the group's own or that of one above it."""
    for path, limit, use in (("", "max", "5"), ("a", "1000", "900"), ("a/b", "2000", "900")):
        folder = tmp_path / path
        folder.mkdir(exist_ok=True)
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{use}\n")
    monkeypatch.setattr(
        machine, "_cgroups", lambda controller: [tmp_path / "a/b", tmp_path / "a", tmp_path]
    )
    assert machine.cgroup_memory() == (1000, 900)
    assert next(doctor._memory()).state == "ok"
    (tmp_path / "a/memory.current").write_text("950\n")
    assert next(doctor._memory()).state == "warning"


@pytest.mark.parametrize(
    ("wish", "state", "found"),
    [("0", "ok", "nothing"), ("1048576", "ok", "1.0 MiB"), ("1M", "warning", "1M")],
)
def test_bound_of_warm_memory(wish, state, found):
    """The bound that is set is shown; what is no number of bytes is a warning."""
    done = run("doctor", "--json", environ={"SHAREDMEM_CACHE": wish})
    row = findings(json.loads(done.stdout))["bound of a family"]
    assert row["state"] == state and found in row["found"]


def test_reapers(tmp_path, monkeypatch):
    """How many run for this user is counted; that they are switched off, or cannot run, is said."""
    for pid, command in (("7", "sharedmem-reaper\0/dev/shm\0x\0"), ("8", "sharedmem-reaper"), ("9", "")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cmdline").write_text(command)
    assert system.reapers(str(tmp_path)) == 1
    monkeypatch.delenv("SHAREDMEM_REAPER", raising=False)
    assert doctor.reaper().state == "ok" and "running" in doctor.reaper().found
    monkeypatch.setattr(doctor, "REAPER", str(tmp_path / "none"))
    assert doctor.reaper().state == "warning" and doctor.reaper().remedy
    monkeypatch.setenv("SHAREDMEM_REAPER", "0")
    assert doctor.reaper().state == "ok" and "off" in doctor.reaper().found
