"""Pickling by name: descriptors, tickets, and who takes one.

A descriptor is what `load` is called with: the facts in one bytes object, and
where they do not fit into that, the dtype and the class. Whether it carries a
ticket depends on who pickles: `multiprocessing`'s own pickler does it to send,
so what it pickles is in flight until it is received. A plain ``pickle.dumps``
may as well be a hash, a cache or an estimate of a size, and must not pin
memory.
"""

from __future__ import annotations

import collections
import copyreg
import io
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing.reduction import ForkingPickler
from types import MethodType
from typing import Any, ClassVar

import numpy as np

from sharedmem import dtypes, sharedarray
from sharedmem._core.errors import SegmentFormatError, SegmentNotFoundError, make
from sharedmem._core.segment import (
    READ_ONLY,
    READ_WRITE,
    Segment,
    pack_descriptor,
    segment_of,
    unpack_descriptor,
)
from sharedmem.participant import context

__all__ = ["by_content", "forget", "load"]

_by_content: ContextVar[bool] = ContextVar("sharedmem_by_content", default=False)

# How a segment gets a ticket in this thread: from the maker of a message, which knows what becomes of it.
Issuer = Callable[[Segment], "int | None"]
_issuer: ContextVar[Issuer | None] = ContextVar("sharedmem_issuer", default=None)


@contextmanager
def by_content() -> Iterator[None]:
    """Within this context shared arrays are pickled by content, as plain arrays.

    Yields
    ------
    None
        Nothing to be had; it is the block that counts.

    Notes
    -----
    For pickles that outlive the memory: files, databases, other machines. Each
    array is copied into its pickle, and what is loaded is a plain array, or of its
    subclass.

    It holds for the thread, and the asynchronous task, that enters it. A
    `multiprocessing.Queue` pickles in a thread of its own: give it
    ``np.array(a)`` instead.

    Examples
    --------
    >>> import pickle, sharedmem
    >>> with sharedmem.by_content():
    ...     data = pickle.dumps(sharedmem.ones(3))
    >>> pickle.loads(data)
    array([1., 1., 1.])
    """
    token = _by_content.set(True)
    try:
        yield
    finally:
        _by_content.reset(token)


# NumPy makes this text anew each time, which takes as long as all the rest.
# Equal dtypes need not be the same: long and long long, or metadata.
_TEXTS = {dtype: (dtype, dtypes.brief(dtype)) for dtype in map(np.dtype, "?bhiqlBHIQLefdgFDG")}


_NONE = (None, None)


def descriptor(array: np.ndarray, segment: Segment, ticket: int) -> tuple[Any, ...]:
    """What `load` is called with, for an array over this segment."""
    dtype, cls = array.dtype, type(array)
    known, text = _TEXTS.get(dtype, _NONE)
    if known is not dtype:
        text = dtypes.brief(dtype)
    if text is None:
        return pack_descriptor(segment, array, "", ticket), cls, dtypes.pickled(dtype)
    packed = pack_descriptor(segment, array, text, ticket)
    return (packed,) if cls is sharedarray.SharedArray else (packed, cls)


def content(array: np.ndarray, protocol: int) -> Any:
    """What a pickler gets of an array itself: a SharedArray goes as a plain one, a subclass as such."""
    cls = type(array)
    if cls is sharedarray.SharedArray or cls is np.ndarray:
        return array.view(np.ndarray).__reduce_ex__(protocol)
    if issubclass(cls, sharedarray.SharedArray):
        return np.ndarray.__reduce__(array)
    return array.__reduce_ex__(protocol)


def goes_by_name(segment: Segment) -> bool:
    """Whether arrays over a segment are pickled by its name, as long as it has one."""
    return segment.mode in (READ_WRITE, READ_ONLY) and not _by_content.get()


def _named_segment(array: np.ndarray) -> Segment | None:
    """The segment to pickle the array by, if that can be done."""
    segment = segment_of(array)
    if segment is None or not goes_by_name(segment):
        return None
    return segment


def issue(segment: Segment) -> int | None:
    """A ticket for a descriptor to be sent, or None when the segment cannot be named.

    0 where whoever makes the message sees to it that the segment stays.
    """
    issuer = _issuer.get()
    return segment.ticket() if issuer is None else issuer(segment)


@contextmanager
def issued_by(issuer: Issuer) -> Iterator[None]:
    """Within this context `issue` asks `issuer`."""
    token = _issuer.set(issuer)
    try:
        yield
    finally:
        _issuer.reset(token)


