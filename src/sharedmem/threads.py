"""How many threads the libraries of a worker use: BLAS, OpenMP."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["environment", "limit", "limited", "per_worker", "said"]

_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_lock = threading.Lock()


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)  # a forked worker may have been made under it


def per_worker(workers: int) -> int | None:
    """How many each of `workers` gets; None where the environment says it already."""
    if any(name in os.environ for name in _VARIABLES):
        return None
    return max(1, len(os.sched_getaffinity(0)) // workers)


def said() -> int:
    """How many threads the environment allows; 0 if it does not say."""
    values = (os.environ.get(name, "").partition(",")[0].strip() for name in _VARIABLES)
    return next((int(number) for number in values if number.isdecimal()), 0)


@contextmanager
def environment(threads: int | None) -> Iterator[None]:
    """What is started meanwhile has the variables that libraries read; None: as they are."""
    with _lock:
        changes = {} if threads is None else dict.fromkeys(_VARIABLES, str(threads))
        before = {name: os.environ.get(name) for name in changes}
        os.environ.update(changes)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


@contextmanager
def limited(threads: int | None) -> Iterator[None]:
    """What is forked meanwhile has libraries that are limited; None: as they are.

    OpenBLAS, told so in the child, would first start its threads anew, which then spin
    for some 20 ms. Told here, it only notes the number, and notes the old one again.
    """
    with _lock:  # or one would put back what another has set
        limits = _limit_loaded(threads)
        try:
            yield
        finally:
            if limits is not None:
                limits.restore_original_limits()


def limit(threads: int | None, inherited: bool = False) -> Any:
    """In a worker: limit the libraries that are loaded; others read the environment.

    Returns what has to be kept for as long as the limit is to hold. With `inherited`
    the libraries are limited already.
    """
    if threads is not None:
        os.environ.update(dict.fromkeys(_VARIABLES, str(threads)))
    return None if inherited else _limit_loaded(threads)


def _limit_loaded(threads: int | None) -> Any:
    if threads is None:
        return None
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return None
    return threadpool_limits(threads)
