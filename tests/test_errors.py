"""Every refusal is an exception of the right class that says what is wrong and what to do."""

import contextlib
import ctypes
import errno
import mmap
import multiprocessing
import os
import pickle
import secrets
import socket
import struct
import subprocess
import sys
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest

import sharedmem
from sharedmem import errors

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away takes root")
OTHER_USER = 65534


def file_of(name):
    """Where the file of a POSIX segment is."""
    return Path(f"/dev/shm/smem.{os.geteuid()}.s.{name}")


# ---- classes ---------------------------------------------------------------

BASES = {
    "SegmentExistsError": FileExistsError,
    "SegmentNotFoundError": FileNotFoundError,
    "SegmentFormatError": ValueError,
    "SegmentSecurityError": PermissionError,
    "SegmentBusyError": OSError,
    "NoRoomError": MemoryError,
    "ShareLimitError": OSError,
    "LayoutMismatchError": ValueError,
}


@pytest.mark.parametrize("title", BASES)
def test_exception_is_the_builtin_one_too(title):
    """Each class derives from SharedmemError and from the built-in that callers expect."""
    cls = getattr(errors, title)
    assert issubclass(cls, errors.SharedmemError) and issubclass(cls, BASES[title])
    assert getattr(sharedmem, title) is cls
    assert cls.__module__ == "sharedmem.errors" and cls.__doc__


def test_all_exceptions_are_at_the_top():
    """The package has every exception of its module, under the same name."""
    classes = [each for each in vars(errors).values() if isinstance(each, type)]
    found = [each for each in classes if issubclass(each, errors.SharedmemError)]
    assert set(BASES) < {each.__name__ for each in found}
    assert all(getattr(sharedmem, each.__name__) is each for each in found)


@contextlib.contextmanager
def taken(name):
    """A name that is in use."""
    with sharedmem.zeros((2, 3), name=name):
        yield


@contextlib.contextmanager
def damaged(name):
    """A name under which something else stands."""
    file_of(name).write_bytes(b"something else" * 1000)
    yield
    file_of(name).unlink()


REFUSALS = {
    "taken": (taken, lambda name: sharedmem.zeros(3, name=name), "SegmentExistsError", errno.EEXIST),
    "not there": (contextlib.nullcontext, sharedmem.attach, "SegmentNotFoundError", errno.ENOENT),
    "not there to see": (contextlib.nullcontext, sharedmem.stat, "SegmentNotFoundError", errno.ENOENT),
    "not there to unlink": (
        contextlib.nullcontext,
        sharedmem.unlink,
        "SegmentNotFoundError",
        errno.ENOENT,
    ),
    "damaged": (damaged, sharedmem.attach, "SegmentFormatError", errno.EINVAL),
    "another layout": (
        taken,
        lambda name: sharedmem.attach_or_create(name, 7),
        "LayoutMismatchError",
        errno.EINVAL,
    ),
    "no room": (
        contextlib.nullcontext,
        lambda name: sharedmem.zeros(2**60, "u1", name=name, backend="posix"),
        "NoRoomError",
        errno.ENOMEM,
    ),
}


@pytest.fixture(params=REFUSALS.values(), ids=REFUSALS)
def refusal(request, name):
    """A refusal of each kind: the exception, and what is expected of it."""
    situation, call, title, number = request.param
    with situation(name), pytest.raises(errors.SharedmemError) as caught:
        call(name)
    return caught.value, title, number, name


def test_exception_tells_what_to_do(refusal):
    """An exception has errno, name and remedy, and its text shows all that a reader needs."""
    error, title, number, name = refusal
    assert type(error) is getattr(errors, title)
    assert (error.errno, error.name) == (number, name)
    assert error.remedy and error.remedy in str(error) and name in str(error)


def test_exception_has_no_confusing_cause(refusal):
    """An exception shows itself alone, without those that led to it."""
    error = refusal[0]
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__


def test_exception_survives_pickling(refusal):
    """An exception that comes from a worker is the same to its parent."""
    error = refusal[0]
    loaded = pickle.loads(pickle.dumps(error))
    assert type(loaded) is type(error) and str(loaded) == str(error)
    assert (loaded.errno, loaded.name, loaded.remedy) == (error.errno, error.name, error.remedy)


