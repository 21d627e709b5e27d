"""One element of an array, read or changed at once for all processes and threads.

>>> import sharedmem
>>> from sharedmem import atomic
>>> counts = sharedmem.zeros(4, int)
>>> int(atomic.fetch_add(counts, 2, 5))
0
>>> counts.tolist()
[0, 0, 5, 0]

Between two of these calls no other process comes in between the reading and the
writing. What is read and written otherwise, ``counts[2] += 5``, is not protected by
them.
"""

from __future__ import annotations

import operator
from typing import Any, Literal, SupportsIndex

import numpy as np

from sharedmem._core.segment import OPERATIONS, ORDERS
from sharedmem._core.segment import atomic as _atomic
from sharedmem._core.segment import atomic_compare_exchange as _atomic_compare_exchange

__all__ = [
    "compare_exchange",
    "exchange",
    "fetch_add",
    "fetch_and",
    "fetch_max",
    "fetch_min",
    "fetch_or",
    "fetch_sub",
    "fetch_xor",
    "load",
    "store",
]

Index = SupportsIndex | tuple[SupportsIndex, ...]
Order = Literal["relaxed", "acquire", "release", "acq_rel", "seq_cst"]

_WIDTHS = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (4, 8)}


def _element(a: np.ndarray, index: Index, writes: bool) -> np.ndarray:
    """The element as an array without dimensions, in a's own memory."""
    if not isinstance(a, np.ndarray):
        raise TypeError(f"atomic operations are on arrays, not on {type(a).__name__}")
    if a.dtype.itemsize not in _WIDTHS.get(a.dtype.kind, ()):
        raise TypeError(
            f"no atomic operations on {a.dtype}: bools, integers of 1, 2, 4 or 8 bytes and floats of "
            "4 or 8 have them"
        )
    if not a.dtype.isnative:
        raise TypeError(f"no atomic operations on {a.dtype}: it has not the machine's byte order")
    place = index if isinstance(index, tuple) else (index,)
    if len(place) != a.ndim:
        raise IndexError(f"one element needs {a.ndim} indices, not {len(place)}")
    spot: Any = (*map(operator.index, place), ...)
    element: np.ndarray = a.view(np.ndarray)[spot]
    if writes and not element.flags.writeable:
        raise ValueError("assignment destination is read-only")
    if element.ctypes.data % a.dtype.itemsize:
        raise ValueError("the element is not aligned to its size: no machine changes it at once")
    return element


def _value(value: Any, dtype: np.dtype[Any]) -> np.ndarray:
    """A copy of the value as the element's dtype has it; nothing is cut off."""
    given = np.asarray(value)
    if given.dtype == object and isinstance(value, int):  # it has more than 64 bits
        if dtype.kind in "iu":
            raise OverflowError(f"{value} is out of bounds for {dtype}")
        given = np.asarray(float(value))
    if given.ndim:
        raise ValueError(f"one element takes one value, not an array of shape {given.shape}")
    integers = given.dtype.kind in "iu" and dtype.kind in "iu"
    if not integers and not np.can_cast(given.dtype, dtype, "same_kind"):
        raise TypeError(f"cannot cast {given.dtype} to {dtype}")
    made = given.astype(dtype)
    if integers and int(made) != int(given):
        raise OverflowError(f"{int(given)} is out of bounds for {dtype}")
    return made


def _order(order: str) -> int:
    try:
        return ORDERS[order]
    except (KeyError, TypeError):
        raise ValueError(f"order must be one of {', '.join(ORDERS)}, not {order!r}") from None


def _apply(a: np.ndarray, index: Index, operation: str, value: Any, order: str) -> Any:
    element = _element(a, index, operation != "load")
    kind = a.dtype.kind
    if operation in ("or", "and", "xor") and kind == "f":
        raise TypeError(f"no bitwise operations on {a.dtype}")
    if operation in ("add", "sub", "max", "min") and kind == "b":
        raise TypeError("no arithmetic on bools")
    operand = _value(value, a.dtype)
    _atomic(element, ord(kind), OPERATIONS[operation], _order(order), operand)
    return operand[()]


