"""Objects with large buffers, sent through shared memory: `dumps` and `loads`.

A message is a pickle of protocol 5 in which the bytes of a large array do not
stand. They are copied once into a parcel, a segment that is handed over: the
message carries a ticket for it, and who loads the message is its only owner.
Arrays in shared memory go by name, as they do everywhere; small ones stand in
the pickle.

Who loads a message needs nothing but `pickle.loads`: what stands for an array
is a call of a function of this module.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import sys
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing.reduction import ForkingPickler
from types import FunctionType
from typing import Any

import numpy as np

from sharedmem import dtypes, functions, pickling, sharedarray
from sharedmem._core.errors import SegmentNotFoundError, SharedmemError, make
from sharedmem._core.segment import READ_WRITE, UNINITIALIZED, UNPUBLISHED, Parcel, Segment, segment_of
from sharedmem.participant import context
from sharedmem.pointers import refuse_addresses

__all__ = ["MIN_BYTES", "Packer", "Tally", "dumps", "loads"]

MIN_BYTES = 1 << 18  # below that a pipe costs no more than a segment


class Tally:
    """How many bytes travelled in which way.

    Attributes
    ----------
    by_name : int
        Of arrays in shared memory, whose name was sent.
    handed_over : int
        That lay in shared memory of the sender's alone and went without a copy.
    copied : int
        Copied once, into a parcel.
    pickled : int
        Of the pickles, with all that stands in them.
    """

    __slots__ = ("by_name", "copied", "handed_over", "pickled")

    def __init__(self) -> None:
        self.by_name = self.handed_over = self.copied = self.pickled = 0

    def add(self, numbers: Iterable[int]) -> None:
        """Add what `numbers` of another one says."""
        by_name, handed_over, copied, pickled = numbers
        self.by_name += by_name
        self.handed_over += handed_over
        self.copied += copied
        self.pickled += pickled

    def numbers(self) -> tuple[int, int, int, int]:
        """By name, handed over, copied, pickled."""
        return self.by_name, self.handed_over, self.copied, self.pickled


# ---- parcels ---------------------------------------------------------------


def new_parcel(nbytes: int, mark: bytes = b"|u1") -> Parcel | None:
    """Memory to be handed over, warm where there is any; None where there is no room.

    `mark` is a dtype of one byte, which those who list the segments can see.
    """
    flags = UNINITIALIZED | UNPUBLISHED
    try:
        return Parcel(context.create(None, 0, flags, 0o600, mark, 1, (nbytes,), None))
    except (SharedmemError, OSError):
        return None  # as after the process has left its family: by content, then


def reclaim_marked(mark: bytes) -> None:
    """Free the parcels with this mark that nobody maps, though they are in flight.

    For who knows that those who would receive them, or have made them, are dead. Nothing
    is raised, since it is called where another error is on its way: what somebody else has
    freed meanwhile is gone, and what cannot be freed now goes with its family.
    """
    infos: list[Any] = []
    with suppress(SharedmemError, OSError):
        infos = context.list()
    for info in infos:
        if info.dtype == mark.decode() and not info.mapped:
            with suppress(SharedmemError, OSError):
                context.reclaim_segment(info, True)


class _Sent:
    """Stands for a parcel in a pickle."""

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: tuple[int, str, int, int]) -> None:
        self.descriptor = descriptor

    def __reduce__(self) -> Any:
        return receive, self.descriptor


def receive(backend: int, name: str, nonce: int, ticket: int) -> Parcel:
    """Take a parcel over. Called by unpickling.

    Raises
    ------
    SegmentNotFoundError
        If somebody has it already, or it was taken back.
    """
    try:
        segment = context.receive(backend, name, nonce, READ_WRITE, 0)
    except SegmentNotFoundError:
        segment = None
    if segment is None or (ticket and not segment.free_ticket(ticket)):
        raise make(
            SegmentNotFoundError,
            2,
            "what was handed over is not in flight any more: it was received, and can be only once, "
            "or taken back, or its family has ended",
            "dump it again for each receiver, or share the array (sharedmem.asshared)",
            name,
        )
    return Parcel(segment)


# ---- what the pickle calls -------------------------------------------------


def rebuild(
    memory: Any,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...] | None,
    dtype: Any,
    cls: type[np.ndarray] | None,
    writeable: bool,
) -> np.ndarray:
    """An array over a parcel. Called by unpickling.

    As in NumPy's own unpickling `__array_finalize__` gets None.
    """
    array: np.ndarray = np.ndarray.__new__(cls or np.ndarray, shape, dtype, memory, offset, strides)
    if not writeable:
        array.flags.writeable = False
    return array


def rebuild_masked(
    cls: Any, baseclass: type[np.ndarray], data: np.ndarray, mask: np.ndarray, fill_value: Any
) -> Any:
    """A masked array over two arrays. Called by unpickling."""
    if type(data) is not baseclass:
        data = data.view(baseclass)
    array = cls.__new__(cls, data, mask=mask, dtype=data.dtype)
    array.fill_value = fill_value
    return array


def rebuild_tensor(data: np.ndarray, dtype: Any, shape: tuple[int, ...], cls: Any, grad: bool) -> Any:
    """A tensor over an array of bytes. Called by unpickling."""
    import torch

    tensor = torch.from_numpy(data).view(dtype).view(shape)
    return cls(tensor, requires_grad=grad) if cls is not None else tensor.requires_grad_(grad)


def unpack(stream: bytes, outside: list[Any]) -> Any:
    """An object whose buffers were put into parcels. Called by unpickling."""
    return pickle.loads(stream, buffers=outside)


class Sealed:
    """A pickle that lies in a message, and is loaded when somebody asks for it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._thing: Any = None
        self._received = False

    def __reduce__(self) -> Any:
        return sealed, (self._data,)

    def open(self) -> Any:
        """What is in it, the same each time. One that fails leaves nothing in flight."""
        if self._data:
            data, self._data = self._data, b""
            try:
                self._thing = pickle.loads(data)
            except BaseException:
                pickling.take_back(data)
                raise
        return self._thing

    def __del__(self) -> None:
        if self._received and self._data:  # nobody has asked
            pickling.take_back(self._data)


