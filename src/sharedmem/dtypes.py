"""dtypes as text in a segment's header: NumPy's ``descr``, as in ``.npy`` files.

Nothing in a header is evaluated: the text is parsed by `ast.literal_eval`,
with bounded length and depth, and rebuilt from literals only. Types that are
not NumPy's own stand there by name, and are looked for among what the process
has loaded or registered: a header never makes it import, or run, anything.

References
----------
.. [1] NEP 1, "A Simple File Format for NumPy Arrays".
"""

from __future__ import annotations

import ast
import cmath
import re
import sys
from functools import lru_cache
from types import EllipsisType, ModuleType, NoneType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

__all__ = ["brief", "check", "from_text", "register_dtype", "to_text"]

_LENGTH_MAX = 262144  # SMEM_DTYPE_MAX
_DEPTH_MAX = 64
_BRACKETS = re.compile(r"[][(){}]")  # those in names, too
_PLAIN_MAX = 20  # the shortest description of a field is longer
_NUMPYS_OWN = range(24)  # numbers of types
_USERS = range(256, 2048)  # of those that others add by PyArray_RegisterDataType


class _UnknownTypeError(TypeError):
    """A header has a type that cannot be found in this process."""


def check(dtype: DTypeLike) -> np.dtype[Any]:
    """The dtype, if its elements are bytes that mean the same in any process.

    Raises
    ------
    TypeError
        For dtypes with pointers in them (object, StringDType).
    """
    made = np.dtype(dtype)
    if made.hasobject or (made.num in _NUMPYS_OWN and made.kind not in "biufcmMSUV"):
        raise TypeError(
            f"dtype {made!r} cannot be shared: its elements are pointers, which mean nothing in "
            "another process (use a fixed-width dtype such as 'U20' or 'S20', or pickle the array)"
        )
    if made.num not in _NUMPYS_OWN and made.num not in _USERS:
        raise TypeError(
            f"dtype {made!r} of {type(made).__module__} cannot be shared: it is of a kind whose elements "
            "may be pointers (share the array's bytes, as a view of a dtype of NumPy's own)"
        )
    return made


# ---- types that are not NumPy's own -----------------------------------------

_registered: dict[str, type[np.generic]] = {}


def register_dtype(dtype: DTypeLike) -> None:
    """Let arrays of a dtype that is not NumPy's own be made and attached in this process.

    Parameters
    ----------
    dtype : data-type
        As ``ml_dtypes.bfloat16``, or one whose elements are of a subclass of
        `numpy.void`.

    Raises
    ------
    TypeError
        If its elements are pointers.

    See Also
    --------
    attach : Refuses what is not known here.

    Notes
    -----
    Only needed where the type is not a global name of its module, as one that was
    defined in a function. Any other is found once its module was imported. The
    segment's header has the name of the type alone, and attaching an array imports
    nothing: whoever attaches it imports, or registers, the type before.

    References
    ----------
    "User-defined data types" in NumPy's documentation.

    Examples
    --------
    >>> import numpy as np, sharedmem
    >>> def make():
    ...     class Pair(np.void):
    ...         pass
    ...     return Pair
    >>> pair = np.dtype((make(), [('x', 'f4'), ('y', 'f4')]))
    >>> sharedmem.register_dtype(pair)
    >>> sharedmem.zeros(3, pair).dtype == pair
    True
    """
    made = check(dtype)
    if made.num in _USERS or issubclass(made.type, np.void):
        _registered[_name_of(made.type)] = made.type


