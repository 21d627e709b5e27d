"""Locks and their relatives have `threading`'s interfaces, names, and ways to be sent."""

from __future__ import annotations

import pickle
import signal
import threading
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import sharedmem

lock_tests = pytest.importorskip("test.lock_tests", reason="this Python has no tests of its own")

# CPython's cases, and those that are about its own objects: their text, what they are
# made of, and what threading's own fork handler does to them.
CASES: dict[str, tuple[str, Callable[..., Any]]] = {
    "LockTests": ("locktype", sharedmem.Lock),
    "RLockTests": ("locktype", sharedmem.RLock),
    "EventTests": ("eventtype", sharedmem.Event),
    "ConditionTests": ("condtype", sharedmem.Condition),
    "SemaphoreTests": ("semtype", sharedmem.Semaphore),
    "BoundedSemaphoreTests": ("semtype", sharedmem.BoundedSemaphore),
    "BarrierTests": ("barriertype", sharedmem.Barrier),
}
EXCLUDED = {
    "test_repr",
    "test_locked_repr",
    "test_at_fork_reinit",
    "test_recursion_count",
    "test_acquire",  # of ConditionTests: a lock of threading's in it
    "test_weakref_exists",
    "test_weakref_deleted",
    "test_constructor_noargs",
}


def cases() -> Iterator[Any]:
    for case, (attribute, kind) in CASES.items():
        made = type(case, (getattr(lock_tests, case),), {attribute: staticmethod(kind)})
        for test in unittest.TestLoader().loadTestsFromTestCase(made):
            name = test.id().rpartition(".")[2]
            if name not in EXCLUDED or (name == "test_acquire" and case != "ConditionTests"):
                yield pytest.param(made, name, id=f"{case}.{name}")


@pytest.mark.parametrize(("case", "name"), list(cases()))
def test_cpythons_own_cases(case: type[unittest.TestCase], name: str) -> None:
    """What CPython asks of threading's objects holds for these."""
    result = unittest.TestResult()
    case(name).run(result)
    assert not result.errors + result.failures, (result.errors + result.failures)[0][1]


MAKERS: dict[str, Callable[..., Any]] = {
    "Lock": sharedmem.Lock,
    "RLock": sharedmem.RLock,
    "Condition": sharedmem.Condition,
    "Event": sharedmem.Event,
    "Semaphore": lambda **sharing: sharedmem.Semaphore(3, **sharing),
    "BoundedSemaphore": lambda **sharing: sharedmem.BoundedSemaphore(2, **sharing),
    "Barrier": lambda **sharing: sharedmem.Barrier(2, **sharing),
}


