"""Locks and their relatives: `threading`'s interfaces, between processes.

Each lies in a small segment of its own, so it is named, found, sent and freed as
an array is; an array's own lock lies in the array's header.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from types import TracebackType
from typing import Any, ClassVar, TypeVar

from sharedmem import names, pickling
from sharedmem._core.errors import (
    LayoutMismatchError,
    NotHeldError,
    SegmentExistsError,
    SegmentKindError,
    SegmentNotFoundError,
    make,
)
from sharedmem._core.segment import (
    HOLDER_DEAD,
    HOLDER_UNSEEN,
    KIND_BARRIER,
    KIND_CONDITION,
    KIND_EVENT,
    KIND_LOCK,
    KIND_RECURSIVE,
    KIND_SEMAPHORE,
    PERSISTENT,
    REPLACE,
    CoreBarrier,
    CoreCondition,
    CoreEvent,
    CoreLock,
    CoreSemaphore,
    Segment,
    Synchronizer,
    integer_of,
    seconds_of,
)
from sharedmem.participant import context

__all__ = ["Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "Semaphore"]

_Self = TypeVar("_Self", bound="_Shared")
_Units = TypeVar("_Units", bound="Semaphore")
_CONDITION_AT = 24  # behind the condition's own lock: sharedmem.h


class _Shared(Synchronizer):
    """What all of them have: a name, a segment, a way through a pickle."""

    _kind: ClassVar[int]

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        ForkingPickler.register(cls, _reduce_in_flight)  # it goes by exact type

    def _make(
        self,
        name: str | None,
        value: int,
        limit: int,
        or_attach: bool,
        *,
        persistent: bool = False,
        replace: bool = False,
        backend: str | None = None,
        permissions: int = 0o600,
    ) -> None:
        number = names.backend_number(backend)
        flags = bool(persistent) * PERSISTENT | bool(replace) * REPLACE
        try:
            segment = context.make_sync(
                self._kind,
                name,
                number,
                flags,
                permissions,
                value,
                limit,
                or_attach,
            )
        except SegmentExistsError as error:
            raise names.explain_exists(error) from None
        if segment.numbers(self._kind) != (value, limit):
            raise make(
                LayoutMismatchError,
                22,
                f"it was made with {segment.numbers(self._kind)}, asked for was {(value, limit)}",
                "attach it as it is, choose another name, or unlink it first",
                name,
            )
        self._place(segment, 0)

    def _place(self, segment: Segment, offset: int) -> None:
        self.bind(segment, offset)

    def _state(self) -> tuple[Any, ...]:
        """What of it is not in shared memory, for _set_state()."""
        return ()

    def _set_state(self, *state: Any, **named: Any) -> None:
        pass

    @classmethod
    def attach(cls: type[_Self], name: str) -> _Self:
        """The one of this name, as it is.

        Parameters
        ----------
        name : str
            ``'posix:x'`` and ``'sysv:x'`` look on one backend only.

        Raises
        ------
        SegmentNotFoundError
            If there is none of this name; a ``FileNotFoundError``.
        SegmentKindError
            If what has the name is something else: an array, another synchroniser, or
            one that another version laid out; a ``TypeError``.

        Examples
        --------
        >>> import sharedmem
        >>> event = sharedmem.Event(name='attach-example')
        >>> sharedmem.Event.attach('attach-example').set()
        >>> event.is_set()
        True
        """
        self = cls.__new__(cls)
        self._place(context.attach_sync(name, cls._kind), 0)
        self._set_state()
        return self

    @property
    def name(self) -> str:
        """The name to attach it by; an array's own lock has the array's.

        Examples
        --------
        >>> import sharedmem
        >>> sharedmem.Lock(name='lock-name-example').name
        'lock-name-example'
        """
        return self._segment.name

    @property
    def backend(self) -> str:
        """``'posix'`` or ``'sysv'``.

        Examples
        --------
        >>> import sharedmem
        >>> sharedmem.Lock(backend='sysv').backend
        'sysv'
        """
        return self._segment.backend

    def is_current(self) -> bool:
        """Whether the name still leads to it.

        Returns
        -------
        bool
            False after `unlink`, and when another has taken the name.

        Examples
        --------
        >>> import sharedmem
        >>> sharedmem.Lock().is_current()
        True
        """
        return self._segment.is_current()

    def unlink(self) -> None:
        """Take the name away: nobody can attach it any more; who has it goes on.

        Raises
        ------
        SegmentNotFoundError
            If it has no name any more.

        Examples
        --------
        >>> import sharedmem
        >>> lock = sharedmem.Lock()
        >>> lock.unlink()
        >>> lock.is_current()
        False
        """
        self._segment.unlink()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _reduce(self, 0)

    def __repr__(self) -> str:
        return f"<sharedmem.{type(self).__name__} {self.name!r}{self._show()}>"

    def _show(self) -> str:
        return ""


def _reduce(it: _Shared, ticket: int | None) -> Any:
    if ticket is None or not it._segment.is_current():
        raise make(
            SegmentNotFoundError,
            2,
            f"this {type(it).__name__} has no name any more, and cannot be sent by content",
            "send it before it is unlinked, or let a forked child inherit it",
            it.name,
        )
    return load, (*it._segment.identity(), it._offset, type(it), it._state(), ticket)


def _reduce_in_flight(it: _Shared) -> Any:
    return _reduce(it, pickling.issue(it._segment))


def load(
    backend: int,
    name: str,
    nonce: int,
    origin: int,
    family: int,
    mode: int,
    offset: int,
    cls: type[_Shared],
    state: tuple[Any, ...],
    ticket: int,
) -> _Shared:
    """Attach what a descriptor names. Called by unpickling."""
    try:
        segment = context.receive(backend, name, nonce, mode, 0)
    except SegmentNotFoundError as error:
        raise pickling.explain_missing(error, backend, origin, family) from None
    if offset == 0:
        segment.numbers(cls._kind)  # is it one?
    it = cls.__new__(cls)
    it._place(segment, offset)
    it._set_state(*state)
    if ticket:
        segment.free_ticket(ticket)
    return it


def _whom(state: int, pid: int) -> str:
    """The holder of a lock, as far as it can be seen from here."""
    if state == HOLDER_UNSEEN:
        return "a process that cannot be seen from here (sharedmem clean --locks can break it)"
    if state == HOLDER_DEAD:
        return "a process that has died"
    return f"process {pid}" if pid else "a process of another PID namespace"


class Lock(CoreLock, _Shared):
    """A lock between processes, with `threading.Lock`'s interface.

    Parameters
    ----------
    name : str, optional
        To `attach` it by; random when not given.
    **sharing
        ``persistent``, ``replace``, ``backend`` and ``permissions`` (none of 0o022), as for
        `sharedmem.empty`.

    Attributes
    ----------
    name, backend : str

    Raises
    ------
    SegmentExistsError
        If the name is taken; a ``FileExistsError``.
    SharedmemError
        As `sharedmem.empty`.

    See Also
    --------
    SharedArray.lock : Every array has one.
    RLock : May be taken again by the thread that holds it.

    Notes
    -----
    The holder is a process: what one thread has taken another may release. A forked
    child holds nothing.

    When the holder dies, however it ends, who waits gets the lock within a tenth of a
    second, and `OwnerDiedError`: what it guards may be half-changed. After `acquire`
    the lock is then held: look, put it in order, `recover`, and release it. A ``with``
    gives it back before it raises. Until somebody recovers it, everybody who takes it
    is told. A holder that cannot be seen, which takes another PID namespace and a lost
    family file, counts as alive. The ``repr`` says which process holds the lock; ``sharedmem
    clean --locks NAME --yes`` breaks one whose holder is dead or cannot be seen.

    Taking and releasing a lock that nobody else wants makes no system call. Who waits
    sleeps without the GIL, and signal handlers run: when one raises, the lock is not held.

    References
    ----------
    ``PTHREAD_MUTEX_ROBUST`` in :manpage:`pthread_mutexattr_setrobust(3)`, whose
    ``EOWNERDEAD`` this is.

    Examples
    --------
    >>> import sharedmem
    >>> lock = sharedmem.Lock(name='lock-example')
    >>> with lock:
    ...     lock.locked()
    True
    >>> sharedmem.Lock.attach('lock-example').acquire(timeout=1)
    True
    >>> lock.release()
    """

    _kind = KIND_LOCK

    def __init__(self, name: str | None = None, **sharing: Any) -> None:
        self._make(name, 0, 0, False, **sharing)

    @classmethod
    def attach_or_create(cls: type[_Self], name: str, **sharing: Any) -> _Self:
        """The one of this name, made if there is none; those who race agree on one.

        Parameters
        ----------
        name : str
            To `attach` it by.
        **sharing
            Of the one to make.

        Raises
        ------
        SegmentKindError
            If what has the name is something else; a ``TypeError``.

        Examples
        --------
        >>> import sharedmem
        >>> lock = sharedmem.Lock.attach_or_create('lock-for-all')
        """
        self = cls.__new__(cls)
        self._make(name, 0, 0, True, **sharing)
        self._set_state()
        return self

    def _show(self) -> str:
        if not self.locked():
            return " free"
        if self._is_owned():
            return " held here"
        return f" held by {_whom(*self._holder())}"


class RLock(Lock):
    """A lock that the thread that holds it may take again, as `threading.RLock`.

    Parameters
    ----------
    name : str, optional
        To `attach` it by; random when not given.
    **sharing
        As for `Lock`.

    Notes
    -----
    The holder is a thread: only it may release, as often as it has acquired. It is
    the death of its *process* that the next one is told of: a thread that ends while
    it holds the lock keeps it, as in `threading`. Everything else is as with `Lock`.

    Examples
    --------
    >>> import sharedmem
    >>> lock = sharedmem.RLock()
    >>> with lock, lock:
    ...     pass
    """

    _kind = KIND_RECURSIVE

    def _place(self, segment: Segment, offset: int) -> None:
        self.bind(segment, offset)
        self.set_recursive()


class Condition(CoreCondition, _Shared):
    """Wait until others say that something has changed, as `threading.Condition`.

    Parameters
    ----------
    lock : Lock or RLock, optional
        What guards the thing; several conditions may share one. One of its own (an
        `RLock`) when not given.
    name : str, optional
        To `attach` it by; random when not given.
    **sharing
        As for `Lock`.

    Raises
    ------
    TypeError
        If `lock` is not one of this library's.
    SegmentExistsError, SharedmemError
        As `Lock`.

    Notes
    -----
    A process that is killed while it waits, or after it was notified and before it goes on,
    takes nobody's notification with it: another one that waits gets it within a tenth of a
    second. A later `notify` may then let one more go on than asked for: look at
    what was waited for, or use `wait_for`.

    `wait` raises `OwnerDiedError` when somebody died with the lock; it is held then,
    as after `Lock.acquire`. It is held as well when `wait` ends with the exception of a
    signal handler, and a notification that had come goes to another one that waits.

    Examples
    --------
    >>> import sharedmem
    >>> condition = sharedmem.Condition()
    >>> with condition:
    ...     condition.notify()
    ...     condition.wait(timeout=0.001)
    False
    """

    _kind = KIND_CONDITION
    _lock: Lock

    def __init__(self, lock: Lock | None = None, name: str | None = None, **sharing: Any) -> None:
        _check_lock(lock)
        self._make(name, 0, 0, False, **sharing)
        self._set_state(lock)

    @classmethod
    def attach(cls: type[_Self], name: str, lock: Lock | None = None) -> _Self:
        """The one of this name.

        Parameters
        ----------
        name : str
            To `attach` it by.
        lock : Lock or RLock, optional
            The one that it was made with, if that was given.

        Raises
        ------
        SegmentNotFoundError, SegmentKindError
            As `Lock.attach`.

        Examples
        --------
        >>> import sharedmem
        >>> condition = sharedmem.Condition(name='condition-example')
        >>> same = sharedmem.Condition.attach('condition-example')
        >>> with same:
        ...     same.notify_all()
        """
        _check_lock(lock)
        self = cls.__new__(cls)
        self._place(context.attach_sync(name, cls._kind), 0)
        self._set_state(lock)
        return self

    @classmethod
    def attach_or_create(cls: type[_Self], name: str, lock: Lock | None = None, **sharing: Any) -> _Self:
        """The one of this name, made if there is none.

        Parameters
        ----------
        name : str
            To `attach` it by.
        lock : Lock or RLock, optional
            As for the class.
        **sharing
            Of the one to make.

        Examples
        --------
        >>> import sharedmem
        >>> condition = sharedmem.Condition.attach_or_create('condition-for-all')
        """
        _check_lock(lock)
        self = cls.__new__(cls)
        self._make(name, 0, 0, True, **sharing)
        self._set_state(lock)
        return self

    def _place(self, segment: Segment, offset: int) -> None:
        self.bind(segment, _CONDITION_AT)

    @property
    def _offset(self) -> int:
        return 0

    def _state(self) -> tuple[Any, ...]:
        own = self._lock._segment is self._segment
        return () if own else (self._lock,)

    def _set_state(self, lock: Lock | None = None) -> None:
        if lock is None:
            lock = RLock.__new__(RLock)
            lock._place(self._segment, 0)
        self._lock = lock

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        """Take the lock; as `Lock.acquire`.

        Parameters
        ----------
        blocking : bool, default True
            Wait for it.
        timeout : float, optional
            Seconds to wait at most; -1 and None have no end.

        Returns
        -------
        bool
            Whether it was taken.

        Examples
        --------
        >>> import sharedmem
        >>> condition = sharedmem.Condition()
        >>> condition.acquire(timeout=1)
        True
        >>> condition.release()
        """
        return self._lock.acquire(blocking, timeout)

    def release(self) -> None:
        """Give the lock back.

        Examples
        --------
        >>> import sharedmem
        >>> condition = sharedmem.Condition()
        >>> condition.acquire()
        True
        >>> condition.release()
        """
        self._lock.release()

    def recover(self) -> None:
        """What the lock guards is in order again; as `Lock.recover`.

        Examples
        --------
        >>> import sharedmem
        >>> condition = sharedmem.Condition()
        >>> with condition:
        ...     condition.recover()
        """
        self._lock.recover()

    def __enter__(self) -> bool:
        return self._lock.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()

    def _check_held(self) -> None:
        if not self._lock._is_owned():
            text = "the condition's lock is not held by this process or thread"
            raise make(NotHeldError, 1, text, "wait and notify within `with condition`", self.name)

    def wait(self, timeout: float | None = None) -> bool:
        """Give the lock back, wait for a notification, and take the lock again.

        Parameters
        ----------
        timeout : float, optional
            Seconds.

        Returns
        -------
        bool
            False when the time was over.

        Raises
        ------
        NotHeldError
            If the lock is not held here; a ``RuntimeError``.
        OwnerDiedError
            If who had the lock meanwhile died with it. It is held here.

        Examples
        --------
        >>> import sharedmem
        >>> condition = sharedmem.Condition()
        >>> with condition:
        ...     condition.wait(timeout=0.001)
        False
        """
        self._check_held()
        return self._wait(self._lock, timeout)

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until `predicate` returns something true.

        Parameters
        ----------
        predicate : callable
            Called with the lock held.
        timeout : float, optional
            Seconds, for all of it.

        Returns
        -------
        object
            What `predicate` returned last; false when the time was over.

        Raises
        ------
        NotHeldError, OwnerDiedError
            As `wait`.

        Examples
        --------
        >>> import sharedmem
        >>> condition = sharedmem.Condition()
        >>> with condition:
        ...     condition.wait_for(lambda: 7)
        7
        """
        end = None if timeout is None else time.monotonic() + seconds_of(timeout)
        result = predicate()
        while not result:
            self._check_held()
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
            result = predicate()
        return result

    def notify(self, n: int = 1) -> None:
        """Let `n` of those who wait go on.

        Parameters
        ----------
        n : int, default 1
            How many to wake.

        Raises
        ------
        NotHeldError
            If the lock is not held here; a ``RuntimeError``.

        Examples
        --------
        >>> import sharedmem
        >>> condition = sharedmem.Condition()
        >>> with condition:
        ...     condition.notify(2)
        """
        self._check_held()
        self._notify(min(max(integer_of(n, "n"), 0), 2**32 - 1))

    def notify_all(self) -> None:
        """Let all who wait go on; raises as `notify`.

        Examples
        --------
        >>> import sharedmem
        >>> condition = sharedmem.Condition()
        >>> with condition:
        ...     condition.notify_all()
        """
        self.notify(2**32 - 1)