def reduce_by_name(array: np.ndarray, protocol: int) -> Any:
    """What a plain pickler gets: a descriptor without a ticket."""
    segment = _named_segment(array)
    if segment is None or not segment.is_current() or _is_written_by_joblib():
        return content(array, protocol)
    return load, descriptor(array, segment, 0)


def _is_written_by_joblib() -> bool:
    """Whether it is joblib's pickler of files that asks: `joblib.dump`, `joblib.Memory`.

    A file outlives the name. Of other picklers, which are C, nobody can tell where they write.
    """
    joblib: Any = sys.modules.get("joblib.numpy_pickle")
    if joblib is None:
        return False
    frame: Any = sys._getframe(2)
    for _ in range(8):  # a few of this package, and of subclasses, stand in between
        if frame is None or frame.f_globals is vars(pickle):
            break
        frame = frame.f_back
    return frame is not None and isinstance(frame.f_locals.get("self"), joblib.NumpyPickler)


def reduce_in_flight(array: np.ndarray) -> Any:
    """What multiprocessing's pickler gets: a descriptor with a ticket."""
    if not has_own_reduce(type(array)):
        return _reduce_in_flight(array, [])
    issued: list[tuple[Segment, int]] = []
    try:
        return reduce_as_class(array, lambda array: _reduce_in_flight(array, issued))
    except BaseException:
        for segment, ticket in issued:
            segment.free_ticket(ticket)
        raise


def _reduce_in_flight(array: np.ndarray, issued: list[tuple[Segment, int]]) -> Any:
    segment = _named_segment(array)
    ticket = None if segment is None else issue(segment)
    if segment is None or ticket is None:
        return content(array, pickle.DEFAULT_PROTOCOL)
    issued.append((segment, ticket))
    return load, descriptor(array, segment, ticket)


# ---- subclasses that pickle more than the array ------------------------------

# What SharedArray.__reduce__ does for this array, where it is not a plain pickler that asks.
_Way = Callable[[np.ndarray], Any]
_way: ContextVar[tuple[np.ndarray, _Way] | None] = ContextVar("sharedmem_way", default=None)


def has_own_reduce(cls: type[np.ndarray]) -> bool:
    """Whether it is a subclass of SharedArray with a ``__reduce__`` of its own."""
    base = sharedarray.SharedArray
    return (
        cls is not base
        and issubclass(cls, base)
        and (cls.__reduce__ is not base.__reduce__ or cls.__reduce_ex__ is not base.__reduce_ex__)
    )


def reduce_as_class(array: np.ndarray, way: _Way) -> Any:
    """What the class makes of what `way` gives for the array itself."""
    token = _way.set((array, way))
    try:
        return array.__reduce_ex__(pickle.DEFAULT_PROTOCOL)
    finally:
        _way.reset(token)


def reduce_for_subclass(array: np.ndarray) -> Any:
    """What SharedArray.__reduce__ gives to subclasses: function, arguments, state.

    The state of what goes by name is ``()``, for them to add to as they add to ndarray's.
    """
    found = _way.get()
    reduced = found[1](array) if found is not None and found[0] is array else reduce_by_name(array, 2)
    return (*reduced, ()) if len(reduced) == 2 and has_own_reduce(type(array)) else reduced


class _Pickler(pickle.Pickler):
    """`multiprocessing`'s pickler, without what it does anew for each message."""

    dispatch_table: ClassVar = collections.ChainMap(  # type: ignore[misc]
        ForkingPickler._extra_reducers,  # type: ignore[attr-defined]
        copyreg.dispatch_table,  # type: ignore[arg-type]
    )


@contextmanager
def all_or_none(take: Issuer = Segment.ticket) -> Iterator[None]:
    """A pickle that fails within this context leaves no ticket."""
    issued: list[tuple[Segment, int]] = []

    def issue_and_note(segment: Segment) -> int | None:
        ticket = take(segment)
        if ticket is not None:
            issued.append((segment, ticket))
        return ticket

    try:
        with issued_by(issue_and_note):
            yield
    except BaseException:
        for segment, ticket in issued:
            segment.free_ticket(ticket)
        raise


def dumps(item: Any, take: Issuer = Segment.ticket) -> bytes:
    """A pickle to be sent, whose tickets are had by `take`. One that fails half-way leaves none."""
    buffer = io.BytesIO()
    with all_or_none(take):
        _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(item)
    return buffer.getvalue()


def register(cls: type[np.ndarray]) -> None:
    """Let multiprocessing's pickler take a ticket for arrays of this very class.

    Parameters
    ----------
    cls : type
        A subclass of `numpy.ndarray` whose instances may lie in shared memory.
        Those of `sharedmem.SharedArray` are registered when they are defined.
    """
    ForkingPickler.register(cls, reduce_in_flight)


