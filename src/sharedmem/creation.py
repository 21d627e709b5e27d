"""Making shared arrays: NumPy's constructors, and what sharing adds to them.

What sharing adds are keywords, the same for all of them; `empty` describes them.
"""

from __future__ import annotations

import math
import operator
import os
import resource
from collections.abc import Iterable, Sequence
from typing import Any, Literal, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from sharedmem import dtypes
from sharedmem._core.errors import (
    LayoutMismatchError,
    NoRoomError,
    SegmentExistsError,
    SegmentNotFoundError,
    SegmentSizeError,
    make,
)
from sharedmem._core.segment import (
    BACKENDS,
    NO_RESERVE,
    PERSISTENT,
    REPLACE,
    UNINITIALIZED,
    UNPUBLISHED,
    Segment,
    replace_reference,
    segment_of,
)
from sharedmem.names import array_of, backend_number, explain_exists
from sharedmem.participant import context
from sharedmem.sharedarray import SharedArray, over

__all__ = [
    "array",
    "asshared",
    "attach_or_create",
    "copy",
    "empty",
    "empty_like",
    "fromiter",
    "full",
    "full_like",
    "ones",
    "ones_like",
    "wrap",
    "zeros",
    "zeros_like",
]

Shape = SupportsIndex | Sequence[SupportsIndex]
Order = Literal["C", "F"]
OrderLike = Literal["C", "F", "A", "K"]

_NUMPY_2 = np.lib.NumpyVersion(np.__version__) >= "2.0.0"
_NDIM_MAX = 64 if _NUMPY_2 else 32
_INT64_MAX = 2**63 - 1
_ANYTHING = UNPUBLISHED | UNINITIALIZED
_SHARING = ("name", "persistent", "replace", "backend", "permissions", "reserve")
_CONTIGUOUS = frozenset("CcFf")
_ORDERS = frozenset("CcFfAaKk")


def _shape(shape: Any) -> tuple[int, ...]:
    made: tuple[int, ...]
    try:
        made = (_extent(shape),)
    except TypeError:
        if not hasattr(shape, "__getitem__") or isinstance(shape, np.generic):
            raise TypeError(f"shape must be an int or a sequence of them, not {shape!r}") from None
        made = tuple(map(_extent, shape))
    if len(made) > _NDIM_MAX:
        raise ValueError(f"maximum supported dimension is {_NDIM_MAX}, found {len(made)}")
    if any(extent < 0 for extent in made):
        raise ValueError("negative dimensions are not allowed")
    if any(extent > _INT64_MAX for extent in made):
        raise _too_big(made)
    return made


def _extent(extent: Any) -> int:
    if isinstance(extent, bool):  # an argument in the wrong place, as NumPy has it
        raise TypeError(f"shape must be an int or a sequence of them, not {extent!r}")
    return operator.index(extent)


def _too_big(shape: tuple[int, ...]) -> Exception:
    return make(
        SegmentSizeError,
        75,
        f"array of shape {shape} is too big for the address space",
        "check shape and dtype",
        None,
    )


def _flags(persistent: bool, replace: bool, reserve: bool) -> int:
    return bool(persistent) * PERSISTENT | bool(replace) * REPLACE | (not reserve) * NO_RESERVE


def _permissions(permissions: int) -> int:
    bits = operator.index(permissions)
    if bits & ~0o777 or bits & 0o600 != 0o600:
        raise ValueError(
            f"permissions {bits:#o} cannot be had: use bits of 0o777 with owner read and write (0o600) "
            "among them, which freeing the segment needs"
        )
    return bits


def _fortran_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    strides, step = [], itemsize
    for extent in shape:
        strides.append(step)
        step *= max(extent, 1)
    if step > _INT64_MAX:
        raise _too_big(shape)
    return tuple(strides)


def _check_sharing(sharing: dict[str, Any]) -> None:
    unknown = [word for word in sharing if word not in _SHARING]
    if unknown:
        raise TypeError(
            f"unexpected keyword argument {unknown[0]!r}: sharing adds {', '.join(_SHARING)}"
        )


