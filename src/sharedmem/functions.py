"""Which functions and classes another process can import, and sending the others by value."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import numpy as np

from sharedmem import pickling
from sharedmem._core.segment import Segment, segment_of
from sharedmem.sharedarray import SharedArray

__all__ = ["check", "dump", "is_importable", "reduce_by_value"]

ByName = Callable[[np.ndarray, Segment], Any]


def _is_interactive() -> bool:
    """Whether ``__main__`` is nothing that another process could run again."""
    return not hasattr(sys.modules.get("__main__"), "__file__")


def is_importable(thing: Any) -> bool:
    """Whether a function or class is found under its name where it says that it lives.

    Parameters
    ----------
    thing : function or type

    Returns
    -------
    bool
        False for a lambda, for what was defined in a function, and for anything in
        an interactive ``__main__``.
    """
    module = getattr(thing, "__module__", None)
    if module is None:
        return True  # pickle knows where to look, or says so
    if module == "__main__" and _is_interactive():
        return False
    found: Any = sys.modules.get(module)
    for name in thing.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is thing


def _cloudpickle() -> Any:
    try:
        import cloudpickle
    except ImportError:
        return None
    return cloudpickle


def _new_pickler(cloudpickle: Any) -> Any:
    """cloudpickle's pickler, by which views of shared memory go by name as well."""
    base = cloudpickle.Pickler

    def reducer_override(self: Any, obj: Any) -> Any:
        if type(obj) is np.ndarray or isinstance(obj, SharedArray):
            segment = segment_of(obj)
            if segment is not None and pickling.goes_by_name(segment):
                return self.by_name(obj, segment)
        return base.reducer_override(self, obj)

    return type("Pickler", (base,), {"reducer_override": reducer_override})


_picklers: list[Any] = []  # the one, once it was asked for


def _without_ticket(array: np.ndarray, segment: Segment) -> Any:
    return pickling.reduce_by_name(array, 5)


def _by_value(cloudpickle: Any, thing: Any, by_name: ByName = _without_ticket) -> bytes:
    if not _picklers:
        _picklers.append(_new_pickler(cloudpickle))
    file = io.BytesIO()
    pickler = _picklers[0](file)
    pickler.by_name = by_name
    pickler.dump(thing)
    return file.getvalue()


def reduce_by_value(thing: Any, by_name: ByName) -> Any:
    """What to pickle for a function or class; NotImplemented if its name will do.

    `by_name` says what to pickle for a shared array that a function has closed over.
    """
    if is_importable(thing):
        return NotImplemented
    cloudpickle = _cloudpickle()
    if cloudpickle is None:
        return NotImplemented
    return pickle.loads, (_by_value(cloudpickle, thing, by_name),)


def dump(function: Any, forked: bool) -> bytes:
    """Pickle a callable for a worker that was started before, or is started anew.

    What is of ``__main__`` goes by value, too: the worker may have an older one.

    Raises
    ------
    pickle.PicklingError
        If it would have to go by value, and there is no cloudpickle.
    """
    cloudpickle = _cloudpickle()
    if cloudpickle is not None:
        return _by_value(cloudpickle, function)
    check(function, forked)
    return pickle.dumps(function)


def _within(function: Any) -> Iterator[Any]:
    """The functions that a callable consists of."""
    if isinstance(function, partial):
        for part in (function.func, *function.args, *function.keywords.values()):
            yield from _within(part)
    elif isinstance(function, MethodType):
        yield from _within(type(function.__self__))
    elif isinstance(function, (FunctionType, type)):
        yield function


def check(function: Any, forks: bool) -> bool:
    """Whether a callable goes by name.

    Parameters
    ----------
    function : callable
    forks : bool
        The receiver is a fork of this process, which has its ``__main__``.

    Returns
    -------
    bool
        False if it has to go by value, which cloudpickle can do.

    Raises
    ------
    pickle.PicklingError
        If it would have to, and there is no cloudpickle.
    """
    strange = [each for each in _within(function) if not is_importable(each)]
    if not strange:
        return True
    if _cloudpickle() is not None:
        return False
    for each in strange:
        named = getattr(sys.modules["__main__"], each.__qualname__, None) is each
        if not (forks and each.__module__ == "__main__" and named):
            raise pickle.PicklingError(
                f"{each.__module__}.{each.__qualname__} cannot be imported by a worker: install "
                "cloudpickle, or define it in a module, outside of functions"
            )
    return True