def _name_of(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _find(name: str) -> type[np.generic] | None:
    """The type of this name, if the process has it. Nothing that a module defines is run."""
    if name in _registered:
        return _registered[name]
    module, _, attribute = name.rpartition(".")
    loaded = sys.modules.get(module)
    if not issubclass(type(loaded), ModuleType):
        return None
    found = object.__getattribute__(loaded, "__dict__").get(attribute)
    if issubclass(type(found), type) and issubclass(found, np.generic):
        return found  # type: ignore[no-any-return]
    return None


def _known_name(dtype: np.dtype[Any]) -> str:
    """The name that a process finds the dtype's type by."""
    name = _name_of(dtype.type)
    if _find(name) is not dtype.type:
        raise TypeError(
            f"dtype {dtype} cannot be shared: its type is not to be found as {name!r} "
            f"(make it a global name of the module {dtype.type.__module__!r}, or register it in each "
            "process by sharedmem.register_dtype())"
        )
    return name


def _known_type(name: str) -> type[np.generic]:
    found = _find(name)
    if found is None:
        raise _UnknownTypeError(
            f"the dtype's type {name!r} is not known in this process: import the module "
            f"{name.rpartition('.')[0]!r} before, or register it by sharedmem.register_dtype()"
        )
    return found


# ---- from dtypes to text -----------------------------------------------------


def brief(dtype: np.dtype[Any]) -> str | None:
    """A text of which `numpy.dtype` makes the same; None where it takes more than that."""
    if dtype.num not in _NUMPYS_OWN or dtype.metadata:
        return None
    if dtype.names is not None or dtype.subdtype is not None:
        return None
    text = _text_of_size(dtype)
    return text if np.dtype(text).type is dtype.type else None


def _text_of_size(dtype: np.dtype[Any]) -> str:
    """As ``dtype.str``, but different for types of one size, such as long and long long."""
    text = dtype.str
    return text if np.dtype(text).char == dtype.char else text[0] + dtype.char


def _describe_scalar(dtype: np.dtype[Any]) -> Any:
    """What it is without its fields and metadata."""
    if dtype.num in _USERS:
        return {"format": dtype.str, "type": _known_name(dtype)}
    text = _text_of_size(dtype)
    if np.dtype(text).type is not dtype.type:
        return {"format": text, "type": _known_name(dtype)}
    return text


def _describe_fields(dtype: np.dtype[Any]) -> dict[str, Any]:
    fields = [dtype.fields[name] for name in dtype.names]  # type: ignore[index, union-attr]
    described = {
        "names": list(dtype.names),  # type: ignore[arg-type]
        "formats": [_describe(field[0]) for field in fields],
        "offsets": [field[1] for field in fields],
        "itemsize": dtype.itemsize,
    }
    titles = [(*field, None)[2] for field in fields]
    if any(title is not None for title in titles):
        described["titles"] = titles
    if dtype.isalignedstruct:
        described["aligned"] = True
    if dtype.type is np.record:
        described["record"] = True
    elif issubclass(dtype.type, np.void):
        if dtype.type is not np.void:
            described["type"] = _known_name(dtype)
    else:
        described["base"] = _describe_scalar(dtype)  # the fields are names for parts of numbers
    return described


def _describe(dtype: np.dtype[Any]) -> Any:
    described: Any
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        described = (_describe(base), shape)
    elif dtype.names is not None:
        described = _describe_fields(dtype)
    else:
        described = _describe_scalar(dtype)
    if dtype.metadata:
        if not isinstance(described, dict):
            described = {"format": described}
        described["metadata"] = _literal(dict(dtype.metadata), 0)
    return described


def _literal(value: Any, depth: int) -> Any:
    """The value, if it can stand in a header."""
    kind = type(value)
    if depth < _DEPTH_MAX:
        if kind in (str, bytes, int, bool, NoneType, EllipsisType):
            return value
        if kind in (float, complex) and cmath.isfinite(value):
            return value
        if kind in (tuple, list, set):
            return kind(_literal(item, depth + 1) for item in value)
        if kind is dict:
            pairs = value.items()
            return {_literal(key, depth + 1): _literal(item, depth + 1) for key, item in pairs}
    raise TypeError(
        f"dtype metadata {str(value)[:80]} of type {_name_of(kind)!r} cannot be shared: what stands in a "
        "header are strings, bytes, numbers, None, and tuples, lists, sets and dicts of them "
        "(numpy.lib.format.drop_metadata() makes the dtype without)"
    )


def to_text(dtype: np.dtype[Any]) -> bytes:
    """The dtype as text, from which `from_text` makes an equal one.

    Structured dtypes are written as NumPy's dictionaries, since lists lose
    overlapping fields and alignment.

    Raises
    ------
    TypeError
        If it has a type that processes would not find, or metadata that are no
        literals.
    ValueError
        If the text would be too long, or too deep, to be read again.
    """
    text = repr(_describe(dtype)).encode("ascii", "backslashreplace")
    if len(text) > _LENGTH_MAX:
        raise ValueError(f"dtype text of {len(text)} bytes is longer than {_LENGTH_MAX}")
    if len(text) > _PLAIN_MAX and _depth(text.decode()) > _DEPTH_MAX:
        raise ValueError(f"dtype text with more than {_DEPTH_MAX} brackets within each other")
    return text


Pickled = np.dtype[Any] | str | tuple[str, list[type]]


def pickled(dtype: np.dtype[Any]) -> Pickled:
    """What a pickle has of a dtype: the dtype, or the text where NumPy does not pickle it exactly.

    Beside a text are the types of others, for pickle to import their modules. Of such a dtype
    NumPy changes the only one that there is when it loads metadata or another byte order.
    """
    types = _users_types(dtype)
    if not types and not _has_twin(dtype):
        return dtype
    try:
        text = to_text(dtype).decode()
    except (TypeError, ValueError):  # a view with what no header can have
        return dtype
    return (text, [cls for cls in types if _name_of(cls) not in _registered]) if types else text


def unpickled(found: Pickled) -> np.dtype[Any]:
    """The dtype of what `pickled` has made."""
    if isinstance(found, np.dtype):
        return found
    return from_text(found if isinstance(found, str) else found[0])


def _parts(dtype: np.dtype[Any]) -> list[np.dtype[Any]]:
    if dtype.subdtype is not None:
        return [dtype.subdtype[0]]
    return [] if dtype.names is None else [field[0] for field in dtype.fields.values()]  # type: ignore[union-attr]


def _has_twin(dtype: np.dtype[Any]) -> bool:
    """Whether it has a type in it that NumPy pickles as another of the same size."""
    if dtype.num in _NUMPYS_OWN and np.dtype(dtype.str).char != dtype.char:
        return True
    return any(map(_has_twin, _parts(dtype)))


def _users_types(dtype: np.dtype[Any]) -> list[type]:
    own = [dtype.type] if dtype.num in _USERS else []
    return own + [cls for part in _parts(dtype) for cls in _users_types(part)]


# ---- from text to dtypes -----------------------------------------------------


def _rebuild(described: Any) -> np.dtype[Any]:
    if isinstance(described, str):
        return np.dtype(described)
    if isinstance(described, tuple):
        base, shape = described
        return np.dtype((_rebuild(base), shape))
    if isinstance(described, list):  # the lists of .npy files, for C programs
        return np.lib.format.descr_to_dtype(described)
    facts: Any = dict(described)
    metadata = facts.pop("metadata", None)
    dtype = _rebuild_fields(facts) if "names" in facts else _rebuild_scalar(**facts)
    return np.dtype(dtype, metadata=metadata) if metadata else dtype


def _rebuild_scalar(format: Any, type: str | None = None) -> np.dtype[Any]:
    if type is None:
        return _rebuild(format)
    found = _known_type(type)
    dtype = np.dtype(found)
    if dtype.num not in _USERS:
        return _with_type(found, np.dtype(format))
    if dtype.str != format:
        dtype = dtype.newbyteorder("S")
    if dtype.str != format:
        raise ValueError(f"{type!r} is a type of {dtype.str!r} here, not of {format!r}")
    return dtype


def _rebuild_fields(facts: dict[str, Any]) -> np.dtype[Any]:
    aligned, record = (bool(facts.pop(key, False)) for key in ("aligned", "record"))
    name, base = (facts.pop(key, None) for key in ("type", "base"))
    facts["formats"] = [_rebuild(item) for item in facts["formats"]]
    dtype = np.dtype(facts, align=aligned)  # type: ignore[call-overload]
    if base is not None:
        return np.dtype((_rebuild(base), dtype))
    if name is not None:
        return _with_type(_known_type(name), dtype)
    return np.dtype((np.record, dtype)) if record else dtype


def _with_type(cls: type[np.generic], dtype: np.dtype[Any]) -> np.dtype[Any]:
    if not issubclass(cls, np.void):
        raise ValueError(f"{_name_of(cls)!r} is not a type of structures here")
    return np.dtype((cls, dtype))


def _depth(text: str) -> int:
    depth = deepest = 0
    for bracket in _BRACKETS.findall(text):
        depth += 1 if bracket in "([{" else -1
        deepest = max(deepest, depth)
    return deepest


def from_text(text: str) -> np.dtype[Any]:
    """The dtype that `text` describes.

    Raises
    ------
    ValueError
        If it describes none that can be shared.
    TypeError
        If it has a type in it that is not known in this process.
    """
    if len(text) < _PLAIN_MAX:
        return _from_plain_text(text)
    return _parse(text)


@lru_cache(256)
def _from_plain_text(text: str) -> np.dtype[Any]:
    """Texts too short to describe fields: dtypes that nobody can change, kept."""
    return _parse(text)


def _parse(text: str) -> np.dtype[Any]:
    if len(text) > _LENGTH_MAX or _depth(text) > _DEPTH_MAX:
        raise ValueError("dtype text is too long or too deep")
    try:
        return check(_rebuild(ast.literal_eval(text)))
    except _UnknownTypeError as error:
        raise TypeError(str(error)) from None
    except (
        SyntaxError, TypeError, KeyError, AttributeError, OverflowError, MemoryError, RecursionError
    ) as error:  # fmt: skip
        raise ValueError(f"not a dtype: {text[:80]!r}") from error
