"""Odd arguments of queues and synchronisers, beside those of `threading`, `queue` and `multiprocessing`."""

from __future__ import annotations

import multiprocessing
import queue
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import sharedmem

NAN, INFINITE = float("nan"), float("inf")


def full(library: Any) -> Any:
    made = library.Queue(1)
    made.put(0)
    return made


def held(made: Any) -> Any:
    made.acquire()
    return made


def never() -> bool:
    return False


# What is done, and where it ends as here: in threading (t), multiprocessing (m), both or neither.
AS_THEIRS: list[tuple[str, Callable[[Any], Any]]] = [
    ("t", lambda lib: lib.Lock().acquire(False, 1)),
    ("tm", lambda lib: lib.Lock().acquire(False, -1)),
    ("tm", lambda lib: lib.Lock().acquire(True, 0)),
    ("m", lambda lib: lib.Lock().acquire(True, None)),
    ("m", lambda lib: lib.Lock().acquire(False, None)),
    ("tm", lambda lib: held(lib.Lock()).acquire(False)),
    ("tm", lambda lib: held(lib.Lock()).acquire(True, 0)),
    ("t", lambda lib: held(lib.Lock()).acquire(True, -2)),
    ("t", lambda lib: lib.Lock().acquire(timeout=NAN)),
    ("t", lambda lib: lib.Lock().acquire(timeout=INFINITE)),
    ("tm", lambda lib: lib.Lock().acquire(timeout="x")),
    ("tm", lambda lib: lib.Lock().acquire(1, 2, 3)),
    ("t", lambda lib: lib.Lock().release()),
    ("t", lambda lib: lib.RLock().acquire(False, 1)),
    ("t", lambda lib: lib.RLock().acquire(True, -2)),
    ("tm", lambda lib: lib.RLock().acquire(timeout="x")),
    ("t", lambda lib: lib.RLock().release()),
    ("m", lambda lib: lib.Semaphore().acquire(False, 1)),
    ("m", lambda lib: lib.Semaphore(0).acquire(False, 1)),
    ("t", lambda lib: lib.Semaphore().acquire(False, timeout=1)),
    ("tm", lambda lib: lib.Semaphore().acquire(False, None)),
    ("tm", lambda lib: lib.Semaphore().acquire(True, 1)),
    ("tm", lambda lib: lib.Semaphore(0).acquire(True, -1)),
    ("tm", lambda lib: lib.Semaphore(0).acquire(True, 0)),
    ("tm", lambda lib: lib.Semaphore(0).acquire(timeout=-1)),
    ("tm", lambda lib: lib.Semaphore(0).acquire(timeout="x")),
    ("tm", lambda lib: lib.Semaphore(0).acquire(True, "x")),
    ("tm", lambda lib: lib.Semaphore(0).acquire(True, 1, 2)),
    ("", lambda lib: lib.Semaphore(0).acquire(timeout=NAN)),
    ("tm", lambda lib: lib.Semaphore("x")),
    ("m", lambda lib: lib.Semaphore(1.5)),
    ("t", lambda lib: lib.Semaphore(-1)),
    ("t", lambda lib: lib.Semaphore().release(0)),
    ("t", lambda lib: lib.Semaphore().release(2)),
    ("tm", lambda lib: lib.Semaphore().release("x")),
    ("tm", lambda lib: lib.Semaphore().release(1.5)),
    ("tm", lambda lib: lib.BoundedSemaphore().release()),
    ("t", lambda lib: lib.BoundedSemaphore(2).release(2)),
    ("tm", lambda lib: lib.Event().wait(0)),
    ("tm", lambda lib: lib.Event().wait(-1)),
    ("tm", lambda lib: lib.Event().wait("x")),
    ("tm", lambda lib: lib.Event().set(1)),
    ("t", lambda lib: lib.Condition().wait(0)),
    ("tm", lambda lib: held(lib.Condition()).wait(0)),
    ("tm", lambda lib: held(lib.Condition()).wait(-1)),
    ("tm", lambda lib: held(lib.Condition()).wait("x")),
    ("tm", lambda lib: held(lib.Condition()).wait_for(5)),
    ("tm", lambda lib: held(lib.Condition()).wait_for(never, -1)),
    ("tm", lambda lib: held(lib.Condition()).wait_for(never, "x")),
    ("tm", lambda lib: held(lib.Condition()).notify(-1)),
    ("m", lambda lib: held(lib.Condition()).notify("x")),
    ("t", lambda lib: lib.Condition().notify()),
    ("", lambda lib: lib.Condition(5)),
    ("t", lambda lib: lib.Condition().acquire(False, 1)),
    ("t", lambda lib: lib.Condition().release()),
    ("tm", lambda lib: lib.Barrier(1, action=5).wait()),
    ("tm", lambda lib: lib.Barrier(2).wait(0)),
    ("tm", lambda lib: lib.Barrier(2).wait(-1)),
    ("tm", lambda lib: lib.Barrier(2).wait("x")),
    ("tm", lambda lib: lib.Barrier(2, timeout="x").wait()),
    ("", lambda lib: lib.Barrier("x")),
    ("m", lambda lib: lib.Queue("x")),
    ("m", lambda lib: lib.Queue(1.5)),
    ("m", lambda lib: lib.Queue(None)),
    ("tm", lambda lib: lib.Queue().get(timeout="x")),
    ("m", lambda lib: lib.Queue().get(timeout=-1)),
    ("m", lambda lib: lib.Queue().get(False, "x")),
    ("m", lambda lib: lib.Queue().get(timeout=NAN)),
    ("tm", lambda lib: lib.Queue().get(False, -1)),
    ("tm", lambda lib: lib.Queue().get(True, 0)),
    ("m", lambda lib: lib.Queue().put(1, timeout="x")),
    ("tm", lambda lib: full(lib).put(1, timeout="x")),
    ("m", lambda lib: full(lib).put(1, timeout=-1)),
    ("m", lambda lib: full(lib).put(1, False, "x")),
    ("tm", lambda lib: full(lib).put(1, False, -1)),
    ("tm", lambda lib: full(lib).put(1, timeout=0)),
    ("", lambda lib: full(lib).put(1, timeout=NAN)),
    ("tm", lambda lib: lib.Queue().put()),
    ("t", lambda lib: lib.Queue().task_done()),
]

