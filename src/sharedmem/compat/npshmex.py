"""npshmex over this library: its executor, and its store of arrays under keys.

What is different: nothing outside of this module is patched; no argument, wrapper
or result is changed; a key is an object of the class `Key`, so that no string is
taken for one; every array travels as what it is, in containers as at the top
level; ``map`` gains, too; memory that nobody receives is freed; and `shm_clear`
removes what this process has put, and nothing of anybody else's. With ``import *``
comes ``np``, as there; the module ``SharedArray``, which came as well, is another
package: import it where it is used.
"""

from __future__ import annotations

import errno
import pickle
import secrets
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np

import sharedmem
from sharedmem import dtypes
from sharedmem._core.errors import SegmentSecurityError, make
from sharedmem._core.segment import segment_of

# ``from npshmex import *`` gave NumPy, too.
__all__ = [
    "Future",
    "Key",
    "ProcessPoolExecutor",
    "dtype_to_tuple",
    "is_shmable",
    "is_shmkey",
    "np",
    "pack_dtype",
    "pickle_as_array",
    "register_array_wrapper",
    "shm_clear",
    "shm_del",
    "shm_pop",
    "shm_put",
    "shm_wrap_f",
    "unpack_dtype",
    "unpickle_from_array",
    "unshm",
]

__version__ = "0.2.1"  # of the interface

_wrappers: dict[type, str] = {}
_put: dict[str, list[sharedmem.SharedArray]] = {}  # what this process has put: kept until it is removed


class Key(str):
    """What `shm_put` returns. An ordinary string that looks alike is none."""

    __slots__ = ()

    def __reduce__(self) -> Any:
        return Key, (str(self),)


def register_array_wrapper(cls: type, attrname: str) -> None:
    """Let `shm_put` take objects of a class, whose array is in this attribute.

    The executor needs no registration.
    """
    _wrappers[cls] = attrname


def _attribute(thing: Any) -> str | None:
    return next((name for cls, name in _wrappers.items() if isinstance(thing, cls)), None)


def is_shmable(thing: Any) -> bool:
    """Whether `shm_put` takes it: an array, or an object of a registered class."""
    return isinstance(thing, np.ndarray) or _attribute(thing) is not None


def is_shmkey(key: Any) -> bool:
    """Whether it is a key."""
    return isinstance(key, Key)


# ---- the store -------------------------------------------------------------------


def _names(key: Key) -> tuple[str, str]:
    name = key.removeprefix("shm://")
    return name, f"{name}-rest"


def _private(array: sharedmem.SharedArray) -> sharedmem.SharedArray:
    """What holds a pickle, unless others can write to it."""
    segment = segment_of(array)
    if segment is not None and segment.info.permissions & 0o022:
        text = "others can write to it, so its pickle is not loaded"
        raise make(SegmentSecurityError, errno.EACCES, text, "chmod 600", segment.name)
    return array


def shm_put(arr: Any, temp: bool = False, _key: str | None = None, _is_wrapper: bool = False) -> Key:
    """Copy an array, or an object that wraps one, into shared memory.

    Returns
    -------
    Key
        For `shm_pop` here or in another process. Kept until it is popped with
        ``keep=False`` or deleted, or this process ends; with `temp`, until it is
        popped the first time.

    Raises
    ------
    ValueError
        If it is neither an array nor of a registered class.
    """
    attribute = None if isinstance(arr, np.ndarray) else _attribute(arr)
    if not is_shmable(arr):
        raise ValueError(f"{type(arr).__name__} is neither an array nor of a registered class")
    kind = "data" if attribute is None else "wrapper"
    key = Key(_key or f"shm://npshmex_{kind}_{secrets.token_hex(8).upper()}_{'TEMP' if temp else ''}")
    data, rest = _names(key)
    if attribute is not None:
        blank = object.__new__(type(arr))
        blank.__dict__.update(vars(arr))
        array = vars(blank).pop(attribute)
        content = pickle.dumps((blank, attribute))
    else:
        array, content = arr, b""
    if array.dtype.hasobject or type(array) not in (np.ndarray, sharedmem.SharedArray):
        array, content = pickle_as_array(arr), b"pickle"
    kept = [sharedmem.copy(np.asarray(array), name=data)]
    if content:
        kept.append(sharedmem.copy(np.frombuffer(content, np.uint8), name=rest))
    _put[key] = kept
    return key


