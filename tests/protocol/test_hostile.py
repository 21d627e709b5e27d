"""What stands in the library's way under its own names: refused with an error that says what and where.

Files that are cut off or written into while they are used are in tests/c/test_hostile.c.
"""

import json
import os
import subprocess
import sys

import pytest

import sharedmem

from .processes import environment, python, run
from .test_no_room import run_apart
from .test_vanished import namespace  # noqa: F401

SECURITY, FORMAT = sharedmem.SegmentSecurityError, sharedmem.SegmentFormatError


def link(path):
    os.symlink(os.devnull, path)


def dangling(path):
    os.symlink(path + ".target", path)


def fifo(path):
    os.mkfifo(path)


def foreign(path):
    if os.geteuid() != 0:
        pytest.skip("only root can make another user's file")
    empty(path)
    os.chown(path, 65534, 65534)


def empty(path):
    open(path, "x").close()


def noise(path):
    with open(path, "xb") as file:
        file.write(os.urandom(9999))


def endless(path):
    empty(path)
    os.truncate(path, 2**62)


STRANGE = {link: SECURITY, dangling: SECURITY, os.mkdir: SECURITY, fifo: SECURITY}
STRANGE |= {foreign: SECURITY, empty: FORMAT, noise: FORMAT, endless: FORMAT}


@pytest.fixture(params=STRANGE, ids=lambda make: make.__name__)
def strange(request):
    """Puts something strange at a path; it must be there afterwards, and is removed.

    A journal may be there already, with what lived in namespaces that have ended: it
    is kept elsewhere meanwhile.
    """
    paths, kept = [], {}

    def put(kind, name):
        path = f"/dev/shm/smem.{os.geteuid()}.{kind}.{name}"
        if os.path.lexists(path):
            kept[path] = f"/dev/shm/kept.{os.getpid()}.{name}"
            os.rename(path, kept[path])
        request.param(path)
        paths.append(path)
        return STRANGE[request.param]

    yield put
    for path in paths:
        (os.rmdir if os.path.isdir(path) else os.unlink)(path)
        if path in kept:
            os.rename(kept[path], path)


def test_segment_that_is_none(strange, name):
    """What has a segment's name and is none is not attached, looked at, replaced or unlinked, but others are."""
    error = strange("s", name)
    for call in (
        lambda: sharedmem.attach(name),
        lambda: sharedmem.stat(name),
        lambda: sharedmem.unlink(name),
        lambda: sharedmem.zeros(3, name=name),
        lambda: sharedmem.zeros(3, name=name, replace=True),
    ):
        with pytest.raises(error, match=name):
            call()
    array = sharedmem.ones(3)
    assert [info.name for info in sharedmem.list_segments(internal=True)] == [array.name]
    sharedmem.reclaim()


def test_family_that_is_none(strange, family, backend):
    """The import is refused with the file's name where the family's file is none; others' families go on."""
    error = strange("f", family)
    command = python("import sharedmem")
    done = subprocess.run(command, env=environment(family), capture_output=True, text=True)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"sharedmem.errors.{error.__name__}: ")
    assert f"smem.{os.geteuid()}.f.{family}" in last and "remove the file" in last
    with pytest.raises(error):
        sharedmem.new_family(family)
    assert sharedmem.ones(3, backend=backend).sum() == 3
    sharedmem.reclaim()