THREADING = SimpleNamespace(**{name: getattr(threading, name, None) for name in dir(threading)})
THREADING.Queue = queue.Queue
LIBRARIES = {"t": THREADING, "m": multiprocessing}


def outcome(library: Any, call: Callable[[Any], Any]) -> Any:
    """What is returned, or the exception."""
    try:
        returned = call(library)
    except Exception as error:
        return error
    return returned if isinstance(returned, (bool, int, type(None))) else "an object"


def same(ours: Any, theirs: Any) -> bool:
    """Ours may be of a subclass."""
    return isinstance(ours, type(theirs)) if isinstance(theirs, Exception) else ours == theirs


@pytest.mark.parametrize("row", range(len(AS_THEIRS)))
def test_odd_arguments_end_as_theirs(row: int) -> None:
    """What the library whose place it takes returns or raises, ours does, where they agree at least."""
    like, call = AS_THEIRS[row]
    ours = outcome(sharedmem, call)
    assert like or isinstance(ours, (TypeError, ValueError))
    for library in like:
        theirs = outcome(LIBRARIES[library], call)
        assert same(ours, theirs), (library, ours, theirs)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: sharedmem.Queue().get(timeout="x"),
            "timeout must be a number of seconds or None, not 'x'",
        ),
        (lambda: sharedmem.Queue().put(1, timeout="x"), "timeout must be a number of seconds"),
        (lambda: sharedmem.Queue().get(timeout=NAN), "not nan"),
        (lambda: sharedmem.Lock().acquire(timeout="x"), "timeout must be a number of seconds"),
        (lambda: sharedmem.Semaphore(0).acquire(timeout=[]), r"timeout must be .* not \[\]"),
        (lambda: sharedmem.Event().wait("x"), "timeout must be a number of seconds"),
        (lambda: sharedmem.Barrier(2).wait("x"), "timeout must be a number of seconds"),
        (
            lambda: held(sharedmem.Condition()).wait_for(never, "x"),
            "timeout must be a number of seconds",
        ),
        (lambda: held(sharedmem.Condition()).wait("x"), "timeout must be a number of seconds"),
        (lambda: held(sharedmem.Condition()).notify("x"), "n must be an integer, not 'x'"),
        (lambda: sharedmem.Semaphore().release(1.5), "n must be an integer, not 1.5"),
        (lambda: sharedmem.Semaphore("x"), "value must be an integer, not 'x'"),
        (lambda: sharedmem.Barrier("x"), "parties must be an integer, not 'x'"),
        (lambda: sharedmem.Queue("x"), "maxsize must be an integer, not 'x'"),
        (lambda: sharedmem.attach("x", owner="root"), "owner must be a uid, not 'root'"),
        (lambda: sharedmem.attach("x", owner=-1), "owner must be a uid, from 0 .* not -1"),
        (lambda: sharedmem.attach("x", owner=2**32), "owner must be a uid, from 0"),
        (lambda: sharedmem.Condition(5), "must be a sharedmem.Lock or RLock"),
    ],
)
def test_the_text_says_what_is_taken(call: Callable[[], object], text: str) -> None:
    """And what was given instead."""
    with pytest.raises((TypeError, ValueError), match=text):
        call()


def test_a_queue_may_be_waited_for_without_end() -> None:
    """Seconds that no clock reaches are no error."""
    queue: Any = sharedmem.Queue()
    for timeout in (1e10, INFINITE):
        waiter = threading.Thread(target=queue.get, kwargs={"timeout": timeout})
        waiter.start()
        queue.put(1)
        waiter.join()
    assert queue.empty()
