"""Maps: ours beside `multiprocessing.Pool`, rainwoodman's sharedmem 0.3.8 and joblib.

Each contestant is a process of its own; they take turns, and the medians are compared.
rainwoodman's package has our name, so that it lives in an environment of its own:
``--make-rainwoodman`` makes that under build/rainwoodman.

``trivial, with start``: 10,000 calls of a function that does nothing, from before the workers
are there until they are gone. ``trivial, running``: the same with workers that are there,
first after a rest and then ten times in a row. ``integration``: the program of rainwoodman's
README over 1 GB, with the making and the freeing of the array; ``threads`` are two of them on
private huge pages. ``start``: a map of two calls in a parent that holds so much touched
memory, by kind; less the same map without.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import environments
import numpy as np

IN_A_ROW = "trivial, running, ten in a row"
ROOT = Path(__file__).resolve().parent.parent
RAINWOODMAN = ROOT / "build" / "rainwoodman"
WORKERS = 2
CHUNK = 1024 * 1024
Case = Callable[[], Any]


def nothing(i: int) -> None:
    return None


def in_a_row(case: Case) -> Case:
    return lambda: [case() for _ in range(10)]


def terms_of(first: int, last: int, terms: int) -> Any:
    return np.arange(first, last) * 1.0 / terms * (1.0 / terms)


# ---- integration ---------------------------------------------------------------


def by_mapreduce(module: Any, pool: Any, terms: int) -> float:
    """What the README does, with any module that has its interface."""
    xdx = module.empty(terms, dtype="f8")
    shmsum = module.empty((), dtype="f8")
    shmsum[...] = 0.0

    with pool(np=WORKERS) as entered:

        def work(i: int) -> tuple[int, float]:
            s = slice(i, i + CHUNK)
            xdx[s] = terms_of(*s.indices(len(xdx))[:2], len(xdx))
            a = xdx[s].sum(dtype="f8")
            with entered.critical:
                shmsum[...] += a
            return i, a

        r = entered.map(work, range(0, len(xdx), CHUNK), reduce=lambda i, a: a)
    return float(np.sum(r)) - float(np.sum(xdx, dtype="f8"))


def fill_file(path: str, i: int, terms: int) -> float:
    """The same where workers have the array by the name of a file."""
    if path not in mapped:
        mapped.clear()
        mapped[path] = np.memmap(path, "f8", "r+")
    xdx = mapped[path]
    s = slice(i, min(i + CHUNK, terms))
    xdx[s] = terms_of(s.start, s.stop, terms)
    return float(xdx[s].sum())


mapped: dict[str, np.ndarray] = {}


def by_file(starmap: Callable[[Any, list[Any]], Any], terms: int) -> None:
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        file.truncate(8 * terms)
        r = starmap(fill_file, [(file.name, i, terms) for i in range(0, terms, CHUNK)])
        xdx = np.memmap(file.name, "f8", "r+")
        assert abs(np.sum(r) - xdx.sum()) < 1e-6


def by_threads(terms: int) -> None:
    from multiprocessing.pool import ThreadPool

    xdx = np.empty(terms)

    def work(i: int) -> float:
        s = slice(i, min(i + CHUNK, terms))
        xdx[s] = terms_of(s.start, s.stop, terms)
        return float(xdx[s].sum())

    with ThreadPool(WORKERS) as pool:
        r = pool.map(work, range(0, terms, CHUNK), 1)
    assert abs(np.sum(r) - xdx.sum()) < 1e-6


# ---- contestants -----------------------------------------------------------------


def ours(chosen: argparse.Namespace, keep: ExitStack) -> dict[str, Case]:
    import sharedmem

    def started() -> None:
        with sharedmem.MapReduce(np=WORKERS) as pool:
            pool.map(nothing, range(chosen.tasks))

    def start() -> None:
        with sharedmem.MapReduce(np=WORKERS) as pool:
            pool.map(nothing, range(WORKERS))

    def run() -> None:
        running.map(nothing, range(chosen.tasks))

    running = keep.enter_context(sharedmem.MapReduce(np=WORKERS, reuse=True))
    return {
        "trivial, with start": started,
        "trivial, running": run,
        IN_A_ROW: in_a_row(run),
        "integration": lambda: by_mapreduce(sharedmem, sharedmem.MapReduce, chosen.terms),
        "start": start,
    }


def rainwoodman(chosen: argparse.Namespace, keep: ExitStack) -> dict[str, Case]:
    import sharedmem

    def started(tasks: int) -> None:
        with sharedmem.MapReduce(np=WORKERS) as pool:
            pool.map(nothing, range(tasks))

    return {
        "trivial, with start": lambda: started(chosen.tasks),
        "integration": lambda: by_mapreduce(sharedmem, sharedmem.MapReduce, chosen.terms),
        "start": lambda: started(WORKERS),
    }


def stdlib(chosen: argparse.Namespace, keep: ExitStack) -> dict[str, Case]:
    import multiprocessing

    fork = multiprocessing.get_context("fork")

    def started(tasks: int) -> None:
        with fork.Pool(WORKERS) as pool:
            pool.map(nothing, range(tasks))
            pool.close()
            pool.join()

    def integration() -> None:
        with fork.Pool(WORKERS) as pool:
            by_file(lambda *work: pool.starmap(*work, 1), chosen.terms)
            pool.close()
            pool.join()

    def run() -> None:
        running.map(nothing, range(chosen.tasks))

    running = keep.enter_context(fork.Pool(WORKERS))
    return {
        "trivial, with start": lambda: started(chosen.tasks),
        "trivial, running": run,
        IN_A_ROW: in_a_row(run),
        "trivial, running, one by one": lambda: running.map(nothing, range(chosen.tasks), 1),
        "integration": integration,
        "start": lambda: started(WORKERS),
    }


def joblib(chosen: argparse.Namespace, keep: ExitStack) -> dict[str, Case]:
    joblib = importlib.import_module("joblib")
    executor = importlib.import_module("joblib.externals.loky").get_reusable_executor
    delayed = joblib.delayed

    def run(work: Callable[..., Any], calls: Any) -> Any:
        return joblib.Parallel(n_jobs=WORKERS)(delayed(work)(*each) for each in calls)

    def stop() -> None:
        executor().shutdown(wait=True)

    def started(tasks: int) -> None:
        stop()
        run(nothing, ((i,) for i in range(tasks)))
        stop()

    def integration() -> None:
        by_file(run, chosen.terms)
        stop()

    keep.callback(stop)
    return {
        "trivial, with start": lambda: started(chosen.tasks),
        "trivial, running": lambda: run(nothing, ((i,) for i in range(chosen.tasks))),
        "integration": integration,
        "start": lambda: started(WORKERS),
    }


def threads(chosen: argparse.Namespace, keep: ExitStack) -> dict[str, Case]:
    return {"integration": lambda: by_threads(chosen.terms)}


CONTESTANTS = {each.__name__: each for each in (ours, rainwoodman, stdlib, joblib, threads)}


# ---- memory of the parent ----------------------------------------------------------


def small_pages(size: int) -> Any:
    import mmap

    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    np.frombuffer(memory, "u1")[::4096] = 1
    return memory


def shared_pages(size: int) -> Any:
    """As the contestant's users have it."""
    try:
        memory = importlib.import_module("sharedmem").empty(size, dtype="u1")
    except ImportError:
        from multiprocessing.shared_memory import SharedMemory

        shared = SharedMemory(create=True, size=size)
        shared.unlink()
        np.frombuffer(shared.buf, "u1")[::4096] = 1
        return shared
    memory[::4096] = 1
    return memory