def _new(
    shape: Any,
    dtype: DTypeLike,
    strides: tuple[int, ...] | str | None,
    zero: bool,
    sharing: dict[str, Any],
    contents: np.ndarray | None = None,
) -> SharedArray:
    """A new array, of zero bytes if `zero`. `strides` may be an order, 'C' or 'F'.

    It begins with the bytes of `contents`, again and again until it ends.
    """
    _check_sharing(sharing)
    extents, made = _layout(shape, dtype)
    if isinstance(strides, str):
        if strides not in _CONTIGUOUS:
            raise ValueError(f"order must be 'C' or 'F', not {strides!r}")
        strides = _fortran_strides(extents, made.itemsize) if strides in "Ff" else None
    elif strides is not None and not isinstance(strides, tuple):
        raise TypeError(f"order must be str, not {type(strides).__name__}")
    return _create(extents, made, strides, zero, contents, **sharing)


def _create(
    extents: tuple[int, ...],
    made: np.dtype[Any],
    strides: tuple[int, ...] | None,
    zero: bool,
    contents: np.ndarray | None,
    /,
    *,
    name: str | None = None,
    persistent: bool = False,
    replace: bool = False,
    backend: str | None = None,
    permissions: int = 0o600,
    reserve: bool = True,
) -> SharedArray:
    try:
        segment = context.create(
            name,
            backend_number(backend),
            _flags(persistent, replace, reserve) | UNPUBLISHED | (not zero) * UNINITIALIZED,
            _permissions(permissions),
            dtypes.to_text(made),
            made.itemsize,
            extents,
            strides,
            contents,
        )
    except SegmentExistsError as error:
        raise explain_exists(error) from None
    except NoRoomError as error:
        raise explain_no_room(error, extents, made, backend) from None
    array: SharedArray = over(segment, extents, made, 0, strides)
    return array


# What commonly names a dtype: the dtype, its text, and whether it is one itself. Equal dtypes
# are one key here: of two types of one size, such as long and long long, the later one stands.
_PLAIN: dict[Any, tuple[np.dtype[Any], bytes, bool]] = {}
for _made in map(np.dtype, "?bhiqlBHIQLefdgFDG"):
    for _key in (_made, _made.type, _made.str, _made.name):
        _named = np.dtype(_key)
        _PLAIN[_key] = _named, dtypes.to_text(_named), _key is _made
for _kind in (bool, int, float, complex):
    _PLAIN[_kind] = np.dtype(_kind), dtypes.to_text(np.dtype(_kind)), False


def _plain(
    shape: Any,
    dtype: Any,
    order: str,
    sharing: dict[str, Any],
    flags: int,
    contents: np.ndarray | None = None,
) -> Any:
    """The commonest kind of array without looking at everything; None for others."""
    if sharing or order != "C":
        return None
    try:
        found = _PLAIN.get(dtype)
    except TypeError:
        return None
    if found is None:
        return None
    made, text, exact = found
    if exact and dtype is not made and (dtype.num != made.num or dtype.metadata):
        return None  # equal, not the same
    return context.plain(shape, made, text, flags, SharedArray, contents)


def _room(backend: str | None, remedy: str) -> tuple[int, str, str]:
    """Bytes that are free, what to say of them, and what to do. SysV's the kernel tells nobody."""
    try:
        disk = os.statvfs("/dev/shm")
    except OSError:
        return 0, "there is no /dev/shm", remedy
    free, size = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    if backend == "sysv" and free >= resource.getpagesize():  # else its journal has no room there
        text = "System V shared memory has not so much (nor kernel.shmmax and shmall, if they are less)"
        return free, text, "free memory, or raise the limits (sysctl)"
    return free, f"/dev/shm has {free:,} of {size:,} bytes free", remedy


def explain_no_room(
    error: NoRoomError, shape: tuple[int, ...], dtype: np.dtype[Any], backend: str | None
) -> Exception:
    """The same error with what was asked for and what there is."""
    need = math.prod(shape) * dtype.itemsize
    free, there, remedy = _room(backend, error.remedy)
    space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if space != resource.RLIM_INFINITY:
        there += f"; the address space of this process is limited to {space:,} bytes"
        remedy = "raise the limit (ulimit -v)" if free > need else f"{remedy}; or raise ulimit -v"
    text = f"no room for an array of shape {shape} and dtype {dtype}: {need:,} bytes, and {there}"
    return make(NoRoomError, error.errno or 12, text, remedy, error.name)