def _check_lock(lock: Any) -> None:
    if lock is not None and not isinstance(lock, Lock):
        raise TypeError(f"lock must be a sharedmem.Lock or RLock, not {type(lock).__name__}")


class Event(CoreEvent, _Shared):
    """A flag to wait for, as `threading.Event`.

    Parameters
    ----------
    name : str, optional
        To `attach` it by; random when not given.
    **sharing
        As for `Lock`.

    Examples
    --------
    >>> import sharedmem
    >>> event = sharedmem.Event()
    >>> event.wait(timeout=0.001)
    False
    >>> event.set()
    >>> event.wait(), event.is_set()
    (True, True)
    """

    _kind = KIND_EVENT

    def __init__(self, name: str | None = None, **sharing: Any) -> None:
        self._make(name, 0, 0, False, **sharing)

    @classmethod
    def attach_or_create(cls: type[_Self], name: str, **sharing: Any) -> _Self:
        """The one of this name, made if there is none.

        Parameters
        ----------
        name : str
            To `attach` it by.
        **sharing
            Of the one to make.

        Examples
        --------
        >>> import sharedmem
        >>> event = sharedmem.Event.attach_or_create('event-for-all')
        """
        self = cls.__new__(cls)
        self._make(name, 0, 0, True, **sharing)
        self._set_state()
        return self

    def _show(self) -> str:
        return " set" if self.is_set() else " not set"