def sealed(data: bytes) -> Sealed:
    """The same for its receiver, who need not open it. Called by unpickling."""
    received = Sealed(data)
    received._received = True
    return received


class _Envelope:
    def __init__(self, stream: bytes, outside: list[_Sent]) -> None:
        self._content = stream, outside

    def __reduce__(self) -> Any:
        return unpack, self._content


# ---- packing ---------------------------------------------------------------

_PLAIN_KINDS = frozenset("biufcmMSUV")
_ndarray = np.ndarray
_reducers: dict[type, Any] = ForkingPickler._extra_reducers  # type: ignore[attr-defined]


def _facts(dtype: np.dtype[Any]) -> Any:
    return dtypes.brief(dtype) or dtype


def _is_plain(dtype: np.dtype[Any]) -> bool:
    """Whether the bytes of an array are all of it."""
    return not dtype.hasobject and dtype.kind in _PLAIN_KINDS


def is_plain_copy(array: np.ndarray, min_bytes: int) -> bool:
    """Whether an ndarray travels as any pickler would send it: small, and nobody else's to write."""
    return (
        array.nbytes < min_bytes
        and array.flags.writeable
        and _is_plain(array.dtype)
        and _ndarray not in _reducers
        and segment_of(array) is None
    )


def _is_most_of(parcel: Parcel, array: np.ndarray) -> bool:
    """Whether a parcel may go for the array in it, as good as a copy.

    It keeps all of its memory, so the array should be at least half of that; and each
    element has to have a place of its own, as in a copy.
    """
    if 2 * array.nbytes < parcel.nbytes:
        return False
    reach = array.itemsize  # of what the dimensions so far span
    for stride, length in sorted((abs(s), n) for s, n in zip(array.strides, array.shape, strict=True)):
        if length > 1 and stride < reach:
            return False
        reach += stride * (length - 1)
    return True


