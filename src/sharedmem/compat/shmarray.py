"""numpy-sharedmem's module ``shmarray`` over this library's arrays.

What is different: the arrays pickle by name, so they go through queues and
pools and to processes that were not forked from this one; a view's offset goes
with it; extents may exceed 32 bits; 0-d arrays can be copied. The constructor
takes an array in shared memory where the old one took a ctypes array of
multiprocessing's, and ``ctypesArray`` is such an array.
"""

from __future__ import annotations

import mmap
import operator
from collections.abc import Sequence
from typing import Any, Literal, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from sharedmem import creation
from sharedmem._core.segment import segment_of
from sharedmem.creation import Shape
from sharedmem.sharedarray import SharedArray, over

__all__ = ["create", "create_copy", "ones", "shmarray", "zeros"]


class shmarray(SharedArray):
    """A `sharedmem.SharedArray` that is made as numpy-sharedmem made its own.

    Parameters
    ----------
    ctypesArray : array in shared memory
        A `sharedmem.SharedArray`, a view of one, or the `ctypesArray` of another
        `shmarray`. The memory is used, not copied.
    shape : int or sequence of int
    dtype : data-type, default float64
    strides : sequence of int, optional
    offset : int, default 0
        In bytes, from the start of `ctypesArray`.
    order : {'C', 'F'}, optional

    Raises
    ------
    TypeError
        If `ctypesArray` is not in memory of this library's, not C-contiguous, or
        too small for the array.
    ValueError
        If the strides lead out of it.

    Notes
    -----
    The memory is unmapped with the last view of it. Results of arithmetic are
    plain arrays.

    Examples
    --------
    >>> from sharedmem.compat import shmarray
    >>> a = shmarray.zeros((2, 3))
    >>> b = shmarray.shmarray(a.ctypesArray, 3, offset=24)
    >>> b[:] = 1
    >>> a.tolist()
    [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """

    __slots__ = ()

    def __new__(
        cls,
        ctypesArray: Any,
        shape: SupportsIndex | Sequence[SupportsIndex],
        dtype: DTypeLike = float,
        strides: tuple[int, ...] | None = None,
        offset: int = 0,
        order: Literal["C", "F"] | None = None,
    ) -> shmarray:
        """Place an array in memory that is shared already."""
        memory = np.asarray(ctypesArray)
        if segment_of(memory) is None or not memory.flags.c_contiguous:
            raise TypeError(
                "the memory of a shmarray must be a C-contiguous array of sharedmem's: "
                "use create(), zeros() or ones(), or create_copy() of what is not"
            )
        bytes_ = memory.reshape(-1).view(np.uint8)
        return np.ndarray.__new__(cls, shape, dtype, bytes_, offset, strides, order)

    @property
    def ctypesArray(self) -> SharedArray:
        """All bytes of the array's segment. Its ``ctypes`` is what C functions take."""
        segment = self._segment()
        array: SharedArray = over(segment, (memoryview(segment).nbytes,), np.int8)
        return array

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        if array is self:
            return array
        return self.view(SharedArray).__array_wrap__(array, context, return_scalar)

    def __getitem__(self, index: Any) -> Any:
        result = super().__getitem__(index)
        if isinstance(result, shmarray) and segment_of(result) is None:
            return result.view(np.ndarray)  # fancy indexing has made a copy
        return result


def _aligned(alignment: SupportsIndex) -> None:
    """Refuse what a mapping cannot keep: in each process it begins at some page."""
    wanted = operator.index(alignment)
    if wanted < 1 or wanted & (wanted - 1) or wanted > mmap.PAGESIZE:
        raise ValueError(
            f"alignment must be a power of two up to the size of a page ({mmap.PAGESIZE}), not {wanted}"
        )


def create(shape: Shape, dtype: DTypeLike = "d", alignment: SupportsIndex = 32) -> shmarray:
    """A new shared array whose bytes are zero or arbitrary.

    Parameters
    ----------
    shape : int or sequence of int
    dtype : data-type, default float64
    alignment : int, default 32
        In bytes: a power of two up to the size of a page. The data begin at a
        page, so that each of these holds, in every process.

    Returns
    -------
    shmarray
        Freed when its last user anywhere is gone.

    Raises
    ------
    ValueError
        For other alignments, negative extents, sizes that overflow.
    TypeError
        For dtypes with pointers in them.
    NoRoomError
        (a MemoryError) if there is no room for it.

    Examples
    --------
    >>> from sharedmem.compat import shmarray
    >>> shmarray.create((2, 3), 'i4', alignment=64).ctypes.data % 64
    0
    """
    _aligned(alignment)
    return creation.empty(shape, dtype).view(shmarray)


def zeros(shape: Shape, dtype: DTypeLike = "d") -> shmarray:
    """A new shared array of zeros. See `create`.

    Examples
    --------
    >>> from sharedmem.compat import shmarray
    >>> int(shmarray.zeros(3, 'i4').sum())
    0
    """
    return creation.zeros(shape, dtype).view(shmarray)


def ones(shape: Shape, dtype: DTypeLike = "d") -> shmarray:
    """A new shared array of ones. See `create`.

    Examples
    --------
    >>> from sharedmem.compat import shmarray
    >>> int(shmarray.ones(3, 'i4').sum())
    3
    """
    return creation.ones(shape, dtype).view(shmarray)


def create_copy(a: ArrayLike) -> shmarray:
    """A shared copy of `a`, in C order.

    Parameters
    ----------
    a : array_like
        0-d arrays too.

    Returns
    -------
    shmarray
        Of the same shape and dtype; `a` is read once and not kept.

    Examples
    --------
    >>> import numpy as np
    >>> from sharedmem.compat import shmarray
    >>> shmarray.create_copy(np.float64(7)).shape
    ()
    """
    return creation.copy(a, "C").view(shmarray)