def attach_and_drop(name):
    sharedmem.attach(name)


def test_exception_comes_through_a_pool(start_method, name):
    """What a worker raises arrives with its class, name and remedy."""
    with multiprocessing.get_context(start_method).Pool(1) as pool:
        with pytest.raises(errors.SegmentNotFoundError) as caught:
            pool.apply(attach_and_drop, (name,))
        pool.close()
        pool.join()
    assert caught.value.name == name and caught.value.remedy


# ---- a name in use ---------------------------------------------------------


def hold(pipe, name):
    array = sharedmem.attach(name)
    pipe.send(array.shape)
    pipe.recv()


def test_taken_name_lists_its_holders(backend, name):
    """The error about a taken name lists pid and command of everybody who has it."""
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    array = sharedmem.zeros(3, name=name, backend=backend)
    child = fork.Process(target=hold, args=(there, name))
    child.start()
    here.recv()
    with pytest.raises(errors.SegmentExistsError) as caught:
        sharedmem.zeros(3, name=name, backend=backend)
    here.send("go")
    child.join()
    command = Path("/proc/self/comm").read_text().rstrip("\n")
    assert sorted(caught.value.holders) == sorted([(os.getpid(), command), (child.pid, command)])
    for text in str(os.getpid()), str(child.pid), command:
        assert text in str(caught.value)
    assert array.is_current()
    child.close()
    here.close()
    there.close()


def test_name_taken_by_what_is_in_flight(backend, name):
    """The error about a name that only a message keeps says so."""
    sent = bytes(ForkingPickler.dumps(sharedmem.zeros(3, name=name, backend=backend)))
    with pytest.raises(errors.SegmentExistsError, match="1 in flight"):
        sharedmem.zeros(3, name=name, backend=backend)
    sharedmem.forget(sent)
    assert sharedmem.zeros(3, name=name, backend=backend).is_current()


# ---- foreign and damaged files ---------------------------------------------


@pytest.fixture
def persistent(name):
    """The name of a POSIX segment that nobody has attached; its file may be damaged."""
    sharedmem.copy(np.arange(24.0).reshape(4, 6), name=name, backend="posix", persistent=True)
    yield name
    file_of(name).unlink(missing_ok=True)


def symlink_to_a_segment(path, bytes_of_one):
    target = path.with_name(f"other-{secrets.token_hex(8)}")
    target.write_bytes(bytes_of_one)
    path.symlink_to(target)


def symlink_to_a_device(path, bytes_of_one):
    path.symlink_to("/dev/zero")


def symlink_to_nothing(path, bytes_of_one):
    path.symlink_to(path.with_name("nothing"))


def fifo(path, bytes_of_one):
    os.mkfifo(path)


def directory(path, bytes_of_one):
    path.mkdir()


def unix_socket(path, bytes_of_one):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def empty_file(path, bytes_of_one):
    path.touch()


def zeros(path, bytes_of_one):
    path.write_bytes(bytes(len(bytes_of_one)))


def text(path, bytes_of_one):
    path.write_text("This is something else.\n" * 1000)


def random_bytes(path, bytes_of_one):
    path.write_bytes(np.random.default_rng(1).bytes(len(bytes_of_one)))


def cut_within_the_magic(path, bytes_of_one):
    path.write_bytes(bytes_of_one[:5])


def cut_within_the_header(path, bytes_of_one):
    path.write_bytes(bytes_of_one[:1000])


def cut_behind_the_header(path, bytes_of_one):
    path.write_bytes(bytes_of_one[:4096])


def cut_within_the_data(path, bytes_of_one):
    path.write_bytes(bytes_of_one[:-1])


def longer_than_it_says(path, bytes_of_one):
    path.write_bytes(bytes_of_one + bytes(mmap.PAGESIZE))


NOT_FILES = [
    symlink_to_a_segment,
    symlink_to_a_device,
    symlink_to_nothing,
    fifo,
    directory,
    unix_socket,
]
NOT_SEGMENTS = [
    empty_file,
    zeros,
    text,
    random_bytes,
    cut_within_the_magic,
    cut_within_the_header,
    cut_behind_the_header,
    cut_within_the_data,
    longer_than_it_says,
]