def load(a: np.ndarray, index: Index, *, order: Order = "seq_cst") -> Any:
    """The element, never half of an older and half of a newer value.

    Parameters
    ----------
    a : ndarray
        Of bools, integers or floats in the machine's byte order.
    index : int or tuple of int
        Of one element.
    order : {'seq_cst', 'acq_rel', 'acquire', 'release', 'relaxed'}
        The least that is asked for; more may be done.

    Returns
    -------
    scalar
        Of the array's dtype.

    Raises
    ------
    TypeError, ValueError, IndexError
        As `store`.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.atomic.load(sharedmem.ones((2, 2)), (0, 1)))
    1.0
    """
    return _apply(a, index, "load", False, order)


def store(a: np.ndarray, index: Index, value: Any, *, order: Order = "seq_cst") -> None:
    """Write the element.

    Parameters
    ----------
    a : ndarray
        Of bools, integers or floats in the machine's byte order.
    index : int or tuple of int
        Of one element.
    value : scalar
        Of the array's type.
    order : {'seq_cst', 'acq_rel', 'acquire', 'release', 'relaxed'}
        The least that is asked for; more may be done.

    Raises
    ------
    TypeError
        If the dtype has no such operation, or `value` does not fit it.
    OverflowError
        If `value` is an integer out of its bounds.
    ValueError
        If the element is not aligned to its size, or the array is read-only.
    IndexError
        If there is no such element.

    Notes
    -----
    What this process has written before is seen by who then loads this value.

    Examples
    --------
    >>> import sharedmem
    >>> a = sharedmem.zeros(3)
    >>> sharedmem.atomic.store(a, 1, 5)
    """
    _apply(a, index, "store", value, order)


def exchange(a: np.ndarray, index: Index, value: Any, *, order: Order = "seq_cst") -> Any:
    """Write the element, and return what it was.

    Parameters
    ----------
    a : ndarray
        Of bools, integers or floats in the machine's byte order.
    index : int or tuple of int
        Of one element.
    value : scalar
        Of the array's type.
    order : {'seq_cst', 'acq_rel', 'acquire', 'release', 'relaxed'}
        The least that is asked for; more may be done.

    Returns
    -------
    scalar
        What it was.

    Raises
    ------
    TypeError
        If the dtype has no such operation, or `value` does not fit it.
    OverflowError
        If `value` is an integer out of its bounds.
    ValueError
        If the element is not aligned to its size, or the array is read-only.
    IndexError
        If there is no such element.

    Examples
    --------
    >>> import sharedmem
    >>> a = sharedmem.ones(3, int)
    >>> int(sharedmem.atomic.exchange(a, 1, 5)), int(a[1])
    (1, 5)
    """
    return _apply(a, index, "exchange", value, order)


def compare_exchange(
    a: np.ndarray, index: Index, expected: Any, value: Any, *, order: Order = "seq_cst"
) -> tuple[bool, Any]:
    """Write the element if it is what is expected.

    Parameters
    ----------
    a : ndarray
        Of bools, integers or floats in the machine's byte order.
    index : int or tuple of int
        Of one element.
    expected : scalar
        Compared bit by bit: 0.0 is not -0.0, and a NaN is itself.
    value : scalar
        Of the array's type.
    order : {'seq_cst', 'acq_rel', 'acquire', 'release', 'relaxed'}
        The least that is asked for; more may be done.

    Returns
    -------
    exchanged : bool
        Whether it is the new one now.
    before : scalar
        What it was.

    Raises
    ------
    TypeError
        If the dtype has no such operation, or `value` does not fit it.
    OverflowError
        If `value` is an integer out of its bounds.
    ValueError
        If the element is not aligned to its size, or the array is read-only.
    IndexError
        If there is no such element.

    Examples
    --------
    >>> import sharedmem
    >>> a = sharedmem.zeros(3, int)
    >>> sharedmem.atomic.compare_exchange(a, 0, 0, 7)[0], sharedmem.atomic.compare_exchange(a, 0, 0, 8)[0]
    (True, False)
    """
    element = _element(a, index, True)
    seen = _value(expected, a.dtype)
    exchanged = _atomic_compare_exchange(element, _order(order), seen, _value(value, a.dtype))
    return exchanged, seen[()]