def _rebuilds_as_numpy(cls: type[np.ndarray]) -> bool:
    """Whether instances of the class are pickled as ndarray does it."""
    return (
        cls.__reduce__ is _ndarray.__reduce__
        and cls.__reduce_ex__ is _ndarray.__reduce_ex__
        and cls.__setstate__ is _ndarray.__setstate__
    )


def _is_masked(array: np.ndarray) -> bool:
    masked = np.ma.MaskedArray
    cls: Any = type(array)
    return (
        isinstance(array, masked)
        and cls.__reduce__ is masked.__reduce__
        and cls.__setstate__ is masked.__setstate__
        and cls.__getstate__ is masked.__getstate__
    )


class Packer:
    """Makes one message, and knows what goes along with it.

    Parameters
    ----------
    min_bytes : int
        From which size on a buffer goes through shared memory.
    lend : bool, default False
        Take no tickets: the caller keeps `parcels` and `kept` until the message was
        received.
    later : bool, default False
        Take none for `kept`: the caller does, when it sends the message.
    rooms : list of tuple, optional
        Lent parcels that may be filled, as (bytes, backend, name, nonce). They, too,
        go without a ticket.
    lent : frozenset of int, optional
        Nonces of the parcels that the receiver keeps and needs no ticket for.
    mark : bytes, optional
        The dtype of new parcels.
    sole : dict, optional
        Parcels that may go without a copy, by the id of the array over them.
    take : callable, optional
        How a ticket for what is named is had. One for a parcel is a matter of its `mark`.
    as_stdlib : bool, default False
        What is read-only arrives as it does by `multiprocessing`, whose pickles are of
        the default protocol: writeable, up to Python 3.13. Else it arrives read-only.

    Attributes
    ----------
    parcels : list of Parcel
        What the message hands over or lends.
    kept : list of Segment
        What it names without a ticket. The object does not keep that for sure: its
        `__reduce__` may have made a shared array for this message alone.
    """

    def __init__(
        self,
        min_bytes: int,
        *,
        lend: bool = False,
        later: bool = False,
        rooms: list[tuple[int, int, str, int]] | None = None,
        lent: frozenset[int] = frozenset(),
        mark: bytes = b"|u1",
        sole: dict[int, Parcel] | None = None,
        take: pickling.Issuer = Segment.ticket,
        as_stdlib: bool = False,
    ) -> None:
        self.min_bytes = min_bytes
        self.tally = Tally()
        self.parcels: list[Parcel] = []
        self.kept: list[Segment] = []
        self.sizes: list[int] = []
        self._lend = lend
        self._without = lend or later
        self._rooms = rooms or []
        self._lent = lent
        self._mark = mark
        self._sole = sole or {}
        self._take = take
        self._thaws = as_stdlib and pickle.DEFAULT_PROTOCOL < 5
        self._tickets: list[tuple[Segment, int]] = []
        self._outside: list[_Sent] = []

    def dump(self, thing: Any) -> bytes:
        """The message. If it cannot be made nothing is in flight.

        Parameters
        ----------
        thing : object
            It is not changed.

        Returns
        -------
        bytes
            For ``pickle.loads``.
        """
        file = io.BytesIO()
        try:
            with pickling.issued_by(self._issue):
                _Pickler(file, self).dump(thing)
            data = file.getvalue()
            if self._outside:
                data = pickle.dumps(_Envelope(data, self._outside), 5)
        except BaseException:
            self.revoke()
            raise
        self.tally.pickled += len(data)
        return data

    def _issue(self, segment: Segment) -> int | None:
        """A ticket for what is named: an array, a lock, a queue."""
        if self._without:
            if not segment.is_current():
                return None
            self.kept.append(segment)
            return 0
        ticket = self._take(segment)
        if ticket is not None:
            self._tickets.append((segment, ticket))
        return ticket

    def revoke(self) -> None:
        """The message will not be sent: nothing of it is in flight any more."""
        for segment, ticket in self._tickets:
            segment.free_ticket(ticket)
        self.release()

    def release(self) -> None:
        """Keep nothing of it here: it is to be sent, and its tickets keep what it names."""
        for each in (self.parcels, self.kept, self._tickets, self._outside, self._sole):
            each.clear()

    # -- parcels

    def _room(self, nbytes: int) -> Parcel | None:
        for index, (size, backend, name, nonce) in enumerate(self._rooms):
            if nbytes <= size <= nbytes + nbytes // 4:
                del self._rooms[index]
                try:
                    return receive(backend, name, nonce, 0)
                except SegmentNotFoundError:
                    return None  # its lender is gone, or has ended the call
        return None

    def _place(self, nbytes: int) -> tuple[Parcel, _Sent] | None:
        parcel = self._room(nbytes)
        lent = parcel is not None or self._lend
        if parcel is None:
            parcel = new_parcel(nbytes, self._mark)
        if parcel is None:
            return None
        sent = self._send(parcel, lent)
        self.sizes.append(nbytes)
        return None if sent is None else (parcel, sent)

    def _send(self, parcel: Parcel, lent: bool) -> _Sent | None:
        key = parcel.segment.key
        self.parcels.append(parcel)
        if lent or key[2] in self._lent:
            return _Sent((*key, 0))
        ticket = parcel.segment.ticket()
        if ticket is None:
            return None
        self._tickets.append((parcel.segment, ticket))
        return _Sent((*key, ticket))

    # -- arrays

    def reduce_array(self, array: np.ndarray) -> Any:
        """What to pickle for an array; NotImplemented if NumPy's way will do."""
        cls = type(array)
        if issubclass(cls, sharedarray.SharedArray):
            if pickling.has_own_reduce(cls):
                return pickling.reduce_as_class(array, self._reduce_shared)
            return self._reduce_shared(array)
        if cls is _ndarray or _rebuilds_as_numpy(cls):
            segment = segment_of(array)
            if segment is not None and pickling.goes_by_name(segment):
                return self.reduce_by_name(array, segment)
            return self._by_content(array, cls)
        if array.nbytes >= self.min_bytes and _is_plain(array.dtype) and _is_masked(array):
            return self._masked(array)
        return NotImplemented

    def _reduce_shared(self, array: np.ndarray) -> Any:
        segment = segment_of(array)
        if segment is not None and pickling.goes_by_name(segment):
            return self.reduce_by_name(array, segment)
        return self._without_name(array)

    def reduce_by_name(self, array: np.ndarray, segment: Segment) -> Any:
        """What to pickle for an array over a segment that has a name."""
        ticket = self._issue(segment)
        if ticket is None:
            return self._without_name(array)
        self.tally.by_name += array.nbytes
        return pickling.load, pickling.descriptor(array, segment, ticket)

    def _without_name(self, array: np.ndarray) -> Any:
        """A shared array as a plain one, or as its subclass: its name is gone, or content was asked for."""
        cls = type(array)
        if cls is sharedarray.SharedArray:
            array, cls = array.view(_ndarray), _ndarray
        reduced = self._by_content(array, cls)
        return pickling.content(array, 5) if reduced is NotImplemented else reduced

    def _numpys_way(self, array: np.ndarray) -> Any:
        if self._thaws and not array.flags.writeable:
            return array.__reduce_ex__(pickle.DEFAULT_PROTOCOL)
        return NotImplemented

    def _by_content(self, array: np.ndarray, cls: type[np.ndarray]) -> Any:
        small = array.nbytes < self.min_bytes
        if small and (array.flags.writeable or array.flags.forc) and cls is _ndarray:
            return self._numpys_way(array)  # which keeps what there is to keep
        if not _is_plain(array.dtype):
            return self._numpys_way(array)
        parcel = self._sole.get(id(array))
        if parcel is not None and _is_most_of(parcel, array):
            sent = self._send(parcel, False)
            if sent is not None:
                self.tally.handed_over += array.nbytes
                return self._rebuild(sent, parcel.offset(array), array, array.strides, cls)
        if small:
            if array.flags.writeable or self._thaws:
                return self._numpys_way(array)
            return self._rebuild(array.tobytes(), 0, array, None, cls)
        place = self._place(array.nbytes)
        if place is None:
            return self._numpys_way(array)
        self.tally.copied += array.nbytes
        return self._rebuild(place[1], 0, array, self._copy(array, place[0]), cls)

    @staticmethod
    def _copy(array: np.ndarray, parcel: Parcel) -> tuple[int, ...] | None:
        """Copy an array to the start of a parcel; its strides there, None for C order."""
        if array.flags.c_contiguous:
            parcel.fill(array)
            return None
        if array.flags.f_contiguous:
            parcel.fill(array)
            return array.strides
        memory: Any = parcel
        np.copyto(np.ndarray(array.shape, array.dtype, memory), array)
        return None

    def _rebuild(
        self, memory: Any, offset: int, array: np.ndarray, strides: tuple[int, ...] | None, cls: Any
    ) -> Any:
        if cls is _ndarray:
            cls = None
        facts = _facts(array.dtype)
        writeable = array.flags.writeable or self._thaws
        return rebuild, (memory, offset, array.shape, strides, facts, cls, writeable)

    def _masked(self, array: Any) -> Any:
        # The names that pickling gives them: plain views, whatever the classes are.
        data, mask = np.asarray(array.data), np.ma.getmaskarray(array)
        return rebuild_masked, (type(array), array._baseclass, data, mask, array._fill_value)

    # -- what is not of NumPy

    def take_buffer(self, buffer: pickle.PickleBuffer) -> bool:
        """Whether a buffer stays in the pickle; else it is in a parcel."""
        raw = buffer.raw()
        if raw.nbytes < self.min_bytes:
            return True
        place = self._place(raw.nbytes)
        if place is None:
            return True
        place[0].fill(np.frombuffer(raw, np.uint8))
        self._outside.append(place[1])
        self.tally.copied += raw.nbytes
        return False

    def reduce_tensor(self, tensor: Any) -> Any:
        """What to pickle for a torch tensor; NotImplemented if torch's way will do."""
        torch = sys.modules["torch"]
        cls = type(tensor)
        nbytes = tensor.nelement() * tensor.element_size()
        if (
            nbytes < self.min_bytes
            or cls not in (torch.Tensor, torch.nn.Parameter)
            or tensor.device.type != "cpu"
            or tensor.layout != torch.strided
            or not tensor.is_leaf
            or tensor.is_quantized
            or tensor.is_conj()
            or tensor.is_neg()
            or tensor._backward_hooks
        ):
            return NotImplemented
        try:
            data = tensor.detach().contiguous().view(-1).view(torch.uint8).numpy()
        except RuntimeError:  # this torch was built without NumPy, or for another one
            return NotImplemented
        parameter = cls if cls is not torch.Tensor else None
        return rebuild_tensor, (data, tensor.dtype, tuple(tensor.shape), parameter, tensor.requires_grad)


