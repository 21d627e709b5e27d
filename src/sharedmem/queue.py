"""`Queue`: objects from many processes to many, through a ring in shared memory."""

from __future__ import annotations

import collections
import contextlib
import os
import pickle
import threading
import time
import traceback
import weakref
from collections.abc import Iterator
from multiprocessing import util
from queue import Empty, Full
from typing import Any, Generic, TypeVar

import numpy as np

from sharedmem import creation, names
from sharedmem._core.errors import NoRoomError, SegmentExistsError, ShutDown
from sharedmem._core.segment import UNPUBLISHED, Ring, integer_of, seconds_of, segment_of
from sharedmem.participant import context
from sharedmem.pickling import dumps, forget
from sharedmem.sharedarray import SharedArray

__all__ = ["JoinableQueue", "Queue"]

T = TypeVar("T")

_UNBOUNDED = 65_536  # a maxsize above this bounds nothing
_SLOTS = 16_383  # items in the ring of an unbounded queue
_ROOM = 1 << 20  # bytes
_SPARE = 512  # bytes of the name of an item that lies elsewhere
_FOREVER = 9e9  # seconds
_NOTHING: Any = object()


def _lay_down(data: memoryview) -> bytes:
    """Put a pickle into a segment of its own; the name of that, with a ticket."""
    array = creation.copy(np.frombuffer(data, np.uint8))
    return dumps(array)


def _pick_up(name: bytes) -> Any:
    return _open(_open(name))


def _open(data: Any) -> Any:
    """The object of a pickle that nobody else has: one that fails leaves no ticket."""
    try:
        return pickle.loads(data)
    except BaseException:
        with contextlib.suppress(Exception):  # it is the first exception that tells why
            forget(data)
        raise


def _forget(data: bytes) -> None:
    """Take back the tickets of an item that nobody will get."""
    with contextlib.suppress(Exception):  # what cannot be loaded names nothing
        if data[:1] == b"L":
            _forget(b"P" + pickle.loads(data[1:]).tobytes())
        elif data[:1] == b"P" and b"sharedmem" in data:
            forget(data[1:])


def _deadline(block: bool, timeout: float | None) -> int | None:
    """Nanoseconds of CLOCK_MONOTONIC; 0 does not wait, None waits without end."""
    seconds = None if timeout is None else seconds_of(timeout)
    if not block:
        return 0
    if seconds is None or seconds > _FOREVER:
        return None
    return time.monotonic_ns() + max(1, int(seconds * 1e9))


def _soon() -> int:
    """A consumer that keeps up makes room until then, and no thread is needed."""
    return time.monotonic_ns() + 5_000_000


class _Backlog:
    """What an unbounded queue has taken from this process and has no room for yet.

    As `multiprocessing.Queue` has for everything: a thread puts the items as room
    comes, and the process waits for it at its end. Later items have to go through
    it, too, until it is empty, or they would overtake the earlier ones.
    """

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._items: collections.deque[bytes] = collections.deque()
        self.waits = False  # whether something does
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._join: Any = None
        _backlogs.add(self)

    def put(self, data: bytes, wait_at_exit: bool) -> None:
        with self._changed:
            self._items.append(data)
            self.waits = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._feed, name="sharedmem.Queue", daemon=True)
                self._thread.start()
                if wait_at_exit:
                    # After the finalizers of multiprocessing's own queues, before
                    # this process leaves its family.
                    self._join = util.Finalize(None, self._thread.join, exitpriority=-5)

    def __len__(self) -> int:
        return len(self._items)

    def clear(self) -> None:
        """In a forked child: what waits is the parent's, and so was the thread."""
        self._ring.drop_kept(inherited=True)
        self._items.clear()
        self._changed = threading.Condition()
        self._thread = self._join = None
        self.waits = False

    def _feed(self) -> None:
        while True:
            with self._changed:
                if not self._items:
                    self._thread = None
                    self.waits = False
                    if self._join is not None:
                        self._join.cancel()
                    return
                data = self._items[0]
            try:
                self._ring.put_item(data, None)
            except ShutDown:
                pass  # as what is in it may be, it is lost
            except Exception:  # there is no memory for a large one: the others may have room
                traceback.print_exc()
            with self._changed:
                self._items.popleft()

    def join(self) -> None:
        thread = self._thread
        if thread is not None:
            thread.join()

    def cancel_join(self) -> None:
        if self._join is not None:
            self._join.cancel()