def fetch_add(a: np.ndarray, index: Index, value: Any, *, order: Order = "seq_cst") -> Any:
    """Add to the element, and return what it was.

    Parameters
    ----------
    a : ndarray
        Of bools, integers or floats in the machine's byte order.
    index : int or tuple of int
        Of one element.
    value : scalar
        Of the array's type.
    order : {'seq_cst', 'acq_rel', 'acquire', 'release', 'relaxed'}
        The least that is asked for; more may be done.

    Returns
    -------
    scalar
        What it was.

    Raises
    ------
    TypeError
        If the dtype has no such operation, or `value` does not fit it.
    OverflowError
        If `value` is an integer out of its bounds.
    ValueError
        If the element is not aligned to its size, or the array is read-only.
    IndexError
        If there is no such element.

    Notes
    -----
    Integers wrap.

    Examples
    --------
    >>> import sharedmem
    >>> a = sharedmem.ones(3, int)
    >>> int(sharedmem.atomic.fetch_add(a, 0, 2)), int(a[0])
    (1, 3)
    """
    return _apply(a, index, "add", value, order)


def fetch_sub(a: np.ndarray, index: Index, value: Any, *, order: Order = "seq_cst") -> Any:
    """Subtract from the element, and return what it was.

    Parameters
    ----------
    a : ndarray
        Of bools, integers or floats in the machine's byte order.
    index : int or tuple of int
        Of one element.
    value : scalar
        Of the array's type.
    order : {'seq_cst', 'acq_rel', 'acquire', 'release', 'relaxed'}
        The least that is asked for; more may be done.

    Returns
    -------
    scalar
        What it was.

    Raises
    ------
    TypeError
        If the dtype has no such operation, or `value` does not fit it.
    OverflowError
        If `value` is an integer out of its bounds.
    ValueError
        If the element is not aligned to its size, or the array is read-only.
    IndexError
        If there is no such element.

    Notes
    -----
    Integers wrap.

    Examples
    --------
    >>> import sharedmem
    >>> a = sharedmem.ones(3, int)
    >>> int(sharedmem.atomic.fetch_sub(a, 0, 2)), int(a[0])
    (1, -1)
    """
    return _apply(a, index, "sub", value, order)


def fetch_max(a: np.ndarray, index: Index, value: Any, *, order: Order = "seq_cst") -> Any:
    """Let the element be at least that much, and return what it was.

    Parameters
    ----------
    a : ndarray
        Of bools, integers or floats in the machine's byte order.
    index : int or tuple of int
        Of one element.
    value : scalar
        Of the array's type.
    order : {'seq_cst', 'acq_rel', 'acquire', 'release', 'relaxed'}
        The least that is asked for; more may be done.

    Returns
    -------
    scalar
        What it was.

    Raises
    ------
    TypeError
        If the dtype has no such operation, or `value` does not fit it.
    OverflowError
        If `value` is an integer out of its bounds.
    ValueError
        If the element is not aligned to its size, or the array is read-only.
    IndexError
        If there is no such element.

    Notes
    -----
    A NaN stays one.

    Examples
    --------
    >>> import sharedmem
    >>> a = sharedmem.ones(3, int)
    >>> int(sharedmem.atomic.fetch_max(a, 0, 2)), int(a[0])
    (1, 2)
    """
    return _apply(a, index, "max", value, order)