class _Pickler(ForkingPickler):
    """multiprocessing's pickler, which asks the packer about what is large."""

    def __init__(self, file: io.BytesIO, packer: Packer) -> None:
        # Nothing of the packer leads back here: a cycle would keep the parcels until it is found.
        pickle.Pickler.__init__(self, file, 5, buffer_callback=packer.take_buffer)
        self.dispatch_table = copyreg.dispatch_table | _reducers
        self._packer = packer
        torch = sys.modules.get("torch")
        self._tensor = getattr(torch, "Tensor", None)

    def reducer_override(self, thing: Any, /) -> Any:
        cls = type(thing)
        if cls is _ndarray or isinstance(thing, _ndarray):
            own = self.dispatch_table.get(cls)
            if own is None or own in (pickling.reduce_plain, pickling.reduce_in_flight):
                return self._packer.reduce_array(thing)
            return NotImplemented  # somebody's own way
        if cls is FunctionType or isinstance(thing, type):
            return functions.reduce_by_value(thing, self._packer.reduce_by_name)
        if self._tensor is not None and isinstance(thing, self._tensor):
            return self._packer.reduce_tensor(thing)
        refuse_addresses(thing)
        return NotImplemented


# ---- public ----------------------------------------------------------------


def dumps(obj: Any, *, min_bytes: int = MIN_BYTES) -> bytes:
    """Pickle an object to be sent, its large buffers through shared memory.

    Parameters
    ----------
    obj : object
        Anything that can be pickled. It is not changed.
    min_bytes : int, default 262144
        From which size on an array or buffer goes through shared memory.

    Returns
    -------
    bytes
        For `loads`, in a process of the same user on this machine; once.

    Raises
    ------
    pickle.PicklingError, TypeError, AttributeError
        As ``pickle.dumps``. Nothing is in flight then.

    See Also
    --------
    forget : Take back what will not be received.
    by_content : Within it shared arrays, too, are copied.

    Notes
    -----
    Shared arrays, views of them and ``np.asarray`` of them go by name; the receiver
    gets the same memory. Every other array is copied: once into shared memory, which
    is handed over to the receiver, or into the pickle if it is small. So are the
    buffers of all that pickles them out of band (PEP 574), as pandas, pyarrow and
    scipy do, however they are nested. Subclasses that are pickled as `numpy.ndarray`
    does it, masked arrays and tensors of torch in the CPU's memory go the same way;
    object arrays by the content of their items; ``bytes`` in the pickle. What
    arrives is as independent of the original as an unpickled copy, and can be written
    to unless the original was read-only.

    What is handed over belongs to nobody until it is loaded. It is freed at the
    latest with the family of processes; `forget` frees it at once. Where there is no
    room for it, it goes in the pickle.

    Functions and classes that the receiver could not import go by cloudpickle where
    that is installed.

    References
    ----------
    PEP 574, "Pickle protocol 5 with out-of-band data".

    Examples
    --------
    >>> import numpy as np, sharedmem
    >>> message = sharedmem.dumps({'grid': np.ones((1000, 1000)), 'step': 0.5})
    >>> len(message) < 400
    True
    >>> float(sharedmem.loads(message)['grid'].sum())
    1000000.0
    """
    if min_bytes < 0:
        raise ValueError(f"min_bytes must not be negative, not {min_bytes}")
    return _dump(Packer(min_bytes), obj)