_backlogs: weakref.WeakSet[_Backlog] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for backlog in list(_backlogs):
        backlog.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)


class Queue(Generic[T]):
    """A queue for any number of producers and consumers, in shared memory.

    In place of `multiprocessing.Queue`: the same methods, and no thread and no pipe
    between. Objects are pickled in `put`; shared arrays in them go by name, and a
    large object goes through a segment of its own.

    Parameters
    ----------
    maxsize : int, default 0
        How many items it holds at most. With 0 or less, or more than 65,536, `put`
        never waits: what the ring in shared memory (16,383 items, 1 MiB) has no room for
        waits in this process, which at its end waits until all of it was sent.
    name : str, optional
        To `attach` it by. Random when not given.
    backend : {'posix', 'sysv'}, optional
        Where its memory lies.
    ctx : context of multiprocessing, optional
        Taken, and not used: as `multiprocessing.Queue` has it.

    Raises
    ------
    SegmentExistsError
        If there is something of this name.
    NoRoomError
        If there is no room for it.

    See Also
    --------
    multiprocessing.Queue, queue.Queue : Whose interface this is.

    Notes
    -----
    A queue can be inherited by fork, sent to any process at any time, and attached by
    name. Its memory is freed as that of an array, by its last user; what is in it then is
    lost.

    A process that is killed in `put` or `get` loses its own item at most and stops nobody:
    who needs the lock that it held takes it over, and there is nothing to mend. A process
    that is stopped there stops those who put, or those who take, until it goes on.

    Shared arrays in an item that nobody receives, because its consumer was killed or the
    queue has gone, stay until the family of the process that put them has ended.

    Items of exactly the types `int`, `float`, `str`, `bytes`, `bool` and None are not
    pickled while they are small.

    An object that cannot be pickled is an exception here, in `put`, as it is not with
    `multiprocessing.Queue`, whose thread prints it.

    Examples
    --------
    >>> import sharedmem
    >>> queue = sharedmem.Queue()
    >>> queue.put(sharedmem.ones(2))
    >>> queue.get()
    SharedArray([1., 1.], backend='posix', name='...')
    """

    _array: SharedArray

    def __init__(
        self,
        maxsize: int = 0,
        *,
        name: str | None = None,
        backend: str | None = None,
        ctx: Any = None,
    ) -> None:
        maxsize = integer_of(maxsize, "maxsize")
        bounded = 0 < maxsize <= _UNBOUNDED
        limit = maxsize if bounded else _SLOTS
        spare = _SPARE if bounded else 0  # without a bound a lack of room is no lack
        room = max(_ROOM, 1 << (limit * spare - 1).bit_length())
        self._over(_made(name, backend, limit, room, spare))

    def _over(self, array: SharedArray) -> None:
        segment = segment_of(array)
        assert segment is not None
        self._array = array
        self._ring = Ring(segment, dumps, pickle.loads, _lay_down, _pick_up, _forget)
        self._bounded = self._ring.spare > 0
        self._backlog = _Backlog(self._ring)
        self._closed = False
        self._wait_at_exit = True

    @classmethod
    def attach(cls, name: str) -> Queue[Any]:
        """The queue of this name, made by another process.

        Parameters
        ----------
        name : str
            As it was made with.

        Returns
        -------
        Queue
            The same queue.

        Raises
        ------
        SegmentNotFoundError
            If there is none of this name.
        SegmentKindError
            If what has this name is not a queue.
        PermissionError
            If it is another user's.

        Examples
        --------
        >>> import sharedmem
        >>> queue = sharedmem.Queue(3, name='jobs-example')
        >>> sharedmem.Queue.attach('jobs-example').put('sweep')
        >>> queue.get()
        'sweep'
        """
        return _attached(cls, names.attach(name))

    def __reduce__(self) -> Any:
        return _attached, (type(self), self._array)

    def __copy__(self) -> Queue[T]:
        return self

    def __deepcopy__(self, memo: Any) -> Queue[T]:
        return self  # one thing between processes, as a lock is

    @property
    def name(self) -> str:
        """The name to `attach` it by.

        Examples
        --------
        >>> import sharedmem
        >>> sharedmem.Queue(name='queue-example').name
        'queue-example'
        """
        return self._array.name

    @property
    def maxsize(self) -> int:
        """How many items it holds at most; 0 when it has no bound.

        Examples
        --------
        >>> import sharedmem
        >>> sharedmem.Queue(3).maxsize, sharedmem.Queue().maxsize
        (3, 0)
        """
        return self._ring.limit if self._bounded else 0

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        """Put an item.

        Parameters
        ----------
        item : object
            Pickled here, at once. Shared arrays in it stay alive until it is received.
        block : bool, default True
            Wait for room.
        timeout : float, optional
            Seconds to wait at most.

        Raises
        ------
        queue.Full
            If there was no room in time.
        ShutDown
            If it was shut down.
        ValueError
            If it was closed in this process.
        NoRoomError
            If the item is large and there is no memory for it.

        Notes
        -----
        After an exception nothing was put, and no array is kept for it.

        Examples
        --------
        >>> import sharedmem
        >>> queue = sharedmem.Queue(1)
        >>> queue.put({'rows': 3})
        >>> queue.put('more', timeout=0.01)
        Traceback (most recent call last):
            ...
        queue.Full
        """
        if self._closed:
            self._check_open()
        if timeout is not None:
            seconds_of(timeout)  # also when there is room
        left = self._ring.encode(item) if self._backlog.waits else self._ring.put(item, 0)
        if left is not None:
            self._put_later(left, block, timeout)

    def _put_later(self, data: bytes, block: bool, timeout: float | None) -> None:
        """What found no room at once."""
        if self._bounded:
            if not block or self._ring.put_item(data, _deadline(block, timeout)) is not None:
                _forget(data)
                raise Full
        elif self._backlog.waits or self._ring.put_item(data, _soon()) is not None:
            self._backlog.put(data, self._wait_at_exit)

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Take the first item.

        Parameters
        ----------
        block : bool, default True
            Wait for one.
        timeout : float, optional
            Seconds to wait at most.

        Returns
        -------
        object
            What was put; shared arrays in it are the same memory.

        Raises
        ------
        queue.Empty
            If none came in time.
        ShutDown
            If it was shut down and nothing is in it any more.
        ValueError
            If it was closed in this process.

        Notes
        -----
        An item that cannot be unpickled raises what its unpickling does. It is taken all
        the same, and no array is kept for it.

        When a signal handler raises, the item stays in the queue. If the signal came too
        late for that, this object has it and gives it first at the next call.

        Examples
        --------
        >>> import sharedmem
        >>> queue = sharedmem.Queue()
        >>> queue.get(timeout=0.01)
        Traceback (most recent call last):
            ...
        _queue.Empty
        """
        if self._closed:
            self._check_open()
        item = self._ring.get(_NOTHING, None if block and timeout is None else _deadline(block, timeout))
        if item is _NOTHING:
            raise Empty
        return item  # type: ignore[no-any-return]

    def put_nowait(self, item: T) -> None:
        """As ``put(item, block=False)``.

        Parameters
        ----------
        item : object
            As for `put`.

        Raises
        ------
        queue.Full
            If there is no room now.
        ShutDown, ValueError, NoRoomError
            As `put`.

        Examples
        --------
        >>> import sharedmem
        >>> queue = sharedmem.Queue(1)
        >>> queue.put_nowait('row')
        >>> queue.full()
        True
        """
        self.put(item, False)

    def get_nowait(self) -> T:
        """As ``get(block=False)``.

        Returns
        -------
        object
            As `get`.

        Raises
        ------
        queue.Empty
            If nothing is there now.
        ShutDown, ValueError
            As `get`.

        Examples
        --------
        >>> import sharedmem
        >>> queue = sharedmem.Queue()
        >>> queue.put('row')
        >>> queue.get_nowait()
        'row'
        """
        return self.get(False)

    def __iter__(self) -> Iterator[T]:
        """Take items until the queue is shut down and empty.

        Yields
        ------
        object
            As `get` returns.

        Examples
        --------
        >>> import sharedmem
        >>> queue = sharedmem.Queue()
        >>> queue.put('last')
        >>> queue.shutdown()
        >>> [item for item in queue]
        ['last']
        """
        while True:
            try:
                yield self.get()
            except ShutDown:
                return

    def qsize(self) -> int:
        """How many items are in it, those that wait in this process included.

        Returns
        -------
        int
            As it was at some moment: others put and take.

        Examples
        --------
        >>> import sharedmem
        >>> queue = sharedmem.Queue()
        >>> queue.put('row')
        >>> queue.qsize()
        1
        """
        return self._ring.count() + self._ring.count_kept() + len(self._backlog)

    def empty(self) -> bool:
        """Whether nothing is in it at this moment.

        Returns
        -------
        bool
            Whether `qsize` is 0.

        Examples
        --------
        >>> import sharedmem
        >>> sharedmem.Queue().empty()
        True
        """
        return self.qsize() == 0

    def full(self) -> bool:
        """Whether it holds `maxsize` items at this moment.

        Returns
        -------
        bool
            Never true of a queue without a bound.

        Examples
        --------
        >>> import sharedmem
        >>> sharedmem.Queue(1).full()
        False
        """
        return self._bounded and self._ring.count() >= self._ring.limit

    def shutdown(self, immediate: bool = False) -> None:
        """Let nobody put any more, in any process; who takes ends when it is empty.

        Parameters
        ----------
        immediate : bool, default False
            Throw away what is in it, and free the memory that it alone kept.

        Notes
        -----
        As `queue.Queue.shutdown` of Python 3.13. What waits in a process because the ring
        was full is thrown away.

        Examples
        --------
        >>> import sharedmem
        >>> queue = sharedmem.Queue()
        >>> queue.put(1); queue.put(2); queue.shutdown()
        >>> list(queue)
        [1, 2]
        """
        self._ring.shut()
        for _ in range(self._ring.drop_kept() if immediate else 0):
            self._ring.done()
        while immediate:
            try:
                data = self._ring.get_item(0)
            except ShutDown:
                return
            if data is not None:
                _forget(data)
                self._ring.done()

    def task_done(self) -> None:
        """An item that was taken is done.

        Raises
        ------
        ValueError
            If it is called more often than items were put.

        Examples
        --------
        >>> import sharedmem
        >>> queue = sharedmem.Queue()
        >>> queue.put('row')
        >>> queue.get()
        'row'
        >>> queue.task_done()
        >>> queue.join()
        """
        if not self._ring.done():
            raise ValueError("task_done() called too many times")

    def join(self) -> None:
        """Wait until `task_done` was called for every item that was put.

        Notes
        -----
        For an item whose consumer was killed nobody calls it: whoever sees that death has to.

        Examples
        --------
        >>> import sharedmem
        >>> sharedmem.Queue().join()
        """
        self._backlog.join()
        self._ring.join()

    def close(self) -> None:
        """This object puts and takes no more. Others of the same queue are not concerned.

        Examples
        --------
        >>> import sharedmem
        >>> queue = sharedmem.Queue()
        >>> queue.close()
        >>> queue.join_thread()
        """
        self._closed = True

    def join_thread(self) -> None:
        """Wait until all that waits in this process was put.

        Raises
        ------
        AssertionError
            If it was not closed.

        Examples
        --------
        >>> import sharedmem
        >>> queue = sharedmem.Queue()
        >>> queue.put('row')
        >>> queue.close()
        >>> queue.join_thread()
        """
        assert self._closed, f"Queue {self!r} not closed"
        self._backlog.join()

    def cancel_join_thread(self) -> None:
        """Let this process end without waiting: what has not been put is lost.

        Examples
        --------
        >>> import sharedmem
        >>> queue = sharedmem.Queue()
        >>> queue.cancel_join_thread()
        """
        self._wait_at_exit = False
        self._backlog.cancel_join()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} maxsize={self.maxsize} name={self.name!r}>"


def _made(name: str | None, backend: str | None, limit: int, room: int, spare: int) -> SharedArray:
    where = names.backend_number(backend)
    try:
        segment = context.make_queue(name, where, UNPUBLISHED, limit, room, spare)
    except SegmentExistsError as error:
        raise names.explain_exists(error) from None
    except NoRoomError as error:
        raise creation.explain_no_room(error, (room,), np.dtype(np.uint8), backend) from None
    return names.array_of(segment)


def _attached(cls: type[Queue[Any]], array: SharedArray) -> Queue[Any]:
    queue = cls.__new__(cls)
    queue._over(array)
    return queue


JoinableQueue = Queue