def fetch_min(a: np.ndarray, index: Index, value: Any, *, order: Order = "seq_cst") -> Any:
    """Let the element be at most that much, and return what it was.

    Parameters
    ----------
    a : ndarray
        Of bools, integers or floats in the machine's byte order.
    index : int or tuple of int
        Of one element.
    value : scalar
        Of the array's type.
    order : {'seq_cst', 'acq_rel', 'acquire', 'release', 'relaxed'}
        The least that is asked for; more may be done.

    Returns
    -------
    scalar
        What it was.

    Raises
    ------
    TypeError
        If the dtype has no such operation, or `value` does not fit it.
    OverflowError
        If `value` is an integer out of its bounds.
    ValueError
        If the element is not aligned to its size, or the array is read-only.
    IndexError
        If there is no such element.

    Notes
    -----
    A NaN stays one.

    Examples
    --------
    >>> import sharedmem
    >>> a = sharedmem.ones(3, int)
    >>> int(sharedmem.atomic.fetch_min(a, 0, 2)), int(a[0])
    (1, 1)
    """
    return _apply(a, index, "min", value, order)


def fetch_or(a: np.ndarray, index: Index, value: Any, *, order: Order = "seq_cst") -> Any:
    """Set bits of the element, and return what it was.

    Parameters
    ----------
    a : ndarray
        Of bools, integers or floats in the machine's byte order.
    index : int or tuple of int
        Of one element.
    value : scalar
        Of the array's type.
    order : {'seq_cst', 'acq_rel', 'acquire', 'release', 'relaxed'}
        The least that is asked for; more may be done.

    Returns
    -------
    scalar
        What it was.

    Raises
    ------
    TypeError
        If the dtype has no such operation, or `value` does not fit it.
    OverflowError
        If `value` is an integer out of its bounds.
    ValueError
        If the element is not aligned to its size, or the array is read-only.
    IndexError
        If there is no such element.

    Notes
    -----
    Integers and bools only.

    Examples
    --------
    >>> import sharedmem
    >>> a = sharedmem.ones(3, int)
    >>> int(sharedmem.atomic.fetch_or(a, 0, 2)), int(a[0])
    (1, 3)
    """
    return _apply(a, index, "or", value, order)


def fetch_and(a: np.ndarray, index: Index, value: Any, *, order: Order = "seq_cst") -> Any:
    """Clear bits of the element, and return what it was.

    Parameters
    ----------
    a : ndarray
        Of bools, integers or floats in the machine's byte order.
    index : int or tuple of int
        Of one element.
    value : scalar
        Of the array's type.
    order : {'seq_cst', 'acq_rel', 'acquire', 'release', 'relaxed'}
        The least that is asked for; more may be done.

    Returns
    -------
    scalar
        What it was.

    Raises
    ------
    TypeError
        If the dtype has no such operation, or `value` does not fit it.
    OverflowError
        If `value` is an integer out of its bounds.
    ValueError
        If the element is not aligned to its size, or the array is read-only.
    IndexError
        If there is no such element.

    Notes
    -----
    Integers and bools only.

    Examples
    --------
    >>> import sharedmem
    >>> a = sharedmem.ones(3, int)
    >>> int(sharedmem.atomic.fetch_and(a, 0, 2)), int(a[0])
    (1, 0)
    """
    return _apply(a, index, "and", value, order)


def fetch_xor(a: np.ndarray, index: Index, value: Any, *, order: Order = "seq_cst") -> Any:
    """Turn bits of the element over, and return what it was.

    Parameters
    ----------
    a : ndarray
        Of bools, integers or floats in the machine's byte order.
    index : int or tuple of int
        Of one element.
    value : scalar
        Of the array's type.
    order : {'seq_cst', 'acq_rel', 'acquire', 'release', 'relaxed'}
        The least that is asked for; more may be done.

    Returns
    -------
    scalar
        What it was.

    Raises
    ------
    TypeError
        If the dtype has no such operation, or `value` does not fit it.
    OverflowError
        If `value` is an integer out of its bounds.
    ValueError
        If the element is not aligned to its size, or the array is read-only.
    IndexError
        If there is no such element.

    Notes
    -----
    Integers and bools only.

    Examples
    --------
    >>> import sharedmem
    >>> a = sharedmem.ones(3, int)
    >>> int(sharedmem.atomic.fetch_xor(a, 0, 3)), int(a[0])
    (1, 2)
    """
    return _apply(a, index, "xor", value, order)
