"""Making shared arrays: NumPy's constructors, and what sharing adds to them.

All of them take these keywords besides NumPy's own:

name : str, optional
    To attach by from anywhere: 1 to 200 bytes of UTF-8 without '/'. A random
    one when not given.
persistent : bool, default False
    Stay until unlinked, though no process has the array.
replace : bool, default False
    Take the name from an array that has it; who uses that keeps its memory.
backend : {'posix', 'sysv'}, optional
    POSIX when not given, SysV when ``/dev/shm`` has no room.
permissions : int, default 0o600
    Of the segment. Owner read and write are required.
reserve : bool, default True
    Reserve the memory at once, so that a lack of room is an exception here and
    never a bus error later.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable
from typing import Any, Literal, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from sharedmem import dtypes
from sharedmem._core.errors import (
    LayoutMismatchError,
    NoRoomError,
    SegmentExistsError,
    SegmentSizeError,
    make,
)
from sharedmem._core.segment import BACKENDS, NO_RESERVE, PERSISTENT, REPLACE, replace_reference, segment_of
from sharedmem.names import array_of, explain_exists
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
    "zeros",
    "zeros_like",
]

Shape = SupportsIndex | Iterable[SupportsIndex]
Order = Literal["C", "F"]
OrderLike = Literal["C", "F", "A", "K"]

_NUMPY_2 = np.lib.NumpyVersion(np.__version__) >= "2.0.0"
_NDIM_MAX = 64 if _NUMPY_2 else 32
_INT64_MAX = 2**63 - 1


def _shape(shape: Any) -> tuple[int, ...]:
    made: tuple[int, ...]
    try:
        made = (operator.index(shape),)
    except TypeError:
        made = tuple(operator.index(extent) for extent in shape)
    if len(made) > _NDIM_MAX:
        raise ValueError(f"maximum supported dimension is {_NDIM_MAX}, found {len(made)}")
    if any(extent < 0 for extent in made):
        raise ValueError("negative dimensions are not allowed")
    if any(extent > _INT64_MAX for extent in made):
        raise _too_big(made)
    return made


def _too_big(shape: tuple[int, ...]) -> Exception:
    return make(SegmentSizeError, 75, f"array of shape {shape} is too big for the address space", "check shape and dtype", None)


def _flags(persistent: bool, replace: bool, reserve: bool) -> int:
    return persistent * PERSISTENT | replace * REPLACE | (not reserve) * NO_RESERVE


def _backend(backend: str | None) -> int:
    if backend is None:
        return 0
    try:
        return BACKENDS[backend]
    except (KeyError, TypeError):
        raise ValueError(f"backend must be 'posix', 'sysv' or None, not {backend!r}") from None


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


def _new(
    shape: Any,
    dtype: DTypeLike,
    strides: tuple[int, ...] | str | None,
    *,
    name: str | None = None,
    persistent: bool = False,
    replace: bool = False,
    backend: str | None = None,
    permissions: int = 0o600,
    reserve: bool = True,
) -> SharedArray:
    """A new array of zero bytes. `strides` may be an order, 'C' or 'F'."""
    extents, made = _layout(shape, dtype)
    if strides == "F":
        strides = _fortran_strides(extents, made.itemsize)
    elif strides == "C":
        strides = None
    elif isinstance(strides, str) or (strides is not None and not isinstance(strides, tuple)):
        raise ValueError(f"order must be 'C' or 'F', not {strides!r}")
    try:
        segment = context.create(
            name,
            _backend(backend),
            _flags(persistent, replace, reserve),
            _permissions(permissions),
            dtypes.to_text(made),
            made.itemsize,
            extents,
            strides,
        )
    except SegmentExistsError as error:
        raise explain_exists(error) from None
    except NoRoomError as error:
        raise _explain_no_room(error, extents, made) from None
    array: SharedArray = over(segment, extents, made, 0, strides)
    return array


def _explain_no_room(error: NoRoomError, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Exception:
    """The same error with what was asked for and what there is."""
    need = math.prod(shape) * dtype.itemsize
    try:
        disk = os.statvfs("/dev/shm")
        there = f"/dev/shm has {disk.f_bavail * disk.f_frsize:,} of {disk.f_blocks * disk.f_frsize:,} bytes free"
    except OSError:
        there = "there is no /dev/shm"
    text = f"no room for an array of shape {shape} and dtype {dtype}: {need:,} bytes, and {there}"
    return make(NoRoomError, error.errno or 12, text, error.remedy, error.name)


def _layout(shape: Any, dtype: DTypeLike) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype as NumPy would make them: 'S' becomes 'S1', and the shape
    of a subarray dtype goes to the array."""
    probe = np.empty(0, dtypes.check(dtype))
    return _shape((*_shape(shape), *probe.shape[1:])), probe.dtype


def _finish(array: SharedArray, values: Any) -> SharedArray:
    """Fill a new array; if that fails nothing stays behind."""
    try:
        np.copyto(array, values, casting="unsafe")
    except BaseException:
        if array.is_current():
            array.unlink()
        raise
    return array