def explain_missing(error: SegmentNotFoundError, backend: int, origin: int, family: int) -> Exception:
    """Say what is gone: the boot, the namespace, the family, or only the segment."""
    here = context.origin(backend)
    if here >> 16 != origin >> 16:
        gone = "the machine was booted since this was pickled: a pickle is a name, not the data"
    elif here != origin:
        gone = "it lives in another namespace (another /dev/shm or IPC namespace) than this process"
    elif not context.family_alive(family):
        gone = "the family of processes that made it has ended, and its memory with it"
    else:
        gone = "the segment was freed or unlinked: keep the array until its pickle is received"
    return make(SegmentNotFoundError, 2, f"{error.strerror}: {gone}", "", error.name)


def load(
    packed: bytes, cls: type[np.ndarray] | None = None, dtype: dtypes.Pickled | None = None
) -> np.ndarray:
    """Attach what a descriptor names. Called by unpickling.

    Raises
    ------
    SegmentFormatError
        If `packed` is not a descriptor of this version.
    SegmentNotFoundError
        If it is gone; the text says what is: the segment, its family, the boot,
        or the namespace.
    """
    backend, name, nonce, origin, family, mode, offset, shape, strides, text, locked, ticket = _unpack(
        packed
    )
    try:
        segment = context.receive(backend, name, nonce, mode, 0)
    except SegmentNotFoundError as error:
        raise explain_missing(error, backend, origin, family) from None
    made = text if dtype is None else dtypes.unpickled(dtype)
    array: np.ndarray = sharedarray.over(
        segment, shape, made, offset, strides, cls or sharedarray.SharedArray
    )
    if locked:
        array.flags.writeable = False
    if ticket:  # last: until the array stands, the descriptor can be loaded again
        segment.free_ticket(ticket)
    return array


def _unpack(packed: bytes) -> Any:
    facts = unpack_descriptor(packed) if type(packed) is bytes else None
    if facts is None:
        raise make(
            SegmentFormatError,
            22,
            "not the descriptor of an array, or one of another version",
            "pickle the array again, with one version of this library in all processes",
            None,
        )
    return facts


# ---- taking back -----------------------------------------------------------


class _Inert:
    """Stands for every class, function and object of a pickle that is only looked through."""

    def append(self, item: Any) -> None:
        """Whatever is put into it is dropped."""

    extend = add = append

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


_INERT = _Inert()

# What descriptors are called with: load() of arrays; of locks and their relatives, and of parcels;
# and what is called with a pickle that lies within the pickle. By name: nothing is imported.
_ARRAY_LOADER = (load.__module__, load.__name__)
_LOADERS = (
    ("sharedmem.sync", "load"),
    ("sharedmem.transport", "receive"),
)
_ENVELOPES = (
    ("sharedmem.transport", "unpack"),
    ("sharedmem.executor", "open_answer"),
    ("sharedmem.transport", "sealed"),
    ("_pickle", "loads"),  # of functions by value
)

_extensions: dict[int, tuple[str, str]] = copyreg._inverted_registry  # type: ignore[attr-defined]
_PythonUnpickler: Any = pickle._Unpickler  # type: ignore[attr-defined, unused-ignore]


