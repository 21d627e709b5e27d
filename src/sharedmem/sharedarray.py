"""`SharedArray`: an ndarray whose memory other processes can see."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from sharedmem import pickling
from sharedmem._core.errors import SegmentNotFoundError
from sharedmem._core.segment import Frame, Segment, segment_of

if TYPE_CHECKING:
    from sharedmem import sync

__all__ = ["SharedArray", "SharedMemArray", "over"]

_PRIVATE = "this array is not in shared memory (a copy of one is not)"
_NUMPY_2 = np.lib.NumpyVersion(np.__version__) >= "2.0.0"


class SharedArray(np.ndarray):
    """An array in a shared segment, with `numpy.memmap`'s manners.

    Views and slices keep the class and the memory; results of ufuncs and
    reductions are plain arrays and scalars. Not made by calling the class: by
    `empty` and its relatives, by `attach`, and by unpickling.

    Notes
    -----
    The memory is unmapped when the last view of it in this process is gone, and
    freed when that was the last one anywhere and nothing is in flight.

    Pickled it is a descriptor of some 200 bytes, and what is loaded is the same
    memory. Through `multiprocessing` the descriptor keeps the memory alive until it
    is received. A plain ``pickle.dumps`` does not: keep the array until the other
    side has it. A pickle on disk is a name, not the data.

    A copy (``a.copy()``, ``a + 0``, `copy.deepcopy`, an index with a list) is in
    private memory. ``np.asarray(a)`` is a plain view of the shared memory.

    Attributes can be set, and belong to the one object: views do not have them, and
    they are not pickled. A subclass hands them on and pickles them as a subclass of
    ndarray does, by ``__array_finalize__``, ``__reduce__`` and ``__setstate__``.

    References
    ----------
    "Subclassing ndarray" in NumPy's documentation; `numpy.memmap`.

    Examples
    --------
    >>> import pickle, sharedmem
    >>> a = sharedmem.zeros(3)
    >>> b = pickle.loads(pickle.dumps(a))
    >>> b[0] = 7
    >>> a
    SharedArray([7., 0., 0.], backend='posix', name='...')

    The name is taken away at the end of a block, the memory goes with the last view:

    >>> with sharedmem.zeros(3, name='array-example') as a:
    ...     sharedmem.exists('array-example')
    True
    >>> sharedmem.exists('array-example'), a.is_current()
    (False, False)
    """

    __array_priority__ = -100.0  # as memmap's: other subclasses decide what results are

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        pickling.register(cls)  # multiprocessing's pickler goes by exact type

    def _segment(self) -> Segment:
        segment = segment_of(self)
        if segment is None:
            raise SegmentNotFoundError(2, _PRIVATE)
        return segment

    def _shown_segment(self) -> Segment:
        """For attributes: what is in private memory has none of them, as ``hasattr`` asks."""
        segment = segment_of(self)
        if segment is None:
            raise AttributeError(_PRIVATE)
        return segment

    @property
    def name(self) -> str:
        """The name to `attach` the whole segment by.

        A view has the name of the array that it is a view of.

        Raises
        ------
        AttributeError
            If this is not in shared memory, as a copy is not.

        Examples
        --------
        >>> import sharedmem
        >>> sharedmem.zeros(3, name='name-example')[1:].name
        'name-example'
        """
        return self._shown_segment().name

    @property
    def backend(self) -> str:
        """``'posix'`` or ``'sysv'``.

        Raises
        ------
        AttributeError
            If this is not in shared memory.

        Examples
        --------
        >>> import sharedmem
        >>> sharedmem.zeros(3, backend='sysv').backend
        'sysv'
        """
        return self._shown_segment().backend

    @property
    def lock(self) -> sync.Lock:
        """The array's own lock, a `Lock` that lies in its segment.

        A view has the lock of the array that it is a view of.

        Raises
        ------
        AttributeError
            If this is not in shared memory.

        Notes
        -----
        Taking it is what protects: nothing else is kept from changing the array. One
        that is attached for reading has it too, a private copy (``mode='c'``) and
        another user's array have none: ``PermissionError`` when it is taken.

        Each access makes a small object; all of them are the same lock. It can be
        sent by itself, and keeps the array's memory.

        Examples
        --------
        >>> import sharedmem
        >>> a = sharedmem.zeros(3)
        >>> with a.lock:
        ...     a[0] += 1
        """
        return _lock_of()(self._shown_segment())

    @property
    def frame(self) -> int:
        """The number of the newest complete frame: how often `writing` has ended.

        Examples
        --------
        >>> import sharedmem
        >>> sharedmem.zeros(3).frame
        0
        """
        return Frame(self._shown_segment()).number()

    @contextmanager
    def writing(self, timeout: float | None = None) -> Iterator[SharedArray]:
        """Within this block the array is being written, as one frame.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait for another writer.

        Yields
        ------
        SharedArray
            The array itself.

        Raises
        ------
        TimeoutError
            If another process writes for that long.
        PermissionError
            If the array is read-only, a private copy, or another user's.

        See Also
        --------
        read, wait : The other side.

        Notes
        -----
        Who uses `read` gets the frame of before or the one of after, never a mixture.
        Readers are in nobody's way. The number of frames is one for the whole segment,
        whichever view of it is written.

        After an exception in the block, or the writer's death, there is no frame until
        the next is complete: write all of it.

        Examples
        --------
        >>> import sharedmem
        >>> a = sharedmem.zeros(3)
        >>> with a.writing():
        ...     a[:] = 5
        >>> a.frame
        1
        """
        frame = Frame(self._segment())
        if not frame.begin(timeout):
            raise TimeoutError(f"another process writes {self.name!r} for {timeout} s")
        try:
            yield self
        except BaseException:
            frame.give_up()
            raise
        frame.end()

    def read(
        self, out: np.ndarray | None = None, timeout: float | None = None
    ) -> tuple[np.ndarray, int]:
        """A copy of the latest complete frame.

        Parameters
        ----------
        out : ndarray, optional
            Of the same shape: where to copy to.
        timeout : float, optional
            Seconds to wait for a writer to end its frame.

        Returns
        -------
        copy : ndarray
            `out`, or a new array in private memory.
        number : int
            Of the frame.

        Raises
        ------
        TornFrameError
            If the writer died, or gave up, in the middle of a frame.
        TimeoutError
            If no frame could be had in that time.

        See Also
        --------
        wait : Until there is a newer one.

        Notes
        -----
        Copied again if something was written meanwhile.

        References
        ----------
        Boehm, "Can seqlocks get along with programming language memory models?", 2012.

        Examples
        --------
        >>> import sharedmem
        >>> a = sharedmem.ones(3)
        >>> a.read()
        (array([1., 1., 1.]), 0)
        """
        made = np.empty(self.shape, self.dtype) if out is None else out
        if not isinstance(made, np.ndarray):
            raise TypeError(f"out must be an array, not {type(made).__name__}")
        if made.shape != self.shape:
            raise ValueError(f"out has shape {made.shape}, the array {self.shape}")
        number = Frame(self._segment()).read(partial(np.copyto, made, self), timeout)
        if number is None:
            raise TimeoutError(f"no complete frame of {self.name!r} within {timeout} s")
        return made, number

    def wait(self, newer_than: int, timeout: float | None = None) -> bool:
        """Wait for a frame with a higher number.

        Parameters
        ----------
        newer_than : int
            As `read` returns it. Any frame is newer than a negative one.
        timeout : float, optional
            Seconds.

        Returns
        -------
        bool
            False when the time was over.

        Examples
        --------
        >>> import sharedmem
        >>> sharedmem.zeros(3).wait(newer_than=0, timeout=0.001)
        False
        """
        number = operator.index(newer_than)
        return number < 0 or Frame(self._segment()).wait(number, timeout)

    def is_current(self) -> bool:
        """Whether the name still leads to this memory.

        Returns
        -------
        bool
            False after `unlink`, when another array has taken the name, and for arrays
            in private memory.

        Examples
        --------
        >>> import sharedmem
        >>> a = sharedmem.zeros(3, name='current-example')
        >>> b = sharedmem.ones(3, name='current-example', replace=True)
        >>> a.is_current(), b.is_current()
        (False, True)
        """
        segment = segment_of(self)
        return segment is not None and segment.is_current()

    def unlink(self) -> None:
        """Take the name away: nobody can attach it any more.

        Raises
        ------
        SegmentNotFoundError
            If it has no name any more, or is not in shared memory.
        SegmentBusyError
            If another process holds the lock of the name for seconds.

        Notes
        -----
        Who has it keeps the memory, this array too. Descriptors in flight cannot be
        received any more. Pickled from now on it goes by content.

        Examples
        --------
        >>> import sharedmem
        >>> a = sharedmem.zeros(3)
        >>> a.unlink()
        >>> a.tolist()
        [0.0, 0.0, 0.0]
        """
        self._segment().unlink()

    def __enter__(self) -> SharedArray:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.is_current():
            self.unlink()

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        wrapped = super().__array_wrap__(array, context)
        if array is self or type(self) is not SharedArray or segment_of(wrapped) is not None:
            return wrapped
        if return_scalar or (not _NUMPY_2 and array.shape == ()):
            return array[()]
        return array.view(np.ndarray)

    def __getitem__(self, index: Any) -> Any:
        result = super().__getitem__(index)
        if type(result) is SharedArray and segment_of(result) is None:
            return result.view(np.ndarray)  # fancy indexing has made a copy
        return result

    def __repr__(self) -> str:
        segment = segment_of(self)
        text = np.array_repr(self)
        if segment is None:
            return text
        return f"{text[:-1]}, backend={segment.backend!r}, name={segment.name!r})"

    def __deepcopy__(self, memo: dict[int, Any] | None, /) -> np.ndarray:  # type: ignore[override]
        return np.array(self, subok=False)

    def __reduce_ex__(self, protocol: Any) -> Any:
        if type(self) is SharedArray:
            return pickling.reduce_by_name(self, protocol)
        return self.__reduce__()  # as ndarray: it is there for subclasses to add to

    def __reduce__(self) -> Any:
        return pickling.reduce_for_subclass(self)

    def __setstate__(self, state: Any) -> None:
        if state != ():  # of what went by name
            super().__setstate__(state)


SharedMemArray = SharedArray  # as rainwoodman's package called it in 2012


@cache
def _lock_of() -> Callable[[Segment], sync.Lock]:
    from sharedmem import sync  # it knows names, which know this class

    return sync.lock_of


def over(
    segment: Segment,
    shape: tuple[int, ...],
    dtype: Any,
    offset: int = 0,
    strides: tuple[int, ...] | None = None,
    cls: type[np.ndarray] = SharedArray,
) -> Any:
    """An array over a segment, whose base is the segment. NumPy checks the bounds."""
    buffer: Any = segment
    return np.ndarray.__new__(cls, shape, dtype, buffer, offset, strides)
