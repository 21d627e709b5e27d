"""What is an address in this process, and means nothing, or something else, in another.

Most of what holds one cannot be pickled: pointers of ctypes and cffi, capsules, memory
views. Seen here are two kinds that pickle lets pass, and with which the receiver would
crash long afterwards, somewhere in C.
"""

from __future__ import annotations

import ctypes
import pickle
from pathlib import Path
from typing import Any

__all__ = ["refuse_addresses"]

_WORDS = frozenset("lLqQ")  # of ctypes, as large as a pointer
# What is below is a number: but for programs that are not position-independent, of which some
# pythons are, nothing is mapped there; and with those it would be a number of millions that is refused.
_LEAST = 1 << 32 if ctypes.sizeof(ctypes.c_void_p) == 8 else 1 << 16


def _is_mapped(address: int) -> bool:
    try:
        lines = Path("/proc/self/maps").read_text(errors="replace").splitlines()
    except OSError:
        return False
    spans = (line.partition(" ")[0].split("-") for line in lines)
    return any(int(begin, 16) <= address < int(end, 16) for begin, end in spans)


def _is_handle(thing: Any) -> bool:
    """Whether it is a word of ctypes with the address of something."""
    return (
        thing._type_ in _WORDS
        and ctypes.sizeof(thing) == ctypes.sizeof(ctypes.c_void_p)
        and thing.value >= _LEAST
        and _is_mapped(thing.value)
    )


def _own_attributes(thing: Any) -> Any:
    """Its ``__dict__``, without asking a ``__getattr__`` of its own."""
    if type(thing).__dictoffset__ == 0:
        return None
    try:
        return object.__getattribute__(thing, "__dict__")
    except Exception:  # a type of C may keep it to itself
        return None


def _has_address(interface: Any) -> bool:
    """Whether it is an ``__array_interface__`` with an address, not with an object that has the bytes."""
    data = interface.get("data") if isinstance(interface, dict) else None
    return isinstance(data, tuple) and bool(data) and isinstance(data[0], (int, str))


def refuse_addresses(thing: Any) -> None:
    """Raise for an object that holds an address.

    Raises
    ------
    pickle.PicklingError
        It says what to return instead.
    """
    if isinstance(thing, ctypes._SimpleCData):
        if _is_handle(thing):
            raise pickle.PicklingError(
                f"{type(thing).__name__}({thing.value:#x}) is an address in this process, and in another "
                "that of something else (send what is there: numbers, strings, arrays)"
            )
    elif type(own := _own_attributes(thing)) is dict and _has_address(own.get("__array_interface__")):
        raise pickle.PicklingError(
            f"a {type(thing).__name__} has an __array_interface__ of its own, with an address in this "
            "process, and in another that of something else (send numpy.array of it)"
        )