def dumps_as_stdlib(obj: Any) -> bytes:
    """The same for `multiprocessing`, by which what was read-only arrives as it always did."""
    return _dump(Packer(MIN_BYTES, as_stdlib=True), obj)


def _dump(packer: Packer, obj: Any) -> bytes:
    data = packer.dump(obj)
    sent.add(packer.tally.numbers())
    return data


sent = Tally()


def loads(data: Any) -> Any:
    """The object of a message made by `dumps`.

    Parameters
    ----------
    data : bytes-like
        As `dumps` made it.

    Returns
    -------
    object
        Its large arrays lie in memory that was handed over, which goes with their
        last view.

    Raises
    ------
    SegmentNotFoundError
        If the message was loaded before and carried a parcel, or it was forgotten.
        What is handed over has one owner: two would write into each other's arrays.
    pickle.UnpicklingError and others
        As ``pickle.loads``.

    See Also
    --------
    dumps : Makes one, with an example.

    Notes
    -----
    ``pickle.loads`` does the same. As with any pickle, load only what you trust. If
    it fails half-way the rest stays in flight: `forget` frees that.

    Examples
    --------
    >>> import numpy as np, sharedmem
    >>> message = sharedmem.dumps(np.zeros(100_000))
    >>> array = sharedmem.loads(message)
    >>> sharedmem.loads(message)
    Traceback (most recent call last):
        ...
    sharedmem.errors.SegmentNotFoundError: ...only once...
    """
    return pickle.loads(data)
