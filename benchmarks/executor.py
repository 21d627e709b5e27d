"""Arrays to a worker and back: ours beside the standard library's, npshmex, joblib and by hand.

npshmex's own case is `submit(add_one, np.ones(int(2e7)))`. In-process is `x + 1` into
a fresh private array. All take turns in one run, and the medians are compared.
npshmex patches the whole process, so it runs in an environment of its own, with the
same NumPy, and its ratio is to the in-process figure measured there:
``--make-npshmex`` makes that environment under build/npshmex.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import environments
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
NPSHMEX = ROOT / "build" / "npshmex"


def add_one(x: np.ndarray) -> np.ndarray:
    return x + 1


_kept: dict[int, np.ndarray] = {}


def result(n: int) -> np.ndarray:
    """A result that is there already, and stays: what is measured is its way back."""
    if n not in _kept:
        _kept[n] = np.ones(n)
    return _kept[n]


def nothing(x: object) -> None:
    return None


def add_one_by_hand(name: str, result: str) -> None:
    import SharedArray

    np.add(SharedArray.attach(name), 1, out=SharedArray.attach(result))


def timed(function: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    result = function()
    took = time.perf_counter() - begin
    del result
    return took


def interleaved(cases: dict[str, Callable[[], Any]], rounds: int, warm: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(warm + rounds):
        for name, function in cases.items():
            took = timed(function)
            if turn >= warm:
                times[name].append(took)
    return {name: statistics.median(each) for name, each in times.items()}


def by_hand(pool: futures.Executor, n: int) -> Callable[[], Any]:
    import SharedArray

    x = SharedArray.create("shm://bench-x", n)
    y = SharedArray.create("shm://bench-y", n)
    x[:] = 1
    y[:] = 0

    def run() -> Any:
        pool.submit(add_one_by_hand, "shm://bench-x", "shm://bench-y").result()
        return y

    return run


def arrays(n: int, rounds: int) -> dict[str, float]:
    import sharedmem

    x, shared, target = np.ones(n), sharedmem.ones(n), np.zeros(n)
    cases: dict[str, Callable[[], Any]] = {
        "in process": lambda: x + 1,
        "memcpy": lambda: np.copyto(target, x),
    }
    ours, stdlib = sharedmem.ProcessPoolExecutor(1), futures.ProcessPoolExecutor(1)
    cases["ours, plain"] = lambda: ours.submit(add_one, x).result()
    cases["ours, shared"] = lambda: ours.submit(add_one, shared).result()
    cases["ours, result only"] = lambda: ours.submit(result, n).result()
    cases["stdlib"] = lambda: stdlib.submit(add_one, x).result()
    closing: list[Callable[[], Any]] = [ours.shutdown, stdlib.shutdown]
    try:
        import joblib

        parallel = joblib.Parallel(n_jobs=2)
        parallel.__enter__()
        closing.append(lambda: parallel.__exit__(None, None, None))
        cases["joblib"] = lambda: parallel([joblib.delayed(add_one)(x)])
    except ImportError:
        print("joblib: not installed")
    try:
        import SharedArray

        pool = futures.ProcessPoolExecutor(1)
        cases["by hand over SharedArray"] = by_hand(pool, n)
        closing += [
            pool.shutdown,
            *(lambda name=name: SharedArray.delete(name) for name in ("bench-x", "bench-y")),
        ]
    except ImportError:
        print("SharedArray: not installed")
    try:
        return interleaved(cases, rounds, 3)
    finally:
        for close in closing:
            close()


def trivial(tasks: int, rounds: int) -> dict[str, float]:
    import sharedmem

    with sharedmem.ProcessPoolExecutor(1) as ours, futures.ProcessPoolExecutor(1) as stdlib:
        return interleaved(
            {
                "stdlib, trivial": lambda: list(stdlib.map(nothing, range(tasks))),
                "ours, trivial": lambda: list(ours.map(nothing, range(tasks))),
            },
            rounds,
            2,
        )


def npshmex_here(n: int, rounds: int) -> dict[str, float]:
    """Runs in its own environment."""
    from npshmex import ProcessPoolExecutor

    x = np.ones(n)
    with ProcessPoolExecutor(1) as pool:
        return interleaved(
            {
                "in process": lambda: x + 1,
                "npshmex": lambda: pool.submit(add_one, x).result(),
            },
            rounds,
            2,
        )


def npshmex(n: int, rounds: int) -> dict[str, float]:
    arguments = ("--npshmex-here", "--elements", str(n), "--rounds", str(rounds))
    return environments.ask("npshmex", NPSHMEX, __file__, *arguments)


def make_npshmex() -> None:
    environments.make(NPSHMEX, "SharedArray", "npshmex", old=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--elements", type=int, default=int(2e7))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--make-npshmex", action="store_true")
    parser.add_argument("--npshmex-here", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.npshmex_here:
        print(json.dumps(npshmex_here(chosen.elements, chosen.rounds)))
        return
    if chosen.make_npshmex:
        make_npshmex()
    os.environ.setdefault("SHAREDMEM_CACHE", str(1 << 30))
    found = arrays(chosen.elements, chosen.rounds)
    base = found["in process"]
    for name, took in found.items():
        print(f"{name:28} {took * 1e3:9.1f} ms {took / base:8.2f} x in process")
    print(f"{'result only':28} {found['ours, result only'] / found['memcpy']:9.2f} x one memcpy")
    print(f"{'ours beside stdlib':28} {found['stdlib'] / found['ours, plain']:9.1f} times as fast")
    old = npshmex(chosen.elements, chosen.rounds)
    if old:
        print(
            f"{'npshmex':28} {old['npshmex'] * 1e3:9.1f} ms {old['npshmex'] / old['in process']:8.2f} x in process"
        )
    tasks = 2000
    rate = trivial(tasks, chosen.rounds)
    for name, took in rate.items():
        print(f"{name:28} {tasks / took:9.0f} tasks/s")


if __name__ == "__main__":
    main()