def _layout(shape: Any, dtype: DTypeLike) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype as NumPy would make them: 'S' becomes 'S1', and the shape
    of a subarray dtype goes to the array.
    """
    probe = np.empty(0, dtypes.check(dtype))
    return _shape((*_shape(shape), *probe.shape[1:])), probe.dtype


_BLOCK = 1 << 16  # bytes that are written at once where one value fills an array


def _pattern(fill_value: Any, dtype: np.dtype[Any], size: int) -> np.ndarray | None:
    """A block of what an array of `size` elements repeats; None where NumPy has to fill it."""
    if np.ndim(fill_value) or not dtype.itemsize or dtype.subdtype is not None:
        return None
    block = np.empty(max(1, min(size, _BLOCK // dtype.itemsize)), dtype)
    np.copyto(block, fill_value, casting="unsafe")  # as it is: NumPy looks whether an int is in bounds
    return block if size else None


def _filled(
    shape: Any, dtype: np.dtype[Any], strides: Any, fill_value: Any, sharing: dict[str, Any]
) -> SharedArray:
    """A new array of one value, or of what is broadcast to it."""
    block = _pattern(fill_value, dtype, math.prod(shape))
    array = _new(shape, dtype, strides, False, sharing, block)
    return array if block is not None else _finish(array, fill_value)


def _finish(array: SharedArray, values: Any) -> SharedArray:
    """Let NumPy fill a new array; if that fails nothing stays behind."""
    try:
        np.copyto(array, values, casting="unsafe")
    except BaseException:
        if array.is_current():
            array.unlink()
        raise
    return array


def _copied(source: np.ndarray, order: str, sharing: dict[str, Any]) -> SharedArray:
    """A shared copy: of bytes in the same order as they are, by NumPy where that differs."""
    order = _order(order)
    plain = type(source) is np.ndarray or type(source) is SharedArray
    if plain and order in "KCA" and source.flags.c_contiguous and source.size:
        array = _plain(source.shape, source.dtype, "C", sharing, _ANYTHING, source)
        if array is not None:
            return array  # type: ignore[no-any-return]
    made = dtypes.check(source.dtype)
    extents, strides = _strides_like(source, made, order, None)
    if source.size and extents == source.shape and strides == source.strides and _is_one_piece(source):
        return _new(extents, made, strides, False, sharing, source)
    return _finish(_new(extents, made, strides, False, sharing), source)


def _order(order: str | None) -> str:
    """As NumPy takes it: None keeps what is there."""
    if order is None:
        return "K"
    if order not in _ORDERS:
        raise ValueError(f"order must be one of 'C', 'F', 'A', or 'K', not {order!r}")
    return order.upper()


def _is_one_piece(array: np.ndarray) -> bool:
    return array.flags.c_contiguous or array.flags.f_contiguous


def empty(shape: Shape, dtype: DTypeLike = float, order: Order = "C", **sharing: Any) -> SharedArray:
    """A new shared array, as `numpy.empty`. Its bytes are zero or arbitrary.

    Parameters
    ----------
    shape : int or sequence of int
        ``()`` and extents of zero are allowed.
    dtype : data-type, default float64
        Any without pointers in it.
    order : {'C', 'F'}
        Which index varies fastest in memory: the last or the first.
    **sharing
        What sharing adds, by keyword only:

        name : str, optional
            To `attach` it by from anywhere: 1 to 200 bytes of UTF-8 without
            ``'/'``. 128 random bits when not given.
        persistent : bool, default False
            Stay until it is unlinked, though no process has it.
        replace : bool, default False
            Take the name from an array that has it; who uses that keeps its
            memory.
        backend : {'posix', 'sysv'}, optional
            POSIX when not given, and SysV when POSIX has no room.
        permissions : int, default 0o600
            Of the segment. Owner read and write have to be among them.
        reserve : bool, default True
            Reserve the memory now, so that a lack of room is an exception here
            and not a bus error later.

    Returns
    -------
    SharedArray
        Of a segment of its own, which is freed when its last user anywhere is
        gone.

    Raises
    ------
    TypeError
        If the dtype has pointers in it: object, StringDType; metadata that are no
        literals; or a type that other processes would not find (see
        `register_dtype`).
    ValueError
        If the shape has negative extents, or an argument has no valid value.
    SegmentSizeError
        If the size is beyond the address space; a ``ValueError``.
    SegmentNameError
        If the name is empty, too long or has a ``'/'`` in it; a ``ValueError``.
    SegmentExistsError
        If an array of this name is mapped, in flight or persistent; a
        ``FileExistsError``. Its ``holders`` are pid and command of who maps it.
    NoRoomError
        If neither backend has room, or the one that was asked for has none; a
        ``MemoryError`` that says how much there is.
    ShareLimitError
        If the kernel's limit on segments is reached; an ``OSError``.
    SegmentBusyError
        If another process holds the lock of the name for seconds.

    See Also
    --------
    zeros, full, copy : The same with contents.
    attach_or_create : For processes that race.

    Notes
    -----
    The kernel gives pages of zeros, so `empty` and `zeros` do the same, and neither
    writes the data. With ``reserve=True`` the pages are taken here, on POSIX by
    :manpage:`fallocate(2)`; with ``reserve=False`` when they are first written.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.empty((2, 3), 'i4').shape
    (2, 3)
    >>> with sharedmem.empty(4, name='empty-example', backend='sysv') as a:
    ...     (a.name, a.backend)
    ('empty-example', 'sysv')
    """
    array = _plain(shape, dtype, order, sharing, _ANYTHING)
    return _new(shape, dtype, order, False, sharing) if array is None else array


def zeros(shape: Shape, dtype: DTypeLike = float, order: Order = "C", **sharing: Any) -> SharedArray:
    """A new shared array of zeros, as `numpy.zeros`.

    Parameters
    ----------
    shape : int or sequence of int
        ``()`` and extents of zero are allowed.
    dtype : data-type, default float64
        Any without pointers in it.
    order : {'C', 'F'}
        Which index varies fastest in memory: the last or the first.
    **sharing
        ``name``, ``persistent``, ``replace``, ``backend``, ``permissions`` and
        ``reserve``, as for `empty`.

    Returns
    -------
    SharedArray
        Freed when its last user anywhere is gone.

    Raises
    ------
    TypeError, ValueError, SharedmemError
        As `empty`.

    See Also
    --------
    empty : The keywords, the exceptions.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.zeros(2, int).tolist()
    [0, 0]
    """
    array = _plain(shape, dtype, order, sharing, UNPUBLISHED)
    return _new(shape, dtype, order, True, sharing) if array is None else array


def ones(
    shape: Shape, dtype: DTypeLike | None = None, order: Order = "C", **sharing: Any
) -> SharedArray:
    """A new shared array of ones, as `numpy.ones`.

    Parameters
    ----------
    shape : int or sequence of int
        ``()`` and extents of zero are allowed.
    dtype : data-type, default float64
        Any without pointers in it.
    order : {'C', 'F'}
        Which index varies fastest in memory: the last or the first.
    **sharing
        ``name``, ``persistent``, ``replace``, ``backend``, ``permissions`` and
        ``reserve``, as for `empty`.

    Returns
    -------
    SharedArray
        Freed when its last user anywhere is gone.

    Raises
    ------
    TypeError, ValueError, SharedmemError
        As `empty`.

    See Also
    --------
    empty : The keywords, the exceptions.

    Notes
    -----
    Others can attach it by name before it is filled; see `attach_or_create` and a
    lock, or send it when it is ready.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.ones((2, 2)).sum(axis=0).tolist()
    [2.0, 2.0]
    """
    extents, made = _layout(shape, float if dtype is None else dtype)
    return _filled(extents, made, order, 1, sharing)


def full(
    shape: Shape,
    fill_value: ArrayLike,
    dtype: DTypeLike | None = None,
    order: Order = "C",
    **sharing: Any,
) -> SharedArray:
    """A new shared array of `fill_value`, as `numpy.full`.

    Parameters
    ----------
    shape : int or sequence of int
        ``()`` and extents of zero are allowed.
    fill_value : scalar or array_like
        What to fill it with; broadcast to `shape`.
    dtype : data-type, optional
        That of `fill_value` when not given.
    order : {'C', 'F'}
        Which index varies fastest in memory: the last or the first.
    **sharing
        ``name``, ``persistent``, ``replace``, ``backend``, ``permissions`` and
        ``reserve``, as for `empty`.

    Returns
    -------
    SharedArray
        Freed when its last user anywhere is gone.

    Raises
    ------
    TypeError, ValueError, SharedmemError
        As `empty`. ``ValueError`` too if `fill_value` cannot be broadcast; then
        nothing is made.

    See Also
    --------
    empty : The keywords, the exceptions.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.full(2, 3.5).tolist()
    [3.5, 3.5]
    """
    values = np.asarray(fill_value)
    extents, made = _layout(shape, values.dtype if dtype is None else dtype)
    np.broadcast_to(values, extents)  # fails before anything is made
    return _filled(extents, made, order, fill_value, sharing)


def _strides_like(
    prototype: np.ndarray, dtype: np.dtype[Any], order: str, shape: tuple[int, ...] | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and strides that NumPy would give; its array is never touched.

    Where `numpy.empty_like` of NumPy 1.26 fails it gives back a reference to the
    dtype that it does not own, and the dtype would be freed in use.
    """
    try:
        model = np.empty_like(prototype, dtype, order, False, shape)  # type: ignore[call-overload]
    except (ValueError, MemoryError):
        if not _NUMPY_2:
            replace_reference(dtype)
        raise
    return model.shape, model.strides


