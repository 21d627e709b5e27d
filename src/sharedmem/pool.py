"""`Pool`: a `MapReduce` with the interface that rainwoodman's package had in 2012."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NoReturn

import numpy

from sharedmem.failures import Failure
from sharedmem.mapreduce import MapReduce, ProcessBackend, ThreadBackend

__all__ = ["Pool", "TPool", "array_split"]


def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """Views of an array, one behind the other.

    Parameters
    ----------
    ary : array_like
        What is split.
    indices_or_sections : int or sequence of int
        How many views of nearly equal length, the longer ones first; or where to split.
    axis : int, default 0
        Along which axis.

    Returns
    -------
    list of ndarray
        Views, shared where the array is. Some are empty if there are more than rows.

    Raises
    ------
    ValueError
        If the number is not positive.

    See Also
    --------
    Pool.split : Several arrays at once.

    Examples
    --------
    >>> import sharedmem
    >>> [part.tolist() for part in sharedmem.array_split(sharedmem.copy([1, 2, 3, 4, 5]), 2)]
    [[1, 2, 3], [4, 5]]
    """
    return numpy.array_split(numpy.asanyarray(ary), indices_or_sections, axis)


def _rows(item: Any) -> Any:
    """What is to be split of an argument: an array of its rows; None if it is repeated."""
    if isinstance(item, (tuple, str, bytes, Mapping)) or not hasattr(item, "__getitem__"):
        return None
    try:
        rows = numpy.asanyarray(item)
    except ValueError:  # a list of lists of several lengths
        rows = numpy.empty(len(item), object)
        for index, row in enumerate(item):
            rows[index] = row
    return rows if rows.ndim else None


def _split(np: int, arguments: Any, nchunks: int | None, chunksize: int | None) -> list[list[Any]]:
    arguments = list(arguments)
    rows = [_rows(item) for item in arguments]
    lengths = [len(each) for each in rows if each is not None]
    if len(set(lengths)) > 1:
        raise ValueError(
            f"what is split together must be equally long, but these have the lengths {lengths}"
        )
    if chunksize is not None:
        if nchunks is not None:
            raise ValueError("give nchunks or chunksize, not both")
        if chunksize < 1:
            raise ValueError(f"chunksize must be positive, but is {chunksize}")
        if not lengths:
            raise ValueError("chunksize needs a list or an array to split: these are all repeated")
        nchunks = max(1, lengths[0] // chunksize)
    if nchunks is None:
        nchunks = 2 * max(1, np)
    if nchunks < 1:
        raise ValueError(f"nchunks must be positive, but is {nchunks}")
    return [
        [item] * nchunks if each is None else array_split(each, nchunks)
        for item, each in zip(arguments, rows)
    ]


class WorkerTraceback(Exception):
    """The cause of an exception that a worker raised: where it was raised there."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n\n{self.text}"


def _call(job: Callable[[], Any]) -> Any:
    return job()