class Semaphore(CoreSemaphore, _Shared):
    """So many units that are acquired and released, as `threading.Semaphore`.

    Parameters
    ----------
    value : int, default 1
        How many units there are at first.
    name : str, optional
        To `attach` it by; random when not given.
    **sharing
        As for `Lock`.

    Raises
    ------
    ValueError
        If `value` is negative or more than 2**31 - 1.
    SegmentExistsError, SharedmemError
        As `Lock`.

    Notes
    -----
    A unit belongs to nobody: what a process has acquired when it dies is not given
    back, as with `multiprocessing.Semaphore`. A process that is killed while it waits, or
    ends its wait by the exception of a signal handler, takes no unit that another one waits for.

    ``acquire(False, 1)``, by position, takes no notice of the timeout, as `multiprocessing`'s;
    ``acquire(False, timeout=1)`` is ValueError, as `threading`'s.

    Examples
    --------
    >>> import sharedmem
    >>> semaphore = sharedmem.Semaphore(2)
    >>> with semaphore:
    ...     semaphore.get_value()
    1
    """

    _kind = KIND_SEMAPHORE

    def __init__(self, value: int = 1, name: str | None = None, **sharing: Any) -> None:
        self._make(name, *self._numbers(value), False, **sharing)

    @classmethod
    def attach_or_create(cls: type[_Units], name: str, value: int = 1, **sharing: Any) -> _Units:
        """The one of this name, made if there is none.

        Parameters
        ----------
        name : str
            To `attach` it by.
        value : int, default 1
            What the one that is there must have been made with.
        **sharing
            Of the one to make.

        Raises
        ------
        LayoutMismatchError
            If the one that is there was made with another value; a ``ValueError``.

        Examples
        --------
        >>> import sharedmem
        >>> semaphore = sharedmem.Semaphore.attach_or_create('units-for-all', 3)
        """
        self = cls.__new__(cls)
        self._make(name, *self._numbers(value), True, **sharing)
        return self

    def _numbers(self, value: int) -> tuple[int, int]:
        """Units at first, and at most; 0 is no bound."""
        return _units(value), 0

    def _show(self) -> str:
        return f" value={self.get_value()}"