def _like(
    prototype: ArrayLike,
    dtype: DTypeLike | None,
    order: str,
    shape: Any,
    sharing: dict[str, Any],
    zero: bool = False,
) -> SharedArray:
    extents, made, strides = _layout_like(prototype, dtype, order, shape)
    return _new(extents, made, strides, zero, sharing)


def _layout_like(
    prototype: ArrayLike, dtype: DTypeLike | None, order: str, shape: Any
) -> tuple[tuple[int, ...], np.dtype[Any], tuple[int, ...]]:
    source = np.asanyarray(prototype)
    made = dtypes.check(source.dtype if dtype is None else dtype)
    extents, strides = _strides_like(source, made, order, None if shape is None else _shape(shape))
    return extents, made if made.subdtype is None else made.base, strides


def _filled_like(
    prototype: ArrayLike,
    dtype: DTypeLike | None,
    order: str,
    shape: Any,
    fill_value: Any,
    sharing: dict[str, Any],
) -> SharedArray:
    extents, made, strides = _layout_like(prototype, dtype, order, shape)
    return _filled(extents, made, strides, fill_value, sharing)


def empty_like(
    prototype: ArrayLike,
    dtype: DTypeLike | None = None,
    order: OrderLike = "K",
    subok: bool = True,
    shape: Shape | None = None,
    **sharing: Any,
) -> SharedArray:
    """A new shared array like `prototype`, as `numpy.empty_like`.

    Parameters
    ----------
    prototype : array_like
        Whose shape, dtype and order are taken; it is not copied.
    dtype : data-type, optional
        That of the prototype when not given.
    order : {'K', 'C', 'F', 'A'}
        ``'K'`` keeps the order of its axes in memory, ``'A'`` is ``'F'`` if it is
        Fortran contiguous and not C contiguous, else ``'C'``.
    subok : bool
        Has no effect: the result is a `SharedArray` always. It is there because
        NumPy has it.
    shape : int or sequence of int, optional
        Instead of the prototype's.
    **sharing
        ``name``, ``persistent``, ``replace``, ``backend``, ``permissions`` and
        ``reserve``, as for `empty`.

    Returns
    -------
    SharedArray
        Freed when its last user anywhere is gone.

    Raises
    ------
    TypeError, ValueError, SharedmemError
        As `empty`.

    See Also
    --------
    empty : The keywords, the exceptions.

    Examples
    --------
    >>> import numpy as np, sharedmem
    >>> sharedmem.empty_like(np.zeros((2, 3), "f4")).dtype
    dtype('float32')
    """
    return _like(prototype, dtype, order, shape, sharing)


