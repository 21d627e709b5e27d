"""Making, filling and dropping an array."""

from __future__ import annotations

import numpy as np

import sharedmem


class Create:
    """A small array that no other process was told of."""

    params = ([8192], ["posix", "sysv"])
    param_names = ("nbytes", "backend")

    def setup(self, nbytes: int, backend: str) -> None:
        sharedmem.empty(nbytes // 8, backend=backend)[0] = 1

    def time_drop(self, nbytes: int, backend: str) -> None:
        sharedmem.empty(nbytes // 8, backend=backend)[0] = 1


class CreatePublished(Create):
    """The same, but others may look for its name."""

    def time_drop(self, nbytes: int, backend: str) -> None:
        array = sharedmem.empty(nbytes // 8, backend=backend)
        array[0] = 1
        _ = array.name


class Fill:
    """A large one that is filled from a private array."""

    params = ([160_000_000], ["posix", "sysv"])
    param_names = ("nbytes", "backend")

    def setup(self, nbytes: int, backend: str) -> None:
        self.source = np.ones(nbytes // 8)

    def time_copy(self, nbytes: int, backend: str) -> None:
        sharedmem.copy(self.source, backend=backend)

    def teardown(self, nbytes: int, backend: str) -> None:
        del self.source


class Many:
    """Create and drop one more while many live."""

    params = ([10_000],)
    param_names = ("live",)

    def setup(self, live: int) -> None:
        self.live = [sharedmem.empty(8) for _ in range(live)]

    def time_one_more(self, live: int) -> None:
        sharedmem.empty(8)

    def teardown(self, live: int) -> None:
        del self.live