def empty(shape: Shape, dtype: DTypeLike = float, order: Order = "C", **sharing: Any) -> SharedArray:
    """A new shared array, as `numpy.empty`. Its bytes are zero or arbitrary.

    Parameters
    ----------
    shape : int or sequence of int
        ``()`` and extents of zero are allowed.
    dtype : data-type, default float64
        Any without pointers in it.
    order : {'C', 'F'}
    **sharing
        ``name, persistent, replace, backend, permissions, reserve``; see the
        head of this module.

    Returns
    -------
    SharedArray
        Freed when its last user anywhere is gone.

    Raises
    ------
    TypeError
        For object dtypes and StringDType.
    ValueError
        For negative or overflowing sizes, bad names, unknown backends.
    SegmentExistsError
        If the name is in use; the text lists by whom.
    NoRoomError
        (a MemoryError) if there is no room for it.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.empty((2, 3), 'i4').shape
    (2, 3)
    """
    return _new(shape, dtype, order, **sharing)


def zeros(shape: Shape, dtype: DTypeLike = float, order: Order = "C", **sharing: Any) -> SharedArray:
    """A new shared array of zeros, as `numpy.zeros`. Keywords as for `empty`.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.zeros(2, int).sum()
    np.int64(0)
    """
    return _new(shape, dtype, order, **sharing)


def ones(shape: Shape, dtype: DTypeLike | None = None, order: Order = "C", **sharing: Any) -> SharedArray:
    """A new shared array of ones, as `numpy.ones`. Keywords as for `empty`."""
    return _finish(_new(shape, float if dtype is None else dtype, order, **sharing), 1)


def full(
    shape: Shape,
    fill_value: ArrayLike,
    dtype: DTypeLike | None = None,
    order: Order = "C",
    **sharing: Any,
) -> SharedArray:
    """A new shared array of `fill_value`, as `numpy.full`. Keywords as for `empty`.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.full(2, 3.5).tolist()
    [3.5, 3.5]
    """
    values = np.asarray(fill_value)
    extents, made = _layout(shape, values.dtype if dtype is None else dtype)
    np.broadcast_to(values, extents)  # fails before anything is made
    return _finish(_new(extents, made, order, **sharing), values)


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
    prototype: ArrayLike, dtype: DTypeLike | None, order: str, shape: Any, sharing: dict[str, Any]
) -> SharedArray:
    source = np.asanyarray(prototype)
    made = dtypes.check(source.dtype if dtype is None else dtype)
    extents, strides = _strides_like(source, made, order, None if shape is None else _shape(shape))
    if made.subdtype is not None:
        made = made.base
    return _new(extents, made, strides, **sharing)


def empty_like(
    prototype: ArrayLike,
    dtype: DTypeLike | None = None,
    order: OrderLike = "K",
    subok: bool = True,
    shape: Shape | None = None,
    **sharing: Any,
) -> SharedArray:
    """A new shared array like `prototype`, as `numpy.empty_like`.

    `subok` is there for NumPy's sake: the result is a `SharedArray` always.
    Other keywords as for `empty`.
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
    """A new shared array of zeros like `a`, as `numpy.zeros_like`. See `empty_like`."""
    return _like(a, dtype, order, shape, sharing)


def ones_like(
    a: ArrayLike,
    dtype: DTypeLike | None = None,
    order: OrderLike = "K",
    subok: bool = True,
    shape: Shape | None = None,
    **sharing: Any,
) -> SharedArray:
    """A new shared array of ones like `a`, as `numpy.ones_like`. See `empty_like`."""
    return _finish(_like(a, dtype, order, shape, sharing), 1)


def full_like(
    a: ArrayLike,
    fill_value: ArrayLike,
    dtype: DTypeLike | None = None,
    order: OrderLike = "K",
    subok: bool = True,
    shape: Shape | None = None,
    **sharing: Any,
) -> SharedArray:
    """A new shared array of `fill_value` like `a`, as `numpy.full_like`. See `empty_like`."""
    return _finish(_like(a, dtype, order, shape, sharing), fill_value)


def copy(a: ArrayLike, order: OrderLike = "K", subok: bool = False, **sharing: Any) -> SharedArray:
    """A shared copy of `a`, as `numpy.copy`. Keywords as for `empty`.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.copy([[1, 2], [3, 4]]).T.tolist()
    [[1, 3], [2, 4]]
    """
    source = np.asanyarray(a)
    return _finish(_like(source, None, order, None, sharing), source)


def _has_order(array: np.ndarray, order: str) -> bool:
    wanted = {"C": array.flags.c_contiguous, "F": array.flags.f_contiguous}
    return wanted.get(order, True)


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

    With ``copy=None`` an array that lies in shared memory and is as asked for
    is returned as a view; with ``copy=False`` everything else is a ValueError.
    Other keywords as for `empty`.
    """
    source = np.asarray(object, dtype)
    if source.ndim < ndmin:
        source = source.reshape((1,) * (ndmin - source.ndim) + source.shape)
    if not copy and segment_of(source) is not None and _has_order(source, order):
        return source.view(SharedArray)
    if copy is False:
        raise ValueError("this object is not in shared memory as asked for: a copy cannot be avoided")
    return _finish(_like(source, None, order, None, sharing), source)


def asshared(a: ArrayLike, dtype: DTypeLike | None = None, order: OrderLike = "K", **sharing: Any) -> SharedArray:
    """`a` itself if it lies in shared memory, as a view of class SharedArray; else a copy.

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

    The items are gathered in private memory first, since their number is not
    known. Keywords as for `empty`.
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
    """Attach the array of this name, or create it with zeros; processes that race agree on one.

    Raises
    ------
    LayoutMismatchError
        If there is one of another shape, dtype or order; the text shows both.
    """
    extents, made = _layout(shape, dtype)
    if order not in ("C", "F"):
        raise ValueError(f"order must be 'C' or 'F', not {order!r}")
    segment, created = context.attach_or_create(
        name,
        _backend(backend),
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