def zeros_like(
    a: ArrayLike,
    dtype: DTypeLike | None = None,
    order: OrderLike = "K",
    subok: bool = True,
    shape: Shape | None = None,
    **sharing: Any,
) -> SharedArray:
    """A new shared array of zeros like `a`, as `numpy.zeros_like`.

    Parameters
    ----------
    a : array_like
        Whose shape, dtype and order are taken; it is not copied.
    dtype : data-type, optional
        That of the prototype when not given.
    order : {'K', 'C', 'F', 'A'}
        ``'K'`` keeps the order of its axes in memory, ``'A'`` is ``'F'`` if it is
        Fortran contiguous and not C contiguous, else ``'C'``.
    subok : bool
        Has no effect: the result is a `SharedArray` always. It is there because
        NumPy has it.
    shape : int or sequence of int, optional
        Instead of the prototype's.
    **sharing
        ``name``, ``persistent``, ``replace``, ``backend``, ``permissions`` and
        ``reserve``, as for `empty`.

    Returns
    -------
    SharedArray
        Freed when its last user anywhere is gone.

    Raises
    ------
    TypeError, ValueError, SharedmemError
        As `empty`.

    See Also
    --------
    empty : The keywords, the exceptions.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.zeros_like([[1, 2], [3, 4]]).tolist()
    [[0, 0], [0, 0]]
    """
    return _like(a, dtype, order, shape, sharing, True)