@pytest.fixture
def make_foreign(persistent):
    """Put something else in the place of a segment; what it is made of is removed in the end."""
    path = file_of(persistent)
    before = set(path.parent.iterdir()) - {path}
    content = path.read_bytes()
    path.unlink()
    yield lambda maker: maker(path, content)
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    for other in path.parent.glob("other-*"):
        if other not in before:
            other.unlink()


def facts_of(path):
    status = path.lstat()
    return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_nlink


@pytest.mark.parametrize("maker", NOT_FILES + NOT_SEGMENTS)
def test_foreign_file_is_refused(persistent, make_foreign, maker):
    """What stands under a name and is no segment is refused at once, by the right class."""
    make_foreign(maker)
    expected = errors.SegmentSecurityError if maker in NOT_FILES else errors.SegmentFormatError
    for mode in "r+", "r", "c":
        with pytest.raises(expected, match=persistent):
            sharedmem.attach(persistent, mode)
    with pytest.raises(expected, match=persistent):
        sharedmem.stat(persistent)


@pytest.mark.parametrize("maker", NOT_FILES + NOT_SEGMENTS)
def test_foreign_file_is_left_alone(persistent, make_foreign, maker):
    """What is no segment is not changed or removed by creating, listing or reclaiming."""
    make_foreign(maker)
    path = file_of(persistent)
    before = facts_of(path)
    for call in (
        lambda: sharedmem.zeros(3, name=persistent, backend="posix"),
        lambda: sharedmem.zeros(3, name=persistent, backend="sysv"),
        lambda: sharedmem.attach_or_create(persistent, 3),
    ):
        with pytest.raises(errors.SharedmemError, match=persistent):
            call()
    array = sharedmem.zeros(3)
    names = [info.name for info in sharedmem.list_segments(internal=True)]
    assert array.name in names and persistent not in names
    sharedmem.reclaim()
    assert facts_of(path) == before


@AS_ROOT
def test_file_of_another_user_is_refused(persistent):
    """A segment under our name that belongs to somebody else is not trusted, nor removed."""
    os.chown(file_of(persistent), OTHER_USER, OTHER_USER)
    for call in sharedmem.attach, sharedmem.stat, sharedmem.unlink:
        with pytest.raises(errors.SegmentSecurityError, match=persistent):
            call(persistent)
    with pytest.raises(errors.SharedmemError, match=persistent):
        sharedmem.zeros(3, name=persistent, replace=True)
    assert file_of(persistent).exists()


# What is written, and at which byte of the header (see the table in the segment format).
DAMAGES = {
    "magic": (0, b"NUMPY"),
    "version": (8, struct.pack("I", 2**16)),
    "stamp": (12, struct.pack("I", 12345)),
    "byte order": (16, struct.pack(">I", 0x01020304) if sys.byteorder == "little" else b"\4\3\2\1"),
    "size": (24, struct.pack("Q", 2**40)),
    "size of nothing": (24, struct.pack("Q", 0)),
    "data offset behind the end": (32, struct.pack("Q", 2**40)),
    "data offset within the header": (32, struct.pack("Q", 64)),
    "data offset that overflows": (32, struct.pack("Q", 2**64 - 4096)),
    "more data than there is": (40, struct.pack("Q", 2**30)),
    "data that overflows": (40, struct.pack("Q", 2**64 - 1)),
    "nonce": (64, struct.pack("Q", 0)),
    "start behind the end": (80, struct.pack("Q", 1000)),
    "start that overflows": (80, struct.pack("Q", 2**64 - 8)),
    "itemsize of another dtype": (88, struct.pack("Q", 4)),
    "huge itemsize": (88, struct.pack("Q", 2**62)),
    "too many dimensions": (104, struct.pack("I", 65)),
    "very many dimensions": (104, struct.pack("I", 2**32 - 1)),
    "long dtype": (108, struct.pack("I", 2**31)),
    "no dtype": (108, struct.pack("I", 0)),
    "long name": (112, struct.pack("I", 5000)),
    "no name": (112, struct.pack("I", 0)),
    "another name": (256, b"x"),
    "negative extent": (512, struct.pack("q", -4)),
    "more rows than there are": (512, struct.pack("q", 5)),
    "extents that overflow": (512, struct.pack("qq", 2**62, 2**62)),
    "stride beyond the end": (1024, struct.pack("q", 2**20)),
    "stride before the beginning": (1024, struct.pack("q", -48)),
    "stride that overflows": (1024, struct.pack("q", 2**62)),
    "dtype that is no text": (3136, b"\xff\xfe\0\1"),
    "dtype that is no literal": (3136, b"f8(  "),
    "dtype that is none": (3136, b"'<q9'"),
    "dtype with pointers": (3136, b"'|O8'"),
}