class _Forgetter(_PythonUnpickler):  # type: ignore[misc]
    """Runs nothing of what it reads but our own descriptors.

    Python's unpickler, not C's, whose operations cannot be replaced: it insists on classes
    to make objects of, and remembers for good what an extension code was found to be.
    """

    def __init__(self, pickled: Any) -> None:
        super().__init__(io.BytesIO(pickled), buffers=iter(lambda: b"", None))
        self.count = 0
        self.failure: Exception | None = None  # the first

    def look_through(self) -> None:
        try:
            self.load()
        except Exception as error:  # whatever damaged bytes lead to
            self.failure = self.failure or ValueError(f"not a whole pickle: {error!r}")

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == _ARRAY_LOADER:
            return self._forget_array
        if (module, name) == ("_codecs", "encode"):
            return self._bytes_of
        if (module, name) in _LOADERS:
            return self._forget
        return self._open if (module, name) in _ENVELOPES else _INERT

    def persistent_load(self, pid: Any) -> Any:
        return _INERT

    def get_extension(self, code: int) -> None:
        self.append(self.find_class(*_extensions.get(code, ("", ""))))

    def _instantiate(self, klass: Any, args: Any) -> None:
        self.append(_INERT)

    # -- what makes objects

    def _reduce(self) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        made: Any = _INERT
        if function is not _INERT and isinstance(function, MethodType) and isinstance(args, tuple):
            try:
                made = function(*args)
            except Exception as error:  # this descriptor is bad: the others are to be taken back
                self.failure = self.failure or error
        self.append(made)

    def _make(self) -> None:
        del self.stack[-2:]  # class, arguments
        self.append(_INERT)

    def _make_with_keywords(self) -> None:
        del self.stack[-3:]
        self.append(_INERT)

    def _set_state(self) -> None:
        self.stack.pop()

    dispatch: ClassVar[dict[int, Callable[[_Forgetter], None]]] = {
        **_PythonUnpickler.dispatch,
        pickle.REDUCE[0]: _reduce,
        pickle.NEWOBJ[0]: _make,
        pickle.NEWOBJ_EX[0]: _make_with_keywords,
        pickle.BUILD[0]: _set_state,
    }

    # -- what is called

    def _bytes_of(self, text: Any, encoding: Any) -> Any:
        """As protocol 2 has bytes, which it does not know."""
        return text.encode("latin-1") if isinstance(text, str) else _INERT

    def _forget_array(self, packed: bytes, *rest: Any) -> _Inert:
        facts = _unpack(packed)
        return self._forget(*facts[:3], facts[-1])

    def _forget(self, *descriptor: Any) -> _Inert:
        backend, name, nonce = descriptor[:3]
        ticket = descriptor[-1]
        if ticket:
            context.forget(backend, name, nonce, ticket)
            self.count += 1
        return _INERT

    def _open(self, *parts: Any) -> _Inert:
        for part in parts:
            if isinstance(part, bytes):  # a pickle
                inner = _Forgetter(part)
                inner.look_through()
                self.count += inner.count
                self.failure = self.failure or inner.failure
            elif isinstance(part, list):
                for each in part:
                    if isinstance(each, tuple):
                        self._forget(*each)
        return _INERT


def take_back(pickled: Any) -> None:
    """`forget` where another error is told already: what can be taken back is, and no more said."""
    _Forgetter(pickled).look_through()


def forget(pickled: bytes) -> int:
    """Take back what was pickled to be sent but will not be received.

    Parameters
    ----------
    pickled : bytes-like
        As made by `dumps` or ``multiprocessing.reduction.ForkingPickler.dumps``.

    Returns
    -------
    int
        How many descriptors with a ticket it held.

    Raises
    ------
    ValueError
        If `pickled` is no pickle, or not all of one. What could be read of it was
        taken back.
    SegmentFormatError
        If a descriptor in it is one of another version. All others were taken back.

    Notes
    -----
    Frees the tickets of all descriptors in `pickled`, and the memory that they alone
    kept. Nothing else of the pickle is loaded or run. A descriptor that was received
    already, or is forgotten twice, has no ticket any more, and nobody else's is
    touched.

    Examples
    --------
    >>> from multiprocessing.reduction import ForkingPickler
    >>> import sharedmem
    >>> message = ForkingPickler.dumps({'rows': sharedmem.zeros(3, name='forget-example')})
    >>> sharedmem.stat('forget-example').tickets
    1
    >>> sharedmem.forget(message)
    1
    >>> sharedmem.exists('forget-example')
    False
    """
    reader = _Forgetter(pickled)
    reader.look_through()
    if reader.failure is not None:
        raise reader.failure
    return reader.count


# ---- plain arrays over shared memory ---------------------------------------


def reduce_plain(array: np.ndarray) -> Any:
    """What multiprocessing's pickler gets for plain arrays after `sharedmem.install`."""
    if segment_of(array) is not None:
        return reduce_in_flight(array)
    before = _replaced[0] if _replaced else None
    return before(array) if before is not None else array.__reduce_ex__(pickle.DEFAULT_PROTOCOL)


_reducers: dict[type, Any] = ForkingPickler._extra_reducers  # type: ignore[attr-defined]
_replaced: list[Any] = []  # the reducer of ndarrays that ours has put aside


def install_reducer() -> None:
    """Let plain arrays over shared memory go by name through multiprocessing."""
    if _reducers.get(np.ndarray) is not reduce_plain:
        _replaced[:] = [_reducers.get(np.ndarray)]
        ForkingPickler.register(np.ndarray, reduce_plain)


def uninstall_reducer() -> None:
    """Undo `install_reducer`; a reducer that was there before is there again."""
    if _reducers.get(np.ndarray) is not reduce_plain:
        return
    before = _replaced.pop()
    if before is None:
        del _reducers[np.ndarray]
    else:
        _reducers[np.ndarray] = before