def ones_like(
    a: ArrayLike,
    dtype: DTypeLike | None = None,
    order: OrderLike = "K",
    subok: bool = True,
    shape: Shape | None = None,
    **sharing: Any,
) -> SharedArray:
    """A new shared array of ones like `a`, as `numpy.ones_like`.

    Parameters
    ----------
    a : array_like
        Whose shape, dtype and order are taken; it is not copied.
    dtype : data-type, optional
        That of the prototype when not given.
    order : {'K', 'C', 'F', 'A'}
        ``'K'`` keeps the order of its axes in memory, ``'A'`` is ``'F'`` if it is
        Fortran contiguous and not C contiguous, else ``'C'``.
    subok : bool
        Has no effect: the result is a `SharedArray` always. It is there because
        NumPy has it.
    shape : int or sequence of int, optional
        Instead of the prototype's.
    **sharing
        ``name``, ``persistent``, ``replace``, ``backend``, ``permissions`` and
        ``reserve``, as for `empty`.

    Returns
    -------
    SharedArray
        Freed when its last user anywhere is gone.

    Raises
    ------
    TypeError, ValueError, SharedmemError
        As `empty`.

    See Also
    --------
    empty : The keywords, the exceptions.

    Examples
    --------
    >>> import numpy as np, sharedmem
    >>> sharedmem.ones_like(np.zeros(3)).tolist()
    [1.0, 1.0, 1.0]
    """
    return _filled_like(a, dtype, order, shape, 1, sharing)


def full_like(
    a: ArrayLike,
    fill_value: ArrayLike,
    dtype: DTypeLike | None = None,
    order: OrderLike = "K",
    subok: bool = True,
    shape: Shape | None = None,
    **sharing: Any,
) -> SharedArray:
    """A new shared array of `fill_value` like `a`, as `numpy.full_like`.

    Parameters
    ----------
    a : array_like
        Whose shape, dtype and order are taken; it is not copied.
    fill_value : scalar or array_like
        What to fill it with; broadcast to the shape.
    dtype : data-type, optional
        That of the prototype when not given.
    order : {'K', 'C', 'F', 'A'}
        ``'K'`` keeps the order of its axes in memory, ``'A'`` is ``'F'`` if it is
        Fortran contiguous and not C contiguous, else ``'C'``.
    subok : bool
        Has no effect: the result is a `SharedArray` always. It is there because
        NumPy has it.
    shape : int or sequence of int, optional
        Instead of the prototype's.
    **sharing
        ``name``, ``persistent``, ``replace``, ``backend``, ``permissions`` and
        ``reserve``, as for `empty`.

    Returns
    -------
    SharedArray
        Freed when its last user anywhere is gone.

    Raises
    ------
    TypeError, ValueError, SharedmemError
        As `empty`.

    See Also
    --------
    empty : The keywords, the exceptions.

    Examples
    --------
    >>> import numpy as np, sharedmem
    >>> sharedmem.full_like(np.zeros((2, 3), order="F"), 7).flags.f_contiguous
    True
    """
    return _filled_like(a, dtype, order, shape, fill_value, sharing)


def copy(a: ArrayLike, order: OrderLike = "K", subok: bool = False, **sharing: Any) -> SharedArray:
    """A shared copy of `a`, as `numpy.copy`.

    Parameters
    ----------
    a : array_like
        What to copy, shared or not.
    order : {'K', 'C', 'F', 'A'}
        ``'K'`` keeps the order of the axes in memory.
    subok : bool
        Has no effect: the result is a `SharedArray` always.
    **sharing
        ``name``, ``persistent``, ``replace``, ``backend``, ``permissions`` and
        ``reserve``, as for `empty`.

    Returns
    -------
    SharedArray
        Freed when its last user anywhere is gone; independent of `a`.

    Raises
    ------
    TypeError, ValueError, SharedmemError
        As `empty`.

    See Also
    --------
    asshared : Copies only what is not shared yet.

    Notes
    -----
    Each element is copied once, into the new segment. A list or other sequence is
    made an array first.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.copy([[1, 2], [3, 4]]).T.tolist()
    [[1, 3], [2, 4]]
    """
    return _copied(np.asanyarray(a), order, sharing)