def shm_pop(key: str, keep: bool | None = None) -> Any:
    """What was put under a key: the same memory for all who pop it.

    Parameters
    ----------
    key : Key
    keep : bool, optional
        Whether it stays there. By default so unless it was put with ``temp=True``.

    Raises
    ------
    FileNotFoundError
        If it is gone.
    SegmentSecurityError
        If it is kept as a pickle, and others can write to it.
    """
    data, rest = _names(Key(key))
    shared = sharedmem.attach(data)
    array = np.asarray(shared)
    content = b""
    if sharedmem.exists(rest):
        content = _private(sharedmem.attach(rest)).tobytes()
    if keep is None:
        keep = not key.endswith("_TEMP")
    if not keep:
        shm_del(key)
    if content == b"pickle":
        _private(shared)
        return unpickle_from_array(array)
    if content:
        thing, attribute = pickle.loads(content)
        vars(thing)[attribute] = array
        return thing
    return array


def shm_del(key: str) -> None:
    """Take a key away. Who has what lies there keeps it.

    Raises
    ------
    FileNotFoundError
        If it is gone.
    """
    data, rest = _names(Key(key))
    sharedmem.unlink(data)
    if sharedmem.exists(rest):
        sharedmem.unlink(rest)
    _put.pop(key, None)  # last: without it the names may be gone


def shm_clear() -> None:
    """Delete all that this process has put."""
    for key in list(_put):
        shm_del(key)


def unshm(x: Any, keep: bool | None = None) -> Any:
    """What a key stands for; for a dict a new one, its values so; else `x`."""
    if is_shmkey(x):
        return shm_pop(x, keep)
    if type(x) is dict and any(is_shmkey(each) for each in x.values()):
        return {name: unshm(each, keep) for name, each in x.items()}
    return x


# ---- the executor ------------------------------------------------------------------


def shm_wrap_f(f: Callable[..., Any], *args: Any, shm_out: bool = True, **kwargs: Any) -> Any:
    """Call a function with what the keys among its arguments stand for."""
    return f(*map(unshm, args), **{name: unshm(each) for name, each in kwargs.items()})


class _ByContent:
    """A result that is to be pickled whole."""

    def __init__(self, thing: Any) -> None:
        self._thing = thing

    def __reduce__(self) -> Any:
        return pickle.loads, (pickle.dumps(self._thing),)


def _call(f: Callable[..., Any], args: Any, kwargs: dict[str, Any], shm_out: bool) -> Any:
    if isinstance(args, bytes):
        args, kwargs = pickle.loads(args)
    result = shm_wrap_f(f, *args, **kwargs)
    return result if shm_out else _ByContent(result)


class ProcessPoolExecutor(sharedmem.ProcessPoolExecutor):
    """`sharedmem.ProcessPoolExecutor` with the two keywords of npshmex's ``submit``."""

    def submit(  # type: ignore[override]
        self,
        f: Callable[..., Any],
        /,
        *args: Any,
        shm_input: bool = True,
        shm_output: bool = True,
        **kwargs: Any,
    ) -> Future[Any]:
        """Schedule ``f(*args, **kwargs)``.

        Parameters
        ----------
        f : callable
        *args, **kwargs
            Keys stand for what was put.
        shm_input, shm_output : bool
            Whether large arrays go through shared memory, there and back. If not they
            are pickled when it is submitted, or when the function has returned.
        """
        keyed = any(map(is_shmkey, args)) or any(map(is_shmkey, kwargs.values()))
        if shm_input and shm_output and not keyed:
            return super().submit(f, *args, **kwargs)
        if not shm_input:
            return super().submit(_call, f, pickle.dumps((args, kwargs)), {}, shm_output)
        return super().submit(_call, f, args, kwargs, shm_output)


# ---- dtypes and pickles as arrays ------------------------------------------------------


def dtype_to_tuple(dtype: Any) -> tuple[Any, ...]:
    """The fields of a structured dtype, as a tuple of what `numpy.dtype` takes."""
    return tuple(np.dtype(dtype).descr)


def pack_dtype(dtype: Any) -> np.ndarray:
    """A dtype as an array of bytes, with all that there is to it."""
    return np.frombuffer(dtypes.to_text(np.dtype(dtype)), np.uint8).copy()


def unpack_dtype(x: np.ndarray) -> np.dtype[Any]:
    """The dtype of an array that `pack_dtype` has made."""
    return dtypes.from_text(x.tobytes().decode("latin-1"))


def pickle_as_array(x: Any) -> np.ndarray:
    """An object's pickle as an array of bytes."""
    return np.frombuffer(pickle.dumps(x), np.uint8).copy()


def unpickle_from_array(x: np.ndarray) -> Any:
    """The object of such an array."""
    return pickle.loads(x.tobytes())
