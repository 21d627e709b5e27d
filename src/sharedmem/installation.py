"""`install`: what existing code gains by one line, through multiprocessing's own pickler."""

from __future__ import annotations

import pickle
from multiprocessing.reduction import ForkingPickler
from typing import Any

from sharedmem import pickling, transport

__all__ = ["install", "uninstall"]

_pickler: Any = ForkingPickler
_replaced: list[Any] = []  # ForkingPickler's dumps and loads, while ours are in their place


def _dumps(cls: Any, obj: Any, protocol: int | None = None) -> Any:
    """Stands in for ForkingPickler.dumps, which queues, pipes and pools call."""
    with pickling.all_or_none():
        return _replaced[0].__func__(cls, obj, protocol)


def _dumps_large(cls: Any, obj: Any, protocol: int | None = None) -> Any:
    """The same, for what has large buffers."""
    if cls is not ForkingPickler or (protocol is not None and protocol < 5):
        return _dumps(cls, obj, protocol)
    return transport.dumps_as_stdlib(obj)


def _loads(data: Any, /, **how: Any) -> Any:
    """Stands in for ForkingPickler.loads: nobody else has what was received and cannot be loaded."""
    try:
        return pickle.loads(data, **how)
    except BaseException:
        pickling.take_back(data)
        raise


def install(*, transport: bool = False) -> None:
    """Let plain arrays over shared memory, too, go by name through `multiprocessing`.

    Parameters
    ----------
    transport : bool, default False
        And let every large buffer go as `dumps` sends it, by all that uses
        multiprocessing's pickler: ``Pool``, ``Queue``, ``Pipe``, ``Manager`` and the
        standard library's ``ProcessPoolExecutor``.

    See Also
    --------
    uninstall : Undo it.
    ProcessPoolExecutor : Leaves nothing behind when a pool breaks, too.

    Notes
    -----
    Without it ``np.asarray(a)``, and what other libraries make of a shared array, is
    sent by content, as any `numpy.ndarray`. It registers a reducer for
    `numpy.ndarray` with multiprocessing's pickler, in this process; a forked child
    has it too, one that is spawned calls it itself. Arrays in private memory are
    pickled as ever.

    It replaces ``ForkingPickler.dumps`` and ``loads``, so that a message that fails
    half-way, on either side, leaves nothing in flight: without, arrays that stand in it
    stay so until their family ends. With ``transport`` large buffers go as `dumps` sends
    them. Who receives need not have called it. The semantics stay: what arrives is a
    copy, and its receiver's alone. A message that nobody receives, as when a pool is
    terminated with work undone, keeps its memory until the family of processes has
    ended.

    Examples
    --------
    >>> from multiprocessing.reduction import ForkingPickler
    >>> import numpy as np, sharedmem
    >>> plain = np.asarray(sharedmem.zeros(10_000))
    >>> len(ForkingPickler.dumps(plain)) > 80_000
    True
    >>> sharedmem.install()
    >>> message = ForkingPickler.dumps(plain)
    >>> len(message) < 300
    True
    >>> sharedmem.forget(message)
    1
    >>> sharedmem.install(transport=True)
    >>> message = ForkingPickler.dumps(np.zeros(100_000))
    >>> len(message) < 300
    True
    >>> sharedmem.forget(message)
    1
    >>> sharedmem.uninstall()
    """
    pickling.install_reducer()
    if not _replaced:
        _replaced.extend((vars(_pickler)["dumps"], vars(_pickler)["loads"]))
        _pickler.dumps, _pickler.loads = classmethod(_dumps), staticmethod(_loads)
    if transport:
        _pickler.dumps = classmethod(_dumps_large)


def uninstall() -> None:
    """Undo `install`; what was there before is there again.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.install(transport=True)
    >>> sharedmem.uninstall()
    """
    pickling.uninstall_reducer()
    if _replaced:
        _pickler.dumps, _pickler.loads = _replaced
        _replaced.clear()