class BoundedSemaphore(Semaphore):
    """A semaphore that never has more units than at first, as `threading.BoundedSemaphore`.

    Parameters
    ----------
    value : int, default 1
        At least 1.
    name : str, optional
        To `attach` it by; random when not given.
    **sharing
        As for `Lock`.

    Notes
    -----
    One ``release`` too many is `OverReleasedError`, a ``ValueError``. A semaphore that was
    made without a bound cannot be attached as a bounded one.

    Examples
    --------
    >>> import sharedmem
    >>> semaphore = sharedmem.BoundedSemaphore(2)
    >>> semaphore.release()
    Traceback (most recent call last):
        ...
    sharedmem.errors.OverReleasedError: ...
    """

    def _numbers(self, value: int) -> tuple[int, int]:
        units = _units(value)
        if not units:
            raise ValueError("a bounded semaphore has at least 1 unit at first")
        return units, units

    def _place(self, segment: Segment, offset: int) -> None:
        if not segment.numbers(self._kind)[1]:
            text = "this semaphore has no bound"
            raise make(SegmentKindError, 22, text, "attach it as a Semaphore", segment.name)
        super()._place(segment, offset)


def _units(value: int) -> int:
    value = integer_of(value, "value")
    if not 0 <= value < 2**31:
        raise ValueError("semaphore initial value must be >= 0 and < 2**31")
    return value


