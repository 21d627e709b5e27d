"""``sharedmem unlink``, ``save`` and ``load``: names away, arrays to files and back."""

from __future__ import annotations

import os
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sharedmem import creation, names
from sharedmem._core.errors import SegmentNotFoundError
from sharedmem._core.segment import segment_of
from sharedmem.cli.errors import Failure
from sharedmem.cli.output import print_json, size, visible
from sharedmem.dtypes import check
from sharedmem.sharedarray import SharedArray

__all__ = ["LOAD", "SAVE", "UNLINK", "load", "save", "unlink", "written"]

UNLINK = """\
Take names away; who has an array attached keeps its memory.

Descriptors of it that are in flight cannot be received any more.
"""
SAVE = """\
Save an array as a .npy file, complete or not at all.

The array is attached read-only. What nobody can reach any more can be saved too, and
is left as it is. numpy.load() reads the file.
"""
LOAD = """\
Load a .npy file as a persistent array, which stays until it is unlinked.

The file is read straight into shared memory; what is killed meanwhile leaves nothing.
Arrays of Python objects are refused.
"""
_PIECE = 1 << 26  # bytes read at once: ^C is heard in between
_HEADER_MAX = 1 << 16


def unlink(options: Namespace) -> int:
    gone, missing = [], []
    for name in options.names:
        try:
            names.unlink(name)
            gone.append(name)
        except SegmentNotFoundError:
            missing.append(name)
    if options.json:
        print_json({"unlinked": gone, "not_found": missing})
    if missing:
        listed = ", ".join(map(repr, missing))
        raise Failure(f"no segment of this name: {listed} (sharedmem list shows all)")
    return 0


def _permit(fd: int) -> None:
    """As any new file of the user's."""
    mask = os.umask(0)
    os.umask(mask)
    os.fchmod(fd, 0o666 & ~mask)


def _name_new(temporary: str, path: Path) -> None:
    """Give the file its name unless the name is taken, in one step where links are known."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        if path.exists():
            raise FileExistsError(17, "File exists", str(path)) from None
        os.replace(temporary, path)


@contextmanager
def written(path: Path, overwrite: bool) -> Iterator[BinaryIO]:
    """A file that has its name only when it is complete. A link stays one: its target is replaced."""
    if path.exists() and not path.is_file():
        raise Failure(f"{path}: not a regular file: it would be replaced, not written to")
    path = path.resolve()
    try:
        fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        error.filename = str(path)  # what was typed, not a name that nobody chose
        raise
    try:
        with open(fd, "wb") as file:
            _permit(fd)
            yield file
            file.flush()
            os.fsync(fd)
        if overwrite:
            os.replace(temporary, path)
        else:
            _name_new(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def save(options: Namespace) -> int:
    path = Path(options.file)
    if path.is_file() and not options.force:
        raise Failure(f"{path}: the file exists (pass --force to overwrite it)")
    array = np.asarray(names.attach(options.name, "r"))
    try:
        with written(path, options.force) as file:
            np.lib.format.write_array(file, array, allow_pickle=False)
    except FileExistsError:
        raise Failure(f"{path}: the file exists (pass --force to overwrite it)") from None
    if options.json:
        print_json({"name": options.name, "file": str(path), "nbytes": array.nbytes})
    else:
        print(f"saved {visible(options.name)} as {visible(str(path))}, {size(array.nbytes)}")
    return 0


def _header(file: BinaryIO, path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran's order, dtype; the file stands at the data then."""
    try:
        version = np.lib.format.read_magic(file)
    except ValueError:
        raise ValueError("not a .npy file (numpy.save() writes them)") from None
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file, max_header_size=_HEADER_MAX)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file, max_header_size=_HEADER_MAX)
    mapped = np.lib.format.open_memmap(path, "r", max_header_size=_HEADER_MAX)
    file.seek(mapped.offset)
    return mapped.shape, not mapped.flags.c_contiguous, mapped.dtype


def _fill(array: SharedArray, file: BinaryIO) -> None:
    """Read the elements into the memory of a new array, which persists once it is whole."""
    segment = segment_of(array)
    assert segment is not None
    memory = memoryview(segment)[: array.nbytes]
    while memory:
        count = file.readinto(memory[:_PIECE])  # type: ignore[attr-defined]
        if not count:
            raise Failure(f"{file.name}: the file is {len(memory):,} bytes shorter than its header says")
        memory = memory[count:]
    segment.persist()


def load(options: Namespace) -> int:
    path = Path(options.file)
    with open(path, "rb", buffering=0) as file:
        try:
            shape, fortran, dtype = _header(file, path)
            check(dtype)
        except (ValueError, TypeError) as error:
            raise Failure(f"{path}: {error}") from None
        array = creation.empty(
            shape,
            dtype,
            "F" if fortran else "C",
            name=options.name,
            replace=options.replace,
            backend=options.backend,
        )
        try:
            _fill(array, file)
        except BaseException:
            array.unlink()
            raise
    if options.json:
        print_json({"name": array.name, "backend": array.backend, "nbytes": array.nbytes})
    else:
        print(
            f"loaded {visible(str(path))} as {visible(array.name)} ({array.backend}, persistent), {size(array.nbytes)}"
        )
    return 0