def wrap(a: ArrayLike) -> SharedArray:
    """`copy`, as rainwoodman's package called it in 2012.

    Parameters
    ----------
    a : array_like
        What to copy, shared or not.

    Returns
    -------
    SharedArray
        Freed when its last user anywhere is gone; independent of `a`.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.wrap([1, 2]).tolist()
    [1, 2]
    """
    return copy(a)


def _has_order(array: np.ndarray, order: str) -> bool:
    wanted = {"C": array.flags.c_contiguous, "F": array.flags.f_contiguous}
    return wanted.get(_order(order), True)


def _is_shared_as(
    segment: Segment,
    *,
    name: str | None = None,
    backend: str | None = None,
    persistent: bool = False,
    permissions: int | None = None,
    replace: bool = False,
    reserve: bool = True,
) -> bool:
    """Whether a segment is what the keywords of sharing ask for."""
    backend_number(backend)
    if isinstance(name, str) and name.partition(":")[0] in BACKENDS:
        said, _, name = name.partition(":")
        if backend not in (None, said):
            return False
        backend = said
    if name not in (None, segment.name) or backend not in (None, segment.backend):
        return False
    if not persistent and permissions is None:
        return True
    try:
        info = context.stat(f"{segment.backend}:{segment.name}")
    except SegmentNotFoundError:  # it has no name any more
        return False
    return (info.persistent or not persistent) and permissions in (None, info.permissions)


def array(
    object: Any,
    dtype: DTypeLike | None = None,
    *,
    copy: bool | None = True,
    order: OrderLike = "K",
    subok: bool = False,
    ndmin: int = 0,
    like: Any = None,
    **sharing: Any,
) -> SharedArray:
    """A shared array made of `object`, as `numpy.array`.

    Parameters
    ----------
    object : array_like
        What it is made of.
    dtype : data-type, optional
        That of `object` when not given.
    copy : bool or None, default True
        True copies always. None copies only if `object` does not lie in shared
        memory as asked for. False never copies.
    order : {'K', 'C', 'F', 'A'}
        ``'K'`` keeps the order of the axes in memory.
    subok : bool
        Has no effect: the result is a `SharedArray` always.
    ndmin : int
        How many dimensions it has at least; new ones come first.
    like : object, optional
        Has no effect. It is there because NumPy has it.
    **sharing
        ``name``, ``persistent``, ``replace``, ``backend``, ``permissions`` and
        ``reserve``, as for `empty`.

    Returns
    -------
    SharedArray
        A new one, or with ``copy=None`` or ``copy=False`` a view of `object`.

    Raises
    ------
    ValueError
        If ``copy=False`` and a copy cannot be avoided.
    TypeError, SharedmemError
        As `empty`.

    See Also
    --------
    asshared : ``copy=None``.

    Notes
    -----
    The keywords of sharing, too, say what is asked for: ``copy=None`` copies where
    `object` has not this name, backend or permissions, or is not persistent.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.array([1, 2, 3], 'f4', ndmin=2).shape
    (1, 3)
    """
    source = np.asarray(object, dtype)
    _check_sharing(sharing)
    ndmin = operator.index(ndmin)
    if source.ndim < ndmin:
        source = source.reshape((1,) * (ndmin - source.ndim) + source.shape)
    segment = None if copy else segment_of(source)
    if segment is not None and _has_order(source, order) and _is_shared_as(segment, **sharing):
        return source.view(SharedArray)
    if copy is False:
        raise ValueError("this object is not in shared memory as asked for: a copy cannot be avoided")
    return _copied(source, order, sharing)


