"""Integrate x over [0, 1) by the rectangle rule, in chunks, in processes.

Three sums of the same 128 M terms are compared: of the array that the workers have
filled, of what each worker adds to a shared number, and of what the workers return.
It is the first program of rainwoodman's README. An argument is the number of terms.
"""

from __future__ import annotations

import sys

import numpy
from numpy.testing import assert_almost_equal

import sharedmem


def integrate(terms: int, chunksize: int = 1024 * 1024) -> tuple[float, float, float]:
    xdx = sharedmem.empty(terms, dtype="f8")
    shmsum = sharedmem.empty((), dtype="f8")
    shmsum[...] = 0.0

    with sharedmem.MapReduce() as pool:

        def work(i: int) -> tuple[int, float]:
            s = slice(i, i + chunksize)
            start, end, step = s.indices(len(xdx))

            dx = 1.0 / len(xdx)
            myxdx = numpy.arange(start, end, step) * 1.0 / len(xdx) * dx

            xdx[s] = myxdx
            a = xdx[s].sum(dtype="f8")

            with pool.critical:
                shmsum[...] += a

            return i, a

        def reduce(i: int, a: float) -> float:
            return a

        r = pool.map(work, range(0, len(xdx), chunksize), reduce=reduce)

    assert_almost_equal(numpy.sum(r, dtype="f8"), shmsum)
    assert_almost_equal(numpy.sum(xdx, dtype="f8"), shmsum)
    return float(numpy.sum(xdx, dtype="f8")), float(shmsum), float(numpy.sum(r, dtype="f8"))


if __name__ == "__main__":
    terms = int(sys.argv[1]) if len(sys.argv) > 1 else 1024 * 1024 * 128
    for way, result in zip(("the array", "a shared sum", "returned sums"), integrate(terms)):
        print(f"{way:14} {result:.6f}")
