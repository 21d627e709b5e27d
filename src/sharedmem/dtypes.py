"""dtypes as text in a segment's header: NumPy's ``descr``, as in ``.npy`` files.

Nothing in a header is evaluated: the text is parsed by `ast.literal_eval`,
with bounded length and depth, and rebuilt from literals only.

References
----------
.. [1] NEP 1, "A Simple File Format for NumPy Arrays".
"""

from __future__ import annotations

import ast
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

__all__ = ["check", "from_text", "to_text"]

_LENGTH_MAX = 16384
_DEPTH_MAX = 64
_PLAIN_MAX = 20  # the shortest description of a field is longer


def check(dtype: DTypeLike) -> np.dtype[Any]:
    """The dtype, if its elements are bytes that mean the same in any process.

    Raises
    ------
    TypeError
        For dtypes with pointers in them (object, StringDType).
    """
    made = np.dtype(dtype)
    if made.hasobject or made.kind not in "biufcmMSUV":
        raise TypeError(
            f"dtype {made!r} cannot be shared: its elements are pointers, which mean nothing in "
            "another process (use a fixed-width dtype such as 'U20' or 'S20', or pickle the array)"
        )
    return made


def _describe(dtype: np.dtype[Any]) -> Any:
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return (_describe(base), shape)
    if dtype.names is None:
        return dtype.str
    fields = [dtype.fields[name] for name in dtype.names]  # type: ignore[index]
    described = {
        "names": list(dtype.names),
        "formats": [_describe(field[0]) for field in fields],
        "offsets": [field[1] for field in fields],
        "itemsize": dtype.itemsize,
    }
    titles = [(*field, None)[2] for field in fields]
    if any(title is not None for title in titles):
        described["titles"] = titles
    if dtype.isalignedstruct:
        described["aligned"] = True
    if issubclass(dtype.type, np.record):
        described["record"] = True
    return described


def to_text(dtype: np.dtype[Any]) -> bytes:
    """The dtype as text, from which `from_text` makes an equal one.

    Structured dtypes are written as NumPy's dictionaries, since lists lose
    overlapping fields and alignment.
    """
    text = repr(_describe(dtype)).encode("ascii", "backslashreplace")
    if len(text) > _LENGTH_MAX:
        raise ValueError(f"dtype text of {len(text)} bytes is longer than {_LENGTH_MAX}")
    return text


def _rebuild(described: Any) -> np.dtype[Any]:
    if isinstance(described, str):
        return np.dtype(described)
    if isinstance(described, tuple):
        base, shape = described
        return np.dtype((_rebuild(base), shape))
    if isinstance(described, list):  # the lists of .npy files, for C programs
        return np.lib.format.descr_to_dtype(described)
    facts: Any = dict(described)
    aligned, record = (bool(facts.pop(key, False)) for key in ("aligned", "record"))
    facts["formats"] = [_rebuild(item) for item in facts["formats"]]
    dtype = np.dtype(facts, align=aligned)
    return np.dtype((np.record, dtype)) if record else dtype


def _depth(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest


def from_text(text: str) -> np.dtype[Any]:
    """The dtype that `text` describes.

    Raises
    ------
    ValueError
        If it describes none that can be shared.
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
    except (
        SyntaxError, TypeError, KeyError, AttributeError, OverflowError, MemoryError, RecursionError
    ) as error:  # fmt: skip
        raise ValueError(f"not a dtype: {text[:80]!r}") from error