def asshared(
    a: ArrayLike, dtype: DTypeLike | None = None, order: OrderLike = "K", **sharing: Any
) -> SharedArray:
    """`a` itself where it lies in shared memory, else a shared copy.

    Parameters
    ----------
    a : array_like
        What is to be shared.
    dtype : data-type, optional
        Another dtype than `a` has means a copy.
    order : {'K', 'C', 'F', 'A'}
        An order that `a` does not have means a copy.
    **sharing
        ``name``, ``persistent``, ``replace``, ``backend``, ``permissions`` and
        ``reserve``, as for `empty`. A name, a backend or permissions that `a` does not
        have mean a copy, and so does ``persistent=True`` where it is not.

    Returns
    -------
    SharedArray
        A view of `a`'s memory, or a new array. A copy is independent of `a`:
        changes do not reach it.

    Raises
    ------
    TypeError, ValueError, SharedmemError
        As `empty`.

    See Also
    --------
    array, copy

    Notes
    -----
    Finds the segment through any chain of views that NumPy makes, plain
    `numpy.ndarray` among them.

    Examples
    --------
    >>> import numpy as np, sharedmem
    >>> a = sharedmem.zeros(3)
    >>> np.shares_memory(sharedmem.asshared(np.asarray(a)), a)
    True
    """
    return array(a, dtype, copy=None, order=order, **sharing)


def fromiter(iter: Iterable[Any], dtype: DTypeLike, count: int = -1, **sharing: Any) -> SharedArray:
    """A shared 1-d array of the items of an iterable, as `numpy.fromiter`.

    Parameters
    ----------
    iter : iterable
        Gives the items.
    dtype : data-type
        Of the items.
    count : int, default -1
        How many items to take; -1 takes all.
    **sharing
        ``name``, ``persistent``, ``replace``, ``backend``, ``permissions`` and
        ``reserve``, as for `empty`.

    Returns
    -------
    SharedArray
        Freed when its last user anywhere is gone.

    Raises
    ------
    ValueError
        If the iterable has fewer items than `count`.
    TypeError, SharedmemError
        As `empty`.

    Notes
    -----
    The items are gathered in private memory and copied once, since their number is
    not known before.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.fromiter((i * i for i in range(4)), int).tolist()
    [0, 1, 4, 9]
    """
    return copy(np.fromiter(iter, dtypes.check(dtype), count), **sharing)


def attach_or_create(
    name: str,
    shape: Shape,
    dtype: DTypeLike = float,
    order: Order = "C",
    *,
    persistent: bool = False,
    backend: str | None = None,
    permissions: int = 0o600,
    reserve: bool = True,
) -> SharedArray:
    """Attach the array of this name, or create it with zeros; those who race agree on one.

    Parameters
    ----------
    name : str
        As for `empty`; it has to be given.
    shape : int or sequence of int
        Of the array to create, and what the one that is there must have.
    dtype : data-type, default float64
        As `shape`.
    order : {'C', 'F'}
        As `shape`.
    persistent : bool, default False
        Of the array to create: stay until unlinked.
    backend : {'posix', 'sysv'}, optional
        Where to create it. One that is there is taken on either; ``'posix:x'``
        as a name looks on that one only.
    permissions : int, default 0o600
        Of the array to create.
    reserve : bool, default True
        Reserve the memory of the array to create.

    Returns
    -------
    SharedArray
        Writable; freed when its last user anywhere is gone.

    Raises
    ------
    LayoutMismatchError
        If there is one of another shape, dtype or order; the text shows both. A
        ``ValueError``.
    TypeError, ValueError, SharedmemError
        As `empty`.

    See Also
    --------
    attach : Takes what is there as it is.

    Notes
    -----
    Who comes first creates; nothing says who that was. The array is zeros until
    somebody writes: let a value in it say that it is filled, or use a lock.

    Examples
    --------
    >>> import sharedmem
    >>> first = sharedmem.attach_or_create('counters', 4, int)
    >>> second = sharedmem.attach_or_create('counters', 4, int)
    >>> first[1] = 7
    >>> second.tolist()
    [0, 7, 0, 0]
    """
    extents, made = _layout(shape, dtype)
    if order not in ("C", "F"):
        raise ValueError(f"order must be 'C' or 'F', not {order!r}")
    segment, created = context.attach_or_create(
        name,
        backend_number(backend),
        _flags(persistent, False, reserve),
        _permissions(permissions),
        dtypes.to_text(made),
        made.itemsize,
        extents,
        _fortran_strides(extents, made.itemsize) if order == "F" else None,
    )
    found = array_of(segment)
    right_order = found.flags.c_contiguous if order == "C" else found.flags.f_contiguous
    if not created and (found.shape != extents or found.dtype != made or not right_order):
        raise make(
            LayoutMismatchError,
            22,
            f"the segment has shape {found.shape}, dtype {found.dtype} and strides {found.strides}, "
            f"asked for were shape {extents}, dtype {made} and order {order!r}",
            "attach it as it is, choose another name, or unlink it first",
            name,
        )
    return found