MEMORY: dict[str, Callable[[int], Any]] = {
    "none": lambda size: None,
    "private, small pages": small_pages,
    "private, of NumPy": lambda size: np.ones(size, "u1"),
    "shared": shared_pages,
}


# ---- one contestant, asked for one case at a time ----------------------------------


def contest(name: str, chosen: argparse.Namespace) -> None:
    """Answer each line of the standard input, a case, by its seconds or the reason for none."""
    talk = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with ExitStack() as keep:
        try:
            cases = CONTESTANTS[name](chosen, keep)
        except Exception as error:
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=talk, flush=True)
            return
        print(json.dumps({"cases": list(cases)}), file=talk, flush=True)
        for line in sys.stdin:
            case, memory = json.loads(line)
            held = MEMORY[memory](chosen.memory)
            try:
                took = timed(cases[case])
            except Exception as error:
                print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=talk, flush=True)
            else:
                print(json.dumps({"seconds": took}), file=talk, flush=True)
            del held


def timed(case: Case) -> tuple[float, float]:
    """Seconds that have passed, and those of processors, of children that have ended as well."""
    begin, before = time.perf_counter(), os.times()
    case()
    took, after = time.perf_counter() - begin, os.times()
    return took, sum(after[:4]) - sum(before[:4])


# ---- all of them ---------------------------------------------------------------------