def test_journal_that_is_none(strange, name, request):
    """Where the journal is none SysV arrays and look-ups of them are refused; POSIX arrays go on."""
    if request.node.callspec.params["strange"] in (empty, noise):
        pytest.skip("an empty journal is one, and noise says nothing of this namespace: test_hostile.c")
    error = strange("u", "journal")
    for call in (
        lambda: sharedmem.zeros(3, backend="sysv"),
        lambda: sharedmem.zeros(3, name=name, backend="sysv"),
        sharedmem.list_segments,
    ):
        with pytest.raises(error) as raised:
            call()
        if error is sharedmem.SegmentSecurityError:
            assert "u.journal" in str(raised.value) and "remove" in raised.value.remedy
    command = [sys.executable, "-m", "sharedmem", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    row = next(row for row in json.loads(done.stdout)["findings"] if row["what"] == "segments")
    assert done.returncode == 1 and row["state"] == "problem" and "remove" in row["remedy"]
    array = sharedmem.ones(3)
    assert sharedmem.attach(array.name) is not None
    for call in sharedmem.attach, sharedmem.stat, sharedmem.unlink:
        with pytest.raises(sharedmem.SegmentNotFoundError):
            call(name)
    array = sharedmem.zeros(3, name=name)
    with pytest.raises(sharedmem.SegmentExistsError):
        sharedmem.zeros(3, name=name)
    other = sharedmem.zeros(3, name=name, replace=True)
    assert sharedmem.attach(name) is not None and other.is_current() and not array.is_current()
    sharedmem.unlink(name)
    assert sharedmem.Lock(name=name).acquire()
    queue = sharedmem.Queue(name=name + "-queue")
    queue.put(array)
    assert sharedmem.Queue.attach(queue.name).get().sum() == 0


OTHER_NAMES = """
import sharedmem
array = sharedmem.ones(3, name='bytes-\\udcff\\udcfe-\\n')
assert [info.name for info in sharedmem.list_segments(internal=True)] == [array.name]
assert sharedmem.attach(array.name).sum() == 3
assert sharedmem.stat(array.name).name == array.name
"""


def test_bytes_that_are_no_text(family):
    """A name of bytes that are no text is a name like any other, and can be listed."""
    run(OTHER_NAMES, environ=environment(family))


@pytest.mark.parametrize(
    "bad",
    ["", "/", "a/b", "../x", "a\0b", "x" * 201, "posix:", "ü" * 101],
    ids=lambda bad: repr(bad[:9]),
)
def test_names_that_are_none(bad):
    """What is no name is refused before a file is looked for."""
    for call in sharedmem.attach, sharedmem.stat, sharedmem.unlink:
        with pytest.raises(sharedmem.SegmentNameError):
            call(bad)


EXPOSED = """
import os, sys, sharedmem
from sharedmem.compat import npshmex
for call in (
    lambda: sharedmem.Queue.attach('queue'),
    lambda: sharedmem.Lock.attach('lock'),
    lambda: sharedmem.Lock.attach_or_create('lock'),
    lambda: npshmex.shm_pop(sys.argv[1]),
):
    try:
        call()
    except sharedmem.SegmentSecurityError as error:
        assert 'others can write to it' in str(error), error
    else:
        raise AssertionError('trusted')
assert sharedmem.attach('array').sum() == 3  # elements are what they are
"""

CONTAINERS = """
import subprocess
from sharedmem.compat import npshmex
containers = sharedmem.Queue(name='queue'), sharedmem.Lock(name='lock'), sharedmem.ones(3, name='array')
key = npshmex.shm_put(np.array([{}, []], object))
for bits in 0o620, 0o602:
    for name in os.listdir('/dev/shm'):
        if '.s.' in name:
            os.chmod('/dev/shm/' + name, bits)
    subprocess.run([sys.executable, '-c', sys.argv[1], key], check=True)
npshmex.shm_del(key)
"""


def test_containers_that_others_can_write(namespace):  # noqa: F811
    """What a queue, a lock or a pickle's array says is not believed where its permissions let others say it."""
    run_apart("import numpy as np\n" + CONTAINERS, EXPOSED)


@pytest.mark.parametrize("permissions", [0o620, 0o602, 0o666])
def test_locks_that_others_could_write(backend, name, permissions):
    """They are not made either, and leave no name."""
    with pytest.raises(sharedmem.SegmentSecurityError, match="others can write"):
        sharedmem.Lock(name=name, backend=backend, permissions=permissions)
    assert not sharedmem.exists(name)


FOREIGN_JOURNAL = """
path = f'/dev/shm/smem.{os.geteuid()}.u.journal'
sysv = sharedmem.full(3, 7.0, backend='sysv')
kept = sharedmem.full(3, 7.0, backend='sysv')
os.unlink(path)
os.mkfifo(path)
refused(sharedmem.SegmentSecurityError, lambda: sharedmem.zeros(3, backend='sysv'))
del sysv  # cannot be proved to be nobody else's
assert (kept == 7).all()
os.unlink(path)
sharedmem.zeros(3, backend='sysv')
del kept
sharedmem.reclaim()
"""


def test_journal_comes_back(namespace):  # noqa: F811
    """A journal that somebody puts a FIFO in the place of delays what is dropped meanwhile, and loses nothing."""
    run_apart(FOREIGN_JOURNAL)