@pytest.mark.parametrize("place, content", DAMAGES.values(), ids=DAMAGES)
def test_damaged_header_is_refused(persistent, place, content):
    """A header that contradicts itself, the file or the limits is a SegmentFormatError."""
    with file_of(persistent).open("r+b") as file:
        file.seek(place)
        assert file.write(content) == len(content)
    for mode in "r+", "r", "c":
        with pytest.raises(errors.SegmentFormatError, match=persistent):
            sharedmem.attach(persistent, mode)


def with_dtype(name, text):
    """Write another dtype into a segment's header."""
    with file_of(name).open("r+b") as file:
        file.seek(108)
        file.write(struct.pack("I", len(text)))
        file.seek(3136)
        file.write(text)


def test_other_dtype_is_believed(persistent):
    """A header whose dtype was changed to one that fits is valid."""
    assert sharedmem.attach(persistent).dtype == np.float64
    for text in b"'<i8'", b"'>M8[s]'", b"[('a', '<i4'), ('b', '<f4')]":
        with_dtype(persistent, text)
        dtype = sharedmem.stat(persistent).dtype
        assert sharedmem.attach(persistent).dtype == dtype != np.float64


BOMBS = {
    "code": b"__import__('os').abort()",
    "pickle": b"cos\nabort\n(tR.",
    "deep": b"(" * 400 + b")" * 400,
    "deep list": b"[" * 200 + b"]" * 200,
    "long": b"'" + b"f" * 500 + b"'",
    "dictionary": b"{'names': ['a'], 'formats': ['O'], 'offsets': [0], 'itemsize': 8}",
    "beyond the item": b"{'names': ['a'], 'formats': ['<f8'], 'offsets': [4], 'itemsize': 8}",
    "negative offset": b"{'names': ['a'], 'formats': ['<f8'], 'offsets': [-8], 'itemsize': 8}",
    "huge item": b"{'names': ['a'], 'formats': ['V99999999999'], 'offsets': [0], 'itemsize': 8}",
    "huge subarray": b"('<f8', (2147483647, 2147483647, 2147483647))",
    "number": b"5",
    "nothing": b"None",
    "surprise": b"{'names': 5}",
    "empty tuple": b"()",
    "set": b"{1, 2}",
    "complex": b"1e999j",
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_malicious_dtype_is_refused(persistent, text):
    """A dtype text is never run, and one that makes no sense is a SegmentFormatError."""
    with_dtype(persistent, text)
    for call in sharedmem.attach, lambda name: sharedmem.stat(name).dtype:
        with pytest.raises(errors.SegmentFormatError, match=persistent):
            call(persistent)


def test_damaged_segment_can_be_removed_by_hand(persistent):
    """After the file is gone its name can be used."""
    with_dtype(persistent, b"None")
    file_of(persistent).unlink()
    assert sharedmem.zeros(3, name=persistent).is_current()


def test_list_tells_of_others_beside_a_damaged_one(persistent):
    """A damaged segment does not hide the others from list_segments()."""
    with_dtype(persistent, b"None")
    arrays = [sharedmem.zeros(3) for _ in range(3)]
    assert {array.name for array in arrays} <= {
        info.name for info in sharedmem.list_segments(internal=True)
    }


# ---- foreign SysV segments -------------------------------------------------

LIBC = ctypes.CDLL(None, use_errno=True)
IPC_CREAT, IPC_EXCL, IPC_RMID = 0o1000, 0o2000, 0


def sysv_keys():
    """id -> key of all SysV segments."""
    with open("/proc/sysvipc/shm") as table:
        columns = table.readline().split()
        rows = [dict(zip(columns, line.split())) for line in table]
    return {int(row["shmid"]): int(row["key"]) for row in rows}


@pytest.fixture(params=[b"", b"\x93SHMEM\r\n", b"something else"], ids=["zeros", "magic", "text"])
def foreign_sysv(request, name):
    """The id of another program's segment under the key that a name has."""
    before = sysv_keys()
    with sharedmem.zeros(3, name=name, backend="sysv"):
        ((_, key),) = sysv_keys().items() - before.items()
    id = LIBC.shmget(ctypes.c_int(key), ctypes.c_size_t(10_000), IPC_CREAT | IPC_EXCL | 0o600)
    assert id >= 0
    LIBC.shmat.restype = ctypes.c_void_p
    address = LIBC.shmat(id, None, 0)
    ctypes.memmove(address, request.param, len(request.param))
    LIBC.shmdt(ctypes.c_void_p(address))
    yield id
    LIBC.shmctl(id, IPC_RMID, None)


def test_foreign_sysv_segment_has_no_name(foreign_sysv, name):
    """Another program's SysV segment under our key is not found, listed or removed."""
    assert not sharedmem.exists(name)
    for call in sharedmem.attach, sharedmem.stat, sharedmem.unlink:
        with pytest.raises(errors.SegmentNotFoundError):
            call(name)
    assert name not in [info.name for info in sharedmem.list_segments(internal=True)]
    sharedmem.reclaim()
    assert foreign_sysv in sysv_keys()


def test_foreign_sysv_segment_takes_no_name(foreign_sysv, name):
    """A name whose key another program has is free all the same, and found again."""
    array = sharedmem.full(3, 7.0, name=name, backend="sysv")
    assert sharedmem.attach(name).ctypes.data == array.ctypes.data
    assert sharedmem.stat(name).shape == (3,) and array.is_current()
    with pytest.raises(errors.SegmentExistsError):
        sharedmem.zeros(3, name=name)
    del array
    assert not sharedmem.exists(name) and foreign_sysv in sysv_keys()


# ---- what is gone ----------------------------------------------------------


def test_missing_name_is_told(name):
    """The error about a name that leads nowhere has the name in it."""
    with pytest.raises(errors.SegmentNotFoundError, match=name):
        sharedmem.attach(name)


@pytest.mark.parametrize("dumps", [pickle.dumps, lambda array: bytes(ForkingPickler.dumps(array))])
def test_freed_segment_is_told(backend, dumps):
    """A pickle whose array was freed or unlinked says that the segment is gone."""
    array = sharedmem.zeros(3, backend=backend)
    pickled = dumps(array)
    array.unlink()
    del array
    with pytest.raises(errors.SegmentNotFoundError, match="segment") as caught:
        pickle.loads(pickled)
    caught.match("freed or unlinked")


def test_successor_is_not_what_was_pickled(backend, name):
    """A pickle does not lead to a newer array of the same name."""
    array = sharedmem.zeros(3, name=name, backend=backend)
    pickled = pickle.dumps(array)
    del array
    successor = sharedmem.zeros(3, name=name, backend=backend)
    with pytest.raises(errors.SegmentNotFoundError, match=name):
        pickle.loads(pickled)
    assert successor.is_current()


SEND_AND_END = """
import sys, sharedmem
from multiprocessing.reduction import ForkingPickler
sys.stdout.buffer.write(ForkingPickler.dumps(sharedmem.zeros(3, backend=sys.argv[1])))
"""


def test_ended_family_is_told(backend):
    """A pickle whose family has ended says that the family is gone."""
    environ = os.environ | {"SHAREDMEM_FAMILY": f"test-{secrets.token_hex(8)}"}
    command = [sys.executable, "-c", SEND_AND_END, backend]
    pickled = subprocess.run(command, env=environ, stdout=subprocess.PIPE, check=True).stdout
    with pytest.raises(errors.SegmentNotFoundError, match="family"):
        pickle.loads(pickled)


UNSHARE = ["unshare", "--mount", "--ipc"] + ([] if os.geteuid() == 0 else ["--map-root-user"])


NOT_ALLOWED = 77


def run_apart(setup, source, input=b""):
    """Run a script in a mount and IPC namespace of its own, after a line of shell; its output."""
    script = f'{{ {setup}; }} || exit {NOT_ALLOWED}; exec "$@"'
    command = [*UNSHARE, "/bin/sh", "-c", script, "sh", sys.executable, "-c", source]
    environ = {key: value for key, value in os.environ.items() if key != "SHAREDMEM_FAMILY"}
    done = subprocess.run(command, input=input, env=environ, capture_output=True)
    if done.returncode == NOT_ALLOWED:
        pytest.skip(done.stderr.decode())
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


@pytest.fixture(scope="module")
def apart():
    """Skip where this user may have no namespaces of its own."""
    probe = [*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"]
    try:
        done = subprocess.run(probe, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no unshare(1)")
    if done.returncode != 0:
        pytest.skip(f"no mount namespace: {done.stderr.strip()}")


LOAD = """
import pickle, sys, sharedmem
try:
    pickle.loads(sys.stdin.buffer.read())
except sharedmem.SegmentNotFoundError as error:
    print(error)
"""


def test_other_namespace_is_told(apart, backend):
    """A pickle that is loaded where its memory cannot be seen says that the namespace is another."""
    array = sharedmem.zeros(3, backend=backend)
    text = run_apart("mount -t tmpfs tmpfs /dev/shm", LOAD, input=pickle.dumps(array))
    assert "namespace" in text and array.name in text


def test_reboot_is_told(apart, backend, tmp_path):
    """A pickle from before a reboot says that the machine was booted since."""
    other_boot = tmp_path / "boot_id"
    other_boot.write_text("01234567-89ab-cdef-0123-456789abcdef\n")
    array = sharedmem.zeros(3, backend=backend)
    setup = f"mount --bind {other_boot} /proc/sys/kernel/random/boot_id && mount -t tmpfs tmpfs /dev/shm"
    assert "boot" in run_apart(setup, LOAD, input=pickle.dumps(array))


# ---- no room ---------------------------------------------------------------

FILL = """
import sharedmem
small = sharedmem.ones(2**17, 'u1', backend='posix')
try:
    sharedmem.zeros(2**22, 'u1', backend='posix')
except sharedmem.NoRoomError as error:
    assert isinstance(error, MemoryError)
    print(error)
fallen_back = sharedmem.full(2**22, 7, 'u1', name='large')
assert fallen_back.backend == 'sysv' and (fallen_back == 7).all()
assert sharedmem.attach('large').shape == (2**22,)
assert (small == 1).all() and small.is_current()
assert [info.name for info in sharedmem.list_segments(internal=True)] == sorted([small.name, 'large'])
del small
assert sharedmem.ones(2**17, 'u1').backend == 'posix'
"""


def test_full_directory_is_told(apart):
    """Where /dev/shm is small, POSIX says so with limit and remedy, and the default falls back to SysV."""
    text = run_apart("mount -t tmpfs -o size=1m tmpfs /dev/shm", FILL)
    assert "/dev/shm" in text and "--shm-size" in text


MANY = """
import errno, sharedmem
arrays = []
try:
    while len(arrays) < 100:
        arrays.append(sharedmem.full(3, len(arrays), backend='sysv'))
except sharedmem.ShareLimitError as error:
    assert isinstance(error, OSError) and error.errno == errno.ENOSPC
    print(len(arrays), error)
assert [array[0] for array in arrays] == list(range(len(arrays)))
del arrays[0]
arrays.append(sharedmem.zeros(3, backend='sysv'))
"""


def test_limit_of_segments_is_told(apart):
    """Where the kernel allows no more SysV segments, the error names the limit and the remedy."""
    text = run_apart("mount -t tmpfs tmpfs /dev/shm && echo 10 > /proc/sys/kernel/shmmni", MANY)
    assert text.startswith("10 ") and "shmmni" in text
