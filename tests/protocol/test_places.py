"""Where a user's files go: only where a mapping keeps its file's lock, and for all processes to the same directory."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .processes import python
from .test_vanished import UNSHARE, namespace  # noqa: F401

COMMON = """
import os, subprocess, sys
import sharedmem

def newcomer(source, **environ):
    environ = os.environ | {'SHAREDMEM_FAMILY': 'newcomer'} | environ
    subprocess.run([sys.executable, '-c', 'import sharedmem; ' + source], env=environ, check=True)

def refused(error, call, *words):
    try:
        call()
    except error as refusal:
        assert all(word in str(refusal) for word in words), refusal
        return
    raise AssertionError(f'not refused with {error}')
"""

# Layers lie on a tmpfs of their own: overlays of overlays are not to be had everywhere.
MOUNTS = """
mount -t tmpfs tmpfs "$layers" || exit 3
overlay() {
    mkdir -p "$layers$1/lower" "$layers$1/upper" "$layers$1/work" &&
    mount -t overlay -o "lowerdir=$layers$1/lower,upperdir=$layers$1/upper,workdir=$layers$1/work" overlay "$1" &&
    chmod 1777 "$1" || exit 3
}
tmpfs() {
    mount -t "${2:-tmpfs}" -o "${3:-mode=1777}" tmpfs "$1" || exit 3
    [ -n "$3" ] || chmod 1777 "$1" || exit 3
}
"""
# The checkout itself may lie in what is mounted over.
KEEP = """
case $checkout in
/tmp/*|/var/tmp/*) mount -t tmpfs tmpfs /mnt && mkdir /mnt/kept && mount --bind "$checkout" /mnt/kept || exit 3 ;;
esac
"""
KEPT = """
[ -e "$checkout" ] || { mkdir -p "$checkout" && mount --bind /mnt/kept "$checkout" && cd "$checkout"; } || exit 3
"""
# What is left is printed.
LEFT = """
"$@" || exit 1
ls -A /dev/shm /tmp | grep smem
tail -n +2 /proc/sysvipc/shm
"""


@pytest.fixture
def inside(namespace, tmp_path):  # noqa: F811
    """Runs a script where other file systems are mounted; skips where they may not be."""
    return functools.partial(_inside, tmp_path)


@pytest.fixture
def succeeds(inside):
    def check(mounts, source):
        done = inside(mounts, COMMON + source)
        assert (done.returncode, done.stderr, done.stdout) == (0, "", "")

    return check


def _inside(layers, mounts, source):
    environ = {key: value for key, value in os.environ.items() if key != "SHAREDMEM_FAMILY"}
    environ["layers"] = str(layers)
    environ["checkout"] = str(Path(__file__).resolve().parents[2])
    script = KEEP + MOUNTS + mounts + KEPT + LEFT
    command = [*UNSHARE, "/bin/sh", "-c", script, "sh", *python(source)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    if done.returncode == 3:
        pytest.skip(f"these file systems cannot be mounted: {done.stderr.strip()}")
    return done


NO_LOCK_THERE = """
a = sharedmem.full(1 << 20, 7, 'u1')
b = sharedmem.full(10, 7, 'u1', name='named')
assert a.backend == b.backend == 'sysv'
newcomer("assert (sharedmem.attach('named') == 7).all(); sharedmem.reclaim()")
newcomer("sharedmem.reclaim()")
assert (a == 7).all() and b.is_current()
refused(sharedmem.ShareLimitError, lambda: sharedmem.zeros(3, backend='posix'), 'mount a tmpfs on /dev/shm')
assert not [name for name in os.listdir('/dev/shm') if name.startswith('smem')]
"""


def test_overlay_on_dev_shm(succeeds):
    """Where mappings keep no locks nothing is put: arrays are SysV's, whole for all, and a newcomer frees none."""
    succeeds("overlay /dev/shm; tmpfs /tmp", NO_LOCK_THERE)


def test_overlay_on_the_first_two(succeeds):
    """What is fallen back on is tried as well."""
    succeeds("overlay /dev/shm; overlay /tmp; tmpfs /var/tmp", NO_LOCK_THERE)


@pytest.mark.parametrize("program", ["import sharedmem", "import runpy; runpy.run_module('sharedmem')"])
def test_overlay_everywhere(inside, program):
    """Without any such directory the import is refused, and names them, what is mounted there, and the remedy."""
    done = inside("overlay /dev/shm; overlay /tmp; tmpfs /var/tmp tmpfs ro", program)
    if os.geteuid() != 0 and "ShareLimitError" not in done.stderr:
        pytest.skip("no read-only tmpfs here")
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and last.startswith("sharedmem.errors.ShareLimitError: ")
    for words in (
        "on /dev/shm, overlay, a mapping does not keep the lock of its file",
        "on /tmp, overlay, a mapping",
        "/var/tmp cannot be written to",
        "mount -t tmpfs -o mode=1777 tmpfs /dev/shm",
    ):
        assert words in last


SAME_FOR_ALL = """
a = sharedmem.full(10, 7, 'u1', name='named')
assert a.backend == 'sysv'
os.mkdir('/tmp/own')
look = "import os; assert (sharedmem.attach('named') == 7).all(); sharedmem.reclaim()"
newcomer(look)
newcomer(look, TMPDIR='/tmp/own')
newcomer(look, XDG_RUNTIME_DIR='/tmp/own')
assert a.is_current() and os.listdir('/tmp/own') == []
"""


@pytest.mark.parametrize(
    "dev_shm", ["tmpfs /dev/shm tmpfs ro", "overlay /dev/shm"], ids=["read-only", "overlay"]
)
def test_same_directory_for_all(succeeds, dev_shm):
    """What processes fall back on does not depend on what their environment says."""
    succeeds(f"{dev_shm}; tmpfs /tmp", SAME_FOR_ALL)


FULL = """
a = sharedmem.full(10, 7, 'u1', name='named')
assert a.backend == 'posix'
made = 0
try:
    while True:
        open(f'/dev/shm/{made}', 'x').close()
        made += 1
except OSError:
    pass
newcomer("assert (sharedmem.attach('named') == 7).all()", SHAREDMEM_FAMILY=sharedmem.family())
for number in range(made):
    os.unlink(f'/dev/shm/{number}')
"""


def test_full_directory_is_not_left(succeeds):
    """A process that starts when /dev/shm can hold no file more is where the others are."""
    succeeds("tmpfs /dev/shm tmpfs nr_inodes=40,size=1m; tmpfs /tmp", FULL)


RAMFS = """
import time
a = sharedmem.full(1 << 20, 7, 'u1', name='named')
newcomer("assert (sharedmem.attach('named') == 7).all(); sharedmem.reclaim()")
assert a.backend == 'posix' and (a == 7).all() and a.is_current()
"""


def test_ramfs_on_dev_shm(succeeds):
    """A file system without holes, limits and O_TMPFILE will do."""
    succeeds("tmpfs /dev/shm ramfs; tmpfs /tmp", RAMFS)


DOCTOR = """
import json, subprocess, sys
done = subprocess.run([sys.executable, '-m', 'sharedmem', 'doctor', '--json'], capture_output=True, text=True)
found = {each['what']: each for each in json.loads(done.stdout)['findings']}
print(found['lock kept by a mapping']['state'], found['/dev/shm']['state'], found['/dev/shm']['found'])
print('kernel' if 'Linux' in found['lock kept by a mapping']['remedy'] else '')
"""


@pytest.mark.parametrize(
    "mounts, said",
    [
        ("tmpfs /dev/shm; mount -t tmpfs tmpfs /proc", "ok ok"),
        ("overlay /dev/shm", "warning warning on /dev/shm, overlay, a mapping does not keep"),
        ("tmpfs /dev/shm tmpfs ro", "warning warning /dev/shm cannot be written to"),
    ],
    ids=["no /proc", "overlay", "read-only"],
)
def test_doctor_names_the_cause(inside, mounts, said):
    """The kernel is not blamed for what is mounted."""
    done = inside(mounts + "; tmpfs /tmp", DOCTOR)
    first, second, *_ = done.stdout.splitlines()
    assert first.startswith(said) and second == ""


UNMAPPED = """
chmod 1777 /dev/shm
exec unshare --user "$@"
"""


def test_user_that_is_not_mapped(namespace):  # noqa: F811
    """Where the kernel shows all strangers as this user the import is refused: their files would pass for one's own."""
    command = [*UNSHARE, "/bin/sh", "-c", UNMAPPED, "sh", *python("import sharedmem")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.stderr.startswith("unshare:"):
        pytest.skip(f"no user namespace: {done.stderr.strip()}")
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and last.startswith("sharedmem.errors.SegmentSecurityError: ")
    assert "user namespace does not map" in last and "map the uid" in last


def test_command_line_where_the_import_is_refused(namespace):  # noqa: F811
    """The command line says it as each of its errors: in one line, with what to do."""
    command = [*UNSHARE, "/bin/sh", "-c", UNMAPPED, "sh", sys.executable, "-m", "sharedmem", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.stderr.startswith("unshare:"):
        pytest.skip(f"no user namespace: {done.stderr.strip()}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("sharedmem: the kernel shows") and "map the uid" in done.stderr
    assert done.stderr.count("\n") == 1


STRANGERS = """
import pathlib
nobody = int(pathlib.Path('/proc/sys/kernel/overflowuid').read_text())
refused(sharedmem.SegmentSecurityError, lambda: sharedmem.attach('named', 'r', owner=nobody), 'does not map')
refused(sharedmem.SegmentNotFoundError, lambda: sharedmem.attach('named', 'r', owner=0))
"""


def test_owner_that_may_be_anybody(namespace):  # noqa: F811
    """Of the user as whom strangers are shown nothing is attached, by who asks for it neither."""
    script = 'mount -t tmpfs tmpfs /dev/shm && exec unshare --user --map-root-user "$@"'
    command = [*UNSHARE, "/bin/sh", "-c", script, "sh", *python(COMMON + STRANGERS)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.stderr.startswith("unshare:"):
        pytest.skip(f"no user namespace: {done.stderr.strip()}")
    assert (done.returncode, done.stderr) == (0, "")