class Contestant:
    """A process that answers, and what it has answered."""

    def __init__(self, name: str, label: str, arguments: list[str], **environment: str) -> None:
        python = environments.python_of(RAINWOODMAN) if name == "rainwoodman" else Path(sys.executable)
        self.label = label
        self.times: dict[tuple[str, str], list[tuple[float, float]]] = {}
        self.failed: dict[tuple[str, str], str] = {}
        self.cases: list[str] = []
        if not python.exists():
            print(f"{label}: no environment (--make-rainwoodman makes it)")
            return
        self._process = subprocess.Popen(
            [python, __file__, "--contest", name, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | environment,
        )  # fmt: skip
        said = self._hear()
        self.cases = said.get("cases", [])
        if not self.cases:
            print(f"{label}: {said['error']}")

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        said: dict[str, Any] = json.loads(self._process.stdout.readline() or '{"error": "it died"}')
        return said

    def run(self, case: str, memory: str, count: bool) -> None:
        if case not in self.cases or (case, memory) in self.failed:
            return
        assert self._process.stdin is not None
        print(json.dumps([case, memory]), file=self._process.stdin, flush=True)
        said = self._hear()
        if "error" in said:
            self.failed[case, memory] = said["error"]
            print(f"{self.label}: {case}: {said['error']}")
        elif count:
            self.times.setdefault((case, memory), []).append(said["seconds"])

    def median(self, case: str, memory: str = "none") -> tuple[float, float]:
        """Of what `timed` says; not a number where nothing was measured."""
        took, used = zip(*self.times.get((case, memory), [(float("nan"),) * 2]))
        return statistics.median(took), statistics.median(used)

    def end(self) -> None:
        if self.cases:
            self._process.communicate()


def make_rainwoodman() -> None:
    environments.make(RAINWOODMAN, "sharedmem==0.3.8", old=True)


def rows(chosen: argparse.Namespace) -> list[tuple[str, str]]:
    cases = ["trivial, with start", "trivial, running", IN_A_ROW]
    cases += ["trivial, running, one by one", "integration"]
    found = [(case, "none") for case in cases] + [("start", memory) for memory in MEMORY]
    return [row for row in found if not chosen.only or chosen.only in row[0]]


def show(contestants: list[Contestant], chosen: argparse.Namespace) -> None:
    size = chosen.memory / 2**30
    for case, memory in rows(chosen):
        print(f"{case}, {size:g} GB {memory}" if memory != "none" else case, flush=True)
        first = contestants[0].median(case, memory)[0]
        for each in contestants:
            took, used = each.median(case, memory)
            if took != took:
                continue
            best = min(took for took, _ in each.times[case, memory])
            line = f"   {each.label:22} {took * 1e3:9.1f} ms (best {best * 1e3:.1f})"
            if "running" not in case:
                line += f" {used * 1e3:9.0f} ms of processors"
            if case.startswith("trivial"):
                line += f" {chosen.tasks * (10 if case == IN_A_ROW else 1) / took:12,.0f} tasks/s"
            if memory != "none":
                line += f" {(took - each.median(case)[0]) / size * 1e3:9.1f} ms per GB"
            if each is not contestants[0] and first == first:
                line += f"   ours takes {first / took:.2f} of it"
            print(line)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--terms", type=int, default=128 * 1024 * 1024)
    parser.add_argument(
        "--memory", type=int, default=2 << 30, help="bytes of each kind, one after the other"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", help="rows with this in their name")
    parser.add_argument("--make-rainwoodman", action="store_true")
    parser.add_argument("--contest", choices=CONTESTANTS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.contest:
        contest(chosen.contest, chosen)
        return
    if chosen.make_rainwoodman:
        make_rainwoodman()
    arguments = [f"--{name}={getattr(chosen, name)}" for name in ("tasks", "terms", "memory")]
    resident = str(chosen.terms * 8 + (256 << 20))
    contestants = [
        Contestant("ours", "ours", arguments, SHAREDMEM_CACHE="0"),
        Contestant("ours", "ours, memory resident", arguments, SHAREDMEM_CACHE=resident),
        *(Contestant(name, name, arguments) for name in CONTESTANTS if name != "ours"),
    ]
    try:
        for turn in range(chosen.rounds + 1):
            for case, memory in rows(chosen):
                for each in contestants:
                    each.run(case, memory, turn > 0)
    finally:
        for each in contestants:
            each.end()
    show(contestants, chosen)


if __name__ == "__main__":
    main()
