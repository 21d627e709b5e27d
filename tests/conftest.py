"""Both backends, all start methods, and a guard that no test leaves anything behind."""

from __future__ import annotations

import gc
import multiprocessing
import os
import secrets
import signal
import time
from collections.abc import Iterator
from multiprocessing import forkserver, heap, resource_tracker
from pathlib import Path

import pytest

# Unless it is asked for, nobody frees behind the back of a test that shows who does.
os.environ.setdefault("SHAREDMEM_REAPER", "0")

import sharedmem  # noqa: E402

BACKENDS = ("posix", "sysv")
START_METHODS = ("fork", "spawn", "forkserver")
TIME_LIMIT = 100  # seconds; reached only in a deadlock
PATIENCE = 5  # seconds; for processes that were told to end

FAILED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--start-method", choices=START_METHODS, help="multiprocessing's default for this run"
    )


def pytest_configure(config: pytest.Config) -> None:
    method = config.getoption("--start-method")
    if method:
        multiprocessing.set_start_method(method)
    # pytest's faulthandler has a thread of its own, which is why every fork would warn.
    config.addinivalue_line("filterwarnings", "ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> pytest.TestReport:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture(params=[pytest.param(each, marks=pytest.mark.contract) for each in BACKENDS])
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend in turn."""
    return request.param


@pytest.fixture(params=START_METHODS)
def start_method(request: pytest.FixtureRequest) -> str:
    """Each of multiprocessing's start methods in turn."""
    return request.param


@pytest.fixture
def name() -> str:
    """A name that no segment has."""
    return f"test-{secrets.token_hex(8)}"


@pytest.fixture(autouse=True)
def time_limit() -> Iterator[None]:
    """Turn a deadlock into a failure, whatever the test is waiting for."""

    def give_up(signum: int, frame: object) -> None:
        raise TimeoutError(f"not done within {TIME_LIMIT} s")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(TIME_LIMIT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


@pytest.fixture(scope="session", autouse=True)
def long_lived() -> Iterator[None]:
    """Start what multiprocessing makes once and keeps for the life of the process.

    These are the resource tracker, the forkserver, and the first arena of the
    heap that barriers lie in: two processes, and their fds.
    """
    resource_tracker.ensure_running()
    forkserver.set_forkserver_preload([])
    forkserver.ensure_running()
    block = heap.BufferWrapper(1)
    yield
    del block


def _files() -> set[str]:
    """All files of ours but this process's own family."""
    own = f"smem.{os.geteuid()}.f.{sharedmem.family()}"
    names = {name for name in os.listdir("/dev/shm") if name.startswith("smem.")}
    return {f"/dev/shm/{name}" for name in names - {own}}


def _sysv() -> set[str]:
    with open("/proc/sysvipc/shm") as table:
        columns = table.readline().split()
        rows = [dict(zip(columns, line.split())) for line in table]
    return {f"SysV id {row['shmid']}" for row in rows if int(row["uid"]) == os.geteuid()}


def _fds() -> set[str]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.add(f"fd {fd} -> {os.readlink(f'/proc/self/fd/{fd}')}")
        except FileNotFoundError:
            pass  # the listing's own
    return found


def _is_reaper(pid: str) -> bool:
    """Whether the process, possibly a zombie, is a family's reaper.

    It belongs to nobody: it is a child of the process that adopts orphans, which
    may be this one, and ends by itself.
    """
    try:
        if not Path(f"/proc/{pid}/comm").read_text().startswith("sharedmem-reape"):
            return False
        os.waitpid(int(pid), os.WNOHANG)
    except (FileNotFoundError, ProcessLookupError, ChildProcessError):
        pass
    return True


def _children() -> set[str]:
    """Children of this process and of its forkserver, those not waited for included."""
    found: set[str] = set()
    for parent in "self", str(forkserver._forkserver._forkserver_pid):
        for task in Path(f"/proc/{parent}/task").iterdir():
            try:
                found.update((task / "children").read_text().split())
            except (FileNotFoundError, ProcessLookupError):
                pass  # the thread has ended
    return {f"process {pid}" for pid in found if not _is_reaper(pid)}


def _held() -> set[str]:
    return _files() | _sysv() | _fds() | _children()


@pytest.fixture(autouse=True)
def nothing_left(
    request: pytest.FixtureRequest, long_lived: None, time_limit: None
) -> Iterator[None]:
    """Files, SysV segments, fds and children are the same after a test as before.

    What processes that were told to end still hold is waited for, boundedly. A
    test that failed is not judged: its traceback keeps what it had.
    """
    before = _held()
    yield
    request.node.funcargs.clear()  # arrays that fixtures made
    deadline = time.monotonic() + PATIENCE
    while left := _held() - before:
        gc.collect()
        sharedmem.reclaim()
        left = _held() - before
        if not left or request.node.stash.get(FAILED, False):
            return
        if time.monotonic() > deadline:
            pytest.fail("left behind: " + ", ".join(sorted(left)))
        time.sleep(0.01)