@pytest.fixture(params=MAKERS)
def maker(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return MAKERS[request.param]


def test_it_is_found_by_its_name(maker: Callable[..., Any], name: str, backend: str) -> None:
    """attach() gives the same one, and it goes with its last user."""
    it = maker(name=name, backend=backend)
    assert (it.name, it.backend, it.is_current()) == (name, backend, True)
    again = type(it).attach(name)
    assert type(again) is type(it) and again._segment is not None
    del it, again
    assert not sharedmem.exists(name)


def test_a_name_is_taken_once(maker: Callable[..., Any], name: str) -> None:
    """A second one of the name is refused, replaces the first, or is the first."""
    it = maker(name=name)
    with pytest.raises(sharedmem.SegmentExistsError, match="mapped by"):
        maker(name=name)
    newer = maker(name=name, replace=True)
    assert newer.is_current() and not it.is_current()
    newer.unlink()
    assert not newer.is_current()
    with pytest.raises(FileNotFoundError):
        type(it).attach(name)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_of_it_is_the_same_one(maker: Callable[..., Any], protocol: int) -> None:
    """What is loaded lies in the same segment."""
    it = maker()
    loaded = pickle.loads(pickle.dumps(it, protocol))
    assert type(loaded) is type(it) and loaded.name == it.name
    assert repr(loaded) == repr(it)


def test_what_has_no_name_cannot_be_pickled(maker: Callable[..., Any]) -> None:
    """A synchroniser cannot go by content."""
    it = maker()
    it.unlink()
    with pytest.raises(sharedmem.SegmentNotFoundError, match="cannot be sent by content"):
        pickle.dumps(it)


def test_another_kind_is_a_type_error(maker: Callable[..., Any], name: str) -> None:
    """An array, or another synchroniser, is not taken for one."""
    it = maker(name=name)
    other = sharedmem.Event if isinstance(it, sharedmem.Lock) else sharedmem.Lock
    with pytest.raises(TypeError, match="another kind"):
        other.attach(name)
    array = sharedmem.zeros(3)
    with pytest.raises(sharedmem.SegmentKindError):
        type(it).attach(array.name)


def test_attach_or_create_finds_what_is_there(name: str) -> None:
    """The first one creates; numbers must be the same."""
    semaphore = sharedmem.Semaphore.attach_or_create(name, 2)
    semaphore.acquire()
    assert sharedmem.Semaphore.attach_or_create(name, 2).get_value() == 1
    with pytest.raises(sharedmem.LayoutMismatchError):
        sharedmem.Semaphore.attach_or_create(name, 3)
    for kind in (sharedmem.Lock, sharedmem.RLock, sharedmem.Event, sharedmem.Condition):
        with pytest.raises(sharedmem.SegmentKindError):
            kind.attach_or_create(name)
    barrier = sharedmem.Barrier.attach_or_create(name + "b", 2)
    assert sharedmem.Barrier.attach(name + "b").parties == barrier.parties == 2


def test_a_bound_is_there_or_not(name: str) -> None:
    """A semaphore without one is not taken for a bounded one; one with it keeps it."""
    sharedmem.Semaphore(1, name=name)
    semaphore = sharedmem.Semaphore(1, name=name, replace=True)
    with pytest.raises(sharedmem.SegmentKindError, match="no bound"):
        sharedmem.BoundedSemaphore.attach(name)
    semaphore.unlink()
    bounded = sharedmem.BoundedSemaphore(1, name=name)
    for same in sharedmem.BoundedSemaphore.attach(name), sharedmem.Semaphore.attach(name):
        with pytest.raises(ValueError, match="more often"):
            same.release()
    assert bounded.get_value() == 1


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: sharedmem.BoundedSemaphore(0), ValueError),
        (lambda: sharedmem.BoundedSemaphore.attach_or_create("none-made", 0), ValueError),
        (lambda: sharedmem.Condition().wait_for(lambda: False, 0), RuntimeError),
        (lambda: sharedmem.Semaphore(-1), ValueError),
        (lambda: sharedmem.Semaphore(2**31), ValueError),
        (lambda: sharedmem.Semaphore(1.5), TypeError),  # type: ignore[arg-type]
        (lambda: sharedmem.Barrier(0), ValueError),
        (lambda: sharedmem.Condition(threading.Lock()), TypeError),  # type: ignore[arg-type]
        (lambda: sharedmem.Lock("a/b"), sharedmem.SegmentNameError),
        (lambda: sharedmem.Lock(backend="memfd"), ValueError),
        (lambda: sharedmem.Lock().acquire(timeout=float("nan")), ValueError),
        (lambda: sharedmem.Lock().acquire(timeout=-2), ValueError),
        (lambda: sharedmem.Lock().acquire(False, 1), ValueError),
        (lambda: sharedmem.Lock().release(), RuntimeError),
        (lambda: sharedmem.Lock().recover(), sharedmem.NotHeldError),
        (lambda: sharedmem.RLock().release(), RuntimeError),
        (lambda: sharedmem.Condition().notify(), RuntimeError),
        (lambda: sharedmem.Condition().wait(0), RuntimeError),
        (lambda: sharedmem.BoundedSemaphore().release(), ValueError),
        (lambda: sharedmem.Lock.__new__(sharedmem.Lock).acquire(), ValueError),
        (lambda: sharedmem.Event.__new__(sharedmem.Event).name, ValueError),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], error: type[Exception]) -> None:
    """Each mistake has the class that threading, or the rest of the library, has for it."""
    with pytest.raises(error):
        make()