class Barrier(CoreBarrier, _Shared):
    """Nobody goes on before all are there, as `threading.Barrier`.

    Parameters
    ----------
    parties : int
        How many that is.
    action : callable, optional
        What the last one to come does, in its process, before the others go on. It
        has to be picklable where the barrier is sent.
    timeout : float, optional
        Of `wait`, when that is not given one. Seconds.
    name : str, optional
        To `attach` it by; random when not given.
    **sharing
        As for `Lock`.

    Attributes
    ----------
    parties : int
    n_waiting : int
        How many are there now.
    broken : bool

    Raises
    ------
    ValueError
        If ``parties`` is less than 1.
    SegmentExistsError, SharedmemError
        As `Lock`.

    Notes
    -----
    A process that is killed while it waits has come all the same. When the last one dies before
    the others go on, the barrier is broken; one that never comes is waited for, so
    give a timeout where that may happen.

    Examples
    --------
    >>> import sharedmem
    >>> barrier = sharedmem.Barrier(1)
    >>> barrier.wait()
    0
    """

    _kind = KIND_BARRIER
    _action: Callable[[], Any] | None
    _timeout: float | None

    def __init__(
        self,
        parties: int,
        action: Callable[[], Any] | None = None,
        timeout: float | None = None,
        name: str | None = None,
        **sharing: Any,
    ) -> None:
        self._make(name, _parties(parties), 0, False, **sharing)
        self._set_state(action, timeout)

    @classmethod
    def attach(
        cls: type[_Self],
        name: str,
        action: Callable[[], Any] | None = None,
        timeout: float | None = None,
    ) -> _Self:
        """The one of this name.

        Parameters
        ----------
        name : str
            To `attach` it by.
        action, timeout : optional
            As for `Barrier`; those of this object.

        Raises
        ------
        SegmentNotFoundError, SegmentKindError
            As `Lock.attach`.

        Examples
        --------
        >>> import sharedmem
        >>> barrier = sharedmem.Barrier(2, name='barrier-example')
        >>> sharedmem.Barrier.attach('barrier-example').parties
        2
        """
        self = cls.__new__(cls)
        self._place(context.attach_sync(name, cls._kind), 0)
        self._set_state(action, timeout)
        return self

    @classmethod
    def attach_or_create(
        cls: type[_Self],
        name: str,
        parties: int,
        action: Callable[[], Any] | None = None,
        timeout: float | None = None,
        **sharing: Any,
    ) -> _Self:
        """The one of this name, made if there is none.

        Parameters
        ----------
        name : str
            To `attach` it by.
        parties : int
            What the one that is there must have been made with.
        action, timeout : optional
            As for `Barrier`; those of this object.
        **sharing
            Of the one to make.

        Raises
        ------
        LayoutMismatchError
            If the one that is there is for another number; a ``ValueError``.

        Examples
        --------
        >>> import sharedmem
        >>> barrier = sharedmem.Barrier.attach_or_create('barrier-for-all', 2)
        """
        self = cls.__new__(cls)
        self._make(name, _parties(parties), 0, True, **sharing)
        self._set_state(action, timeout)
        return self

    def _state(self) -> tuple[Any, ...]:
        return self._action, self._timeout

    def _set_state(self, action: Callable[[], Any] | None = None, timeout: float | None = None) -> None:
        self._action, self._timeout = action, timeout

    def wait(self, timeout: float | None = None) -> int:
        """Wait until all are there.

        Parameters
        ----------
        timeout : float, optional
            Seconds, after which the barrier is broken.

        Returns
        -------
        int
            From 0 to ``parties - 1``, another one for each; the order of coming.

        Raises
        ------
        BrokenBarrierError
            If somebody has given up, aborted, reset it, or was the last one and died;
            a `threading.BrokenBarrierError`.

        Examples
        --------
        >>> import sharedmem
        >>> sharedmem.Barrier(1).wait()
        0
        """
        return self._pass(self._timeout if timeout is None else timeout, self._action)

    def reset(self) -> None:
        """Make it as new; for those who wait it is broken.

        Examples
        --------
        >>> import sharedmem
        >>> barrier = sharedmem.Barrier(2)
        >>> barrier.abort()
        >>> barrier.reset()
        >>> barrier.broken
        False
        """
        self._end(False)

    def abort(self) -> None:
        """Break it, for those who wait and those who come.

        Examples
        --------
        >>> import sharedmem
        >>> barrier = sharedmem.Barrier(2)
        >>> barrier.abort()
        >>> barrier.broken
        True
        """
        self._end(True)

    def _show(self) -> str:
        return " broken" if self.broken else f" {self.n_waiting} of {self.parties} are there"


def _parties(parties: int) -> int:
    parties = integer_of(parties, "parties")
    if not 1 <= parties < 2**31:
        raise ValueError("parties must be >= 1 and < 2**31")
    return parties


def lock_of(segment: Segment) -> Lock:
    """The array's own lock."""
    lock = Lock.__new__(Lock)
    lock.bind(segment, -1)
    return lock
