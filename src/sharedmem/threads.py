"""How many threads the libraries of a worker use: BLAS, OpenMP."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["environment", "limit", "per_worker", "prepare"]

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


def prepare() -> None:
    """Import here, once, what each forked worker would have to."""
    try:
        import threadpoolctl  # noqa: F401
    except ImportError:
        pass


def limit(threads: int | None) -> Any:
    """In a worker: limit the libraries that are loaded; others read the environment.

    Returns what has to be kept for as long as the limit is to hold.
    """
    if threads is None:
        return None
    os.environ.update(dict.fromkeys(_VARIABLES, str(threads)))
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return None
    return threadpool_limits(threads)