def test_conditions_may_share_a_lock() -> None:
    """Two conditions on one lock, sent together, are on one lock there as well."""
    lock = sharedmem.Lock()
    full, empty = sharedmem.Condition(lock), sharedmem.Condition(lock)
    other_full, other_empty = pickle.loads(pickle.dumps((full, empty)))
    with full:
        assert not other_empty.acquire(blocking=False)
        other_full.notify_all()


def test_a_new_family_has_to_wait_for_locks() -> None:
    """Who holds a lock cannot become another holder."""
    lock = sharedmem.Lock()
    with lock, pytest.raises(sharedmem.LocksHeldError):
        sharedmem.new_family()


# ---- an array's own -----------------------------------------------------------------


def test_an_array_has_a_lock(backend: str) -> None:
    """All views and all mappings of an array have one lock; a copy in private memory has none."""
    array = sharedmem.zeros(3, backend=backend)
    reader = sharedmem.attach(array.name, "r")
    with array[1:].lock:
        assert reader.lock.locked() and not array.lock.acquire(timeout=0)
    with reader.lock:
        assert array.lock.locked()
    with pytest.raises(PermissionError):
        sharedmem.attach(array.name, "c").lock.acquire()
    with pytest.raises(AttributeError, match="not in shared memory"):
        array.copy().lock.acquire()


def test_an_arrays_lock_keeps_its_memory_and_can_be_sent() -> None:
    """The lock is a user of the array's segment."""
    array = sharedmem.zeros(3)
    name, lock = array.name, array.lock
    del array
    assert sharedmem.exists(name)
    with pickle.loads(pickle.dumps(lock)):
        assert lock.locked()
    del lock
    assert not sharedmem.exists(name)


# ---- signals ------------------------------------------------------------------------


class Interrupted(Exception):
    pass


@contextmanager
def shots(handler: Callable[[int, object], None]) -> Iterator[None]:
    """SIGPROF for this thread, again and again: one that comes just before a wait is seen by none."""
    target, done = threading.get_ident(), threading.Event()

    def shoot() -> None:
        while not done.wait(0.05):
            signal.pthread_kill(target, signal.SIGPROF)

    before = signal.signal(signal.SIGPROF, handler)
    shooter = threading.Thread(target=shoot)
    shooter.start()
    try:
        yield
    finally:
        done.set()
        shooter.join()
        signal.signal(signal.SIGPROF, before)


def held_elsewhere() -> sharedmem.Lock:
    lock = sharedmem.Lock()
    threading.Thread(target=lock.acquire).start()
    while not lock.locked():
        pass
    return lock


def wait_for_condition() -> None:
    condition = sharedmem.Condition()
    with condition:
        condition.wait()


WAITS: list[Callable[[], object]] = [
    lambda: held_elsewhere().acquire(),
    wait_for_condition,
    lambda: sharedmem.Event().wait(),
    lambda: sharedmem.Semaphore(0).acquire(),
    lambda: sharedmem.Barrier(2).wait(),
]


@pytest.mark.parametrize("wait", WAITS, ids=["lock", "condition", "event", "semaphore", "barrier"])
def test_a_wait_is_ended_by_a_signal(wait: Callable[[], object]) -> None:
    """An exception that a signal handler raises leaves the wait at once."""
    seen: list[int] = []

    def interrupt(number: int, frame: object) -> None:
        seen.append(number)
        if len(seen) == 1:
            raise Interrupted

    with shots(interrupt), pytest.raises(Interrupted):
        wait()


def test_a_handler_that_returns_does_not_end_a_wait() -> None:
    """After a signal handler the wait goes on, to the same end."""
    seen: list[int] = []
    event = sharedmem.Event()

    def note(number: int, frame: object) -> None:
        seen.append(number)
        if len(seen) == 3:
            event.set()

    with shots(note):
        assert event.wait(30)
    assert len(seen) >= 3


def test_others_run_while_one_waits() -> None:
    """A wait gives up the GIL: it is ended by another thread of this process."""
    barrier, results = sharedmem.Barrier(3), []
    threads = [threading.Thread(target=lambda: results.append(barrier.wait(30))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [0, 1, 2]