class Pool(MapReduce):
    """Call a function for each item of a sequence, in workers; with the interface of 2012.

    A `MapReduce` that lets the other workers finish when one fails, and raises what the
    function raised.

    Parameters
    ----------
    np : int, optional
        How many workers; when not given as for `MapReduce`. With 0 all is done in the calling
        process. A backend in this place is `backend`, and an int behind it `np`.
    use_threads : bool, default False
        The workers are threads.
    backend, workers, start_method, reuse : optional
        As for `MapReduce`.

    Attributes
    ----------
    rank : int
        The worker's number, from 0.
    lock : lock
        ``with pool.lock:`` is entered by one worker at a time.

    See Also
    --------
    MapReduce : It stops the other workers at the first failure.
    TPool : The same, of threads.

    Notes
    -----
    In 2012 the results of ``map`` came as an array, in the order of completion unless
    ``ordered=True`` was given. Here they are a list, in the order of the items.

    References
    ----------
    `rainwoodman/sharedmem <https://github.com/rainwoodman/sharedmem>`_, whose first
    interface this is.

    Examples
    --------
    >>> import sharedmem
    >>> total = sharedmem.zeros(())
    >>> with sharedmem.Pool(np=2) as pool:
    ...     def work(rows, weight):
    ...         with pool.lock:
    ...             total[...] += weight * rows.sum()
    ...     _ = pool.starmap(work, pool.zipsplit((range(5), 2)))
    >>> float(total)
    20.0
    """

    def __init__(
        self,
        np: Any = None,
        use_threads: Any = False,
        *,
        backend: Any = None,
        workers: Literal["process", "thread"] | None = None,
        start_method: str = "fork",
        reuse: bool = False,
    ) -> None:
        if np in (ProcessBackend, ThreadBackend):
            backend, np = np, None
            if not isinstance(use_threads, bool):
                np, use_threads = use_threads, False
        if use_threads:
            if backend is ProcessBackend or workers == "process":
                raise ValueError(
                    "use_threads=True, and processes are asked for as well: give one of them"
                )
            backend = ThreadBackend
        super().__init__(backend, np, workers=workers, start_method=start_method, reuse=reuse)

    @property
    def use_threads(self) -> bool:
        """Whether the workers are threads.

        Examples
        --------
        >>> import sharedmem
        >>> sharedmem.TPool(2).use_threads
        True
        """
        return self.backend is ThreadBackend

    @property
    def rank(self) -> int:
        """The worker's number, from 0. For work functions: elsewhere an AttributeError.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.Pool(1) as pool:
        ...     pool.map(lambda i: pool.rank, 'ab')
        [0, 0]
        """
        place = self._place()
        if place is None:
            raise AttributeError("pool.rank is for work functions: there is none outside of a map")
        rank: int = place.local.rank
        return rank

    @property
    def lock(self) -> Any:
        """``critical``, as it was called in 2012.

        Examples
        --------
        >>> import sharedmem
        >>> total = sharedmem.zeros((), int)
        >>> with sharedmem.Pool(2) as pool:
        ...     def work(i):
        ...         with pool.lock:
        ...             total[...] += i
        ...     _ = pool.map(work, range(4))
        >>> int(total)
        6
        """
        return self.critical

    def split(
        self, arguments: Any, nchunks: int | None = None, chunksize: int | None = None
    ) -> list[list[Any]]:
        """Split what work is done on into chunks.

        Parameters
        ----------
        arguments : sequence
            What is to be split: lists and arrays, all of one length, along their first axis.
            Tuples, strings, mappings and scalars are repeated.
        nchunks : int, optional
            How many chunks. Twice the number of workers when not given.
        chunksize : int, optional
            How long they are at least, where there is enough; instead of `nchunks`.

        Returns
        -------
        list of list
            For each argument its chunks: views of arrays, the longer ones first. Some are
            empty if there are more chunks than rows.

        Raises
        ------
        ValueError
            If lengths differ, or a number is not positive.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.Pool(2) as pool:
        ...     pool.split(([1, 2, 3], 'x'), nchunks=2)
        [[array([1, 2]), array([3])], ['x', 'x']]
        """
        return _split(self.np, arguments, nchunks, chunksize)

    def zipsplit(
        self, arguments: Any, nchunks: int | None = None, chunksize: int | None = None
    ) -> list[tuple[Any, ...]]:
        """The same, ready for `starmap`.

        Parameters
        ----------
        arguments : sequence
            As for `split`.
        nchunks, chunksize : int, optional
            As for `split`.

        Returns
        -------
        list of tuple
            For each chunk its part of each argument.

        Raises
        ------
        ValueError
            As `split`.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.Pool(2) as pool:
        ...     pool.starmap(lambda rows, factor: int(sum(rows)) * factor,
        ...                  pool.zipsplit(([1, 2, 3], 10), nchunks=2))
        [30, 30]
        """
        return list(zip(*self.split(arguments, nchunks, chunksize)))

    def map(  # type: ignore[override]  # the order of 2012; that of MapReduce is recognised
        self,
        work: Callable[..., Any],
        sequence: Any,
        chunksize: Any = 1,
        ordered: bool = False,
        star: Any = False,
        *,
        reduce: Callable[..., Any] | None = None,
        minlength: int = 0,
    ) -> list[Any]:
        """Call a function for each item, and wait for all results.

        Parameters
        ----------
        work : callable
            Takes an item; with `star` what the item holds, as arguments.
        sequence : sized
            Lists, arrays (by rows), ranges, sets; what has no ``[]`` is made a list.
        chunksize : int, default 1
            How many items a worker takes at a time. With 1 it takes more while they are short.
            A callable in this place is `reduce`, and what follows it by position is the `star`
            and `minlength` of `MapReduce.map`.
        ordered : bool, default False
            Taken and not needed: results are always in the order of the items.
        star : bool, default False
            See `work`.
        reduce : callable, optional
            As for `MapReduce.map`.
        minlength : int, default 0
            As for `MapReduce.map`.

        Returns
        -------
        list
            The results, in the order of the items.

        Raises
        ------
        Exception
            The first one that `work` raised, of its own type, with the worker's traceback as
            its cause; once the other workers have done what there is to do. One that cannot
            be pickled is an `Exception` with its text.
        WorkerException
            If a worker dies. The others are stopped.
        ValueError
            If `chunksize` is not positive.
        RuntimeError, TypeError
            As `MapReduce.map`.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.Pool(np=2) as pool:
        ...     pool.map(lambda i: i * i, range(4))
        [0, 1, 4, 9]
        >>> with sharedmem.Pool(np=2) as pool:
        ...     pool.map(lambda i: 1 // i, range(2))
        Traceback (most recent call last):
        ZeroDivisionError: integer division or modulo by zero
        """
        if chunksize is None or callable(chunksize):
            reduce, chunksize = chunksize or reduce, 1
            if not isinstance(star, bool):
                star, minlength = False, star
            star = star or ordered
        if chunksize < 1:
            raise ValueError(f"chunksize must be positive, but is {chunksize}")
        chunk = None if chunksize == 1 else chunksize
        return self._gather(work, sequence, reduce, star, minlength, chunk)

    def starmap(
        self,
        work: Callable[..., Any],
        sequence: Any,
        chunksize: int = 1,
        ordered: bool = False,
        *,
        reduce: Callable[..., Any] | None = None,
        minlength: int = 0,
    ) -> list[Any]:
        """`map` with ``star=True``: what an item holds are the arguments.

        Parameters
        ----------
        work : callable
            Takes what an item holds, as arguments.
        sequence : sized
            Of tuples or other sequences.
        chunksize, ordered, reduce, minlength : optional
            As for `map`.

        Returns
        -------
        list
            The results, in the order of the items.

        Raises
        ------
        Exception, WorkerException, ValueError, RuntimeError, TypeError
            As `map`.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.Pool(np=2) as pool:
        ...     pool.starmap(pow, [(2, 3), (3, 2)])
        [8, 9]
        """
        return self.map(work, sequence, chunksize, ordered, True, reduce=reduce, minlength=minlength)

    def do(self, jobs: Any) -> list[Any]:
        """Call each of several functions.

        Parameters
        ----------
        jobs : sequence of callable
            Each takes no argument.

        Returns
        -------
        list
            What they return, in their order.

        Raises
        ------
        Exception, WorkerException, RuntimeError, TypeError
            As `map`.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.Pool(np=2) as pool:
        ...     pool.do([lambda: 'a', lambda: 'b'])
        ['a', 'b']
        """
        return self.map(_call, jobs)

    _lets_others_finish = True

    def _fail(self, failure: Failure) -> NoReturn:
        raise failure.reason() from WorkerTraceback(failure.traceback)


def TPool(np: int | None = None) -> Pool:
    """A `Pool` whose workers are threads.

    Parameters
    ----------
    np : int, optional
        How many.

    Returns
    -------
    Pool
        With ``use_threads=True``.

    Examples
    --------
    >>> import sharedmem
    >>> squares = [0, 0, 0]
    >>> with sharedmem.TPool(2) as pool:
    ...     _ = pool.map(lambda i: squares.__setitem__(i, i * i), range(3))
    >>> squares
    [0, 1, 4]
    """
    return Pool(np, use_threads=True)
