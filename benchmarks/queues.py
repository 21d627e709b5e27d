"""`Queue` beside a pipe, the standard library's queues and faster-fifo; locks beside theirs.

A round trip is a shared array to a process that answers with one byte. A burst is so many
small integers put as fast as they go while another process takes them, until it has said
that it has all. The cases take turns in one run, and the medians are compared. faster-fifo
runs in an environment of its own: ``--make-faster-fifo`` makes it under build/faster-fifo.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import tempfile
import threading
import timeit
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import environments
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
FASTER_FIFO = ROOT / "build" / "faster-fifo"
context = multiprocessing.get_context("fork")


class PipeEnds:
    """A pipe that looks like a queue."""

    def __init__(self) -> None:
        self.out, self.into = context.Pipe(duplex=False)
        self.put, self.get = self.into.send, self.out.recv


class BytesEnds(PipeEnds):
    """A pipe that is given bytes: what the kernel takes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.put, self.get = self.into.send_bytes, self.out.recv_bytes


def answer(inbox: Any, outbox: Any, item: Any) -> None:
    while len(inbox.get()):
        outbox.put(item)


def consume(inbox: Any, outbox: Any, items: int) -> None:
    while True:
        for _ in range(items):
            if inbox.get() is None:
                return
        outbox.put(1)


@contextmanager
def worker(target: Callable[..., None], inbox: Any, outbox: Any, last: Any, more: Any) -> Iterator[None]:
    process = context.Process(target=target, args=(inbox, outbox, more))
    process.start()
    try:
        yield
    finally:
        inbox.put(last)
        process.join()


def trips(inbox: Any, outbox: Any, item: Any, n: int) -> float:
    times = []
    for _ in range(n):
        begin = perf_counter()
        inbox.put(item)
        outbox.get()
        times.append(perf_counter() - begin)
    return median(times)


def burst(inbox: Any, outbox: Any, items: int) -> float:
    begin = perf_counter()
    for item in range(items):
        inbox.put(item)
    outbox.get()
    return (perf_counter() - begin) / items


Runs = dict[str, Callable[[], float]]


def interleaved(cases: Runs, rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(rounds + 1):
        for name, run in cases.items():
            took = run()
            if turn:
                times[name].append(took)
    return times


def round_trips(nbytes: int, rounds: int, n: int) -> dict[str, list[float]]:
    import sharedmem

    array = sharedmem.zeros(nbytes, np.uint8)
    ways: dict[str, tuple[Any, Any, Any]] = {
        "pipe": (PipeEnds, array, array[:0]),
        "ours": (sharedmem.Queue, array, array[:0]),
        "SimpleQueue": (context.SimpleQueue, array, array[:0]),
        "multiprocessing.Queue": (context.Queue, array, array[:0]),
        "pipe, 100 bytes": (BytesEnds, b"x" * 100, b""),
        "ours, 100 bytes": (sharedmem.Queue, b"x" * 100, b""),
    }
    with ExitStack() as stack:
        cases: Runs = {}
        for name, (make, item, last) in ways.items():
            ends = make(), make()
            stack.enter_context(worker(answer, *ends, last, b"1"))
            cases[name] = lambda ends=ends, item=item: trips(*ends, item, n)  # type: ignore[misc]
        return interleaved(cases, rounds)


def bursts(ways: dict[str, Callable[[], Any]], rounds: int, items: int) -> dict[str, list[float]]:
    with ExitStack() as stack:
        cases: Runs = {}
        for name, make in ways.items():
            ends = make(), make()
            stack.enter_context(worker(consume, *ends, None, items))
            cases[name] = lambda ends=ends: burst(*ends, items)  # type: ignore[misc]
        return interleaved(cases, rounds)


def bursts_of_all(rounds: int, items: int) -> dict[str, list[float]]:
    import sharedmem

    return bursts(
        {
            "SimpleQueue": context.SimpleQueue,
            "ours": sharedmem.Queue,
            "multiprocessing.Queue": context.Queue,
        },
        rounds,
        items,
    )


def faster_fifo_here(rounds: int, items: int) -> dict[str, list[float]]:
    """Runs in its own environment, beside SimpleQueue there."""
    from faster_fifo import Queue

    return bursts({"SimpleQueue": context.SimpleQueue, "faster-fifo": Queue}, rounds, items)


def faster_fifo(rounds: int, items: int) -> dict[str, list[float]]:
    arguments = ("--faster-fifo-here", "--rounds", str(rounds), "--items", str(items))
    return environments.ask("faster-fifo", FASTER_FIFO, __file__, *arguments)


def make_faster_fifo() -> None:
    environments.make(FASTER_FIFO, "faster-fifo", "numpy")


def locks(rounds: int) -> dict[str, list[float]]:
    """Lock and unlock when nobody else wants it, in the processor's time: nobody waits."""
    import sharedmem

    array = sharedmem.zeros(1)
    names = {
        "Lock, with": ("with lock: pass", {"lock": sharedmem.Lock()}),
        "Lock, acquire and release": ("lock.acquire(); lock.release()", {"lock": sharedmem.Lock()}),
        "RLock, with": ("with lock: pass", {"lock": sharedmem.RLock()}),
        "array.lock": ("array.lock", {"array": array}),
        "with array.lock": ("with array.lock: pass", {"array": array}),
        "threading.Lock, with": ("with lock: pass", {"lock": threading.Lock()}),
        "multiprocessing.Lock, with": ("with lock: pass", {"lock": context.Lock()}),
    }
    n = 20_000

    def case(code: str, known: dict[str, Any]) -> Callable[[], float]:
        timer = timeit.Timer(code, timer=process_time, globals=known)
        return lambda: timer.timeit(n) / n

    cases: Runs = {name: case(*each) for name, each in names.items()}
    return interleaved(cases, rounds)


def lock_in_c(rounds: int) -> list[float]:
    """The same from C: a program over the library of `make build/c/build.ninja` and Ninja."""
    library = ROOT / "build" / "c" / "src" / "c" / "libsmem_core.a"
    if not library.exists():
        print("a lock in C: no library (make test-c builds it)")
        return []
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "lock"
        source = [ROOT / "benchmarks" / "lock.c", library, "-I", ROOT / "src" / "c" / "include"]
        subprocess.run(["cc", "-O2", "-std=c11", *source, "-lpthread", "-o", program], check=True)
        said = subprocess.run([program, str(rounds)], check=True, capture_output=True, text=True).stdout
    return [float(line) * 1e-9 for line in said.split()]


def show(title: str, found: dict[str, list[float]], base: str) -> None:
    """Medians, and the medians of the rounds' ratios to `base`."""
    print(title)
    for name, times in found.items():
        ratio = median(each / other for each, other in zip(times, found[base], strict=True))
        print(f"  {name:28} {median(times) * 1e6:9.2f} us {ratio:8.2f} x {base}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--items", type=int, default=20_000, help="in a burst")
    parser.add_argument("--make-faster-fifo", action="store_true")
    parser.add_argument("--faster-fifo-here", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.faster_fifo_here:
        print(json.dumps(faster_fifo_here(chosen.rounds, chosen.items)))
        return
    if chosen.make_faster_fifo:
        make_faster_fifo()
    for nbytes, text in ((1024, "1 KB"), (1 << 20, "1 MB"), (100 << 20, "100 MB")):
        show(f"round trip of a shared array of {text}", round_trips(nbytes, chosen.rounds, 300), "pipe")
    title = f"one item of a burst of {chosen.items}"
    show(title, bursts_of_all(chosen.rounds, chosen.items), "SimpleQueue")
    old = faster_fifo(chosen.rounds, chosen.items)
    if old:
        show(f"{title}, in faster-fifo's environment", old, "SimpleQueue")
    found = locks(chosen.rounds)
    in_c = lock_in_c(chosen.rounds)
    if in_c:
        found["in C, acquire and release"] = in_c
    show("a lock that nobody else wants", found, "multiprocessing.Lock, with")


if __name__ == "__main__":
    main()
