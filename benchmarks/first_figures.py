"""Sharing beside its rivals, all in one run: `make bench`.

Rounds of all contestants are interleaved, so that a machine whose speed drifts
is the same for all of them; the median of the rounds is printed, and its ratio
to the best rival. A rival that is not installed is named and left out.

What is asked of each: to create and drop a small array; to create and fill a
large one; to attach by name, read one element and detach; to pickle and to load
a reference; to send an array to another process and get an answer.
"""

from __future__ import annotations

import argparse
import gc
import mmap
import multiprocessing
import os
import pickle
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import shared_memory
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np

import sharedmem

try:
    import SharedArray
except ImportError:
    SharedArray = None

Action = Callable[[], Any]
MEBI = 1 << 20


def clock(action: Action, repeat: int) -> float:
    """Microseconds of one call, garbage collection off."""
    gc.disable()
    start = time.perf_counter_ns()
    for _ in range(repeat):
        action()
    elapsed = time.perf_counter_ns() - start
    gc.enable()
    return elapsed / repeat / 1000


def race(title: str, contestants: dict[str, Action], repeat: int, rounds: int) -> None:
    """Interleave the contestants; print medians and the ratio to the best rival."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds + 1):  # the first round warms up
        for name, action in contestants.items():
            times[name].append(clock(action, repeat))
    medians = {name: statistics.median(all_[1:]) for name, all_ in times.items()}
    rivals = [name for name in medians if not name.startswith("sharedmem")]
    best = min((medians[name] for name in rivals), default=float("nan"))
    print(f"\n{title}")
    for name, median in medians.items():
        spread = f"{min(times[name][1:]):.1f} to {max(times[name][1:]):.1f}"
        print(f"  {name:<26}{median:>12.1f} us  {median / best:>6.2f} x best rival   ({spread})")


# ---- create, fill, attach ---------------------------------------------------


def bare_create(nbytes: int, path: str = "/dev/shm/bare-mmap") -> mmap.mmap:
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    os.ftruncate(fd, nbytes)
    mapped = mmap.mmap(fd, nbytes)
    os.close(fd)
    os.unlink(path)
    return mapped


def stdlib_create(nbytes: int) -> shared_memory.SharedMemory:
    return shared_memory.SharedMemory(create=True, size=nbytes)


def stdlib_drop(memory: shared_memory.SharedMemory) -> None:
    memory.close()
    memory.unlink()


def creators(nbytes: int, value: float | None) -> dict[str, Action]:
    """Each creates an array of `nbytes`, writes the first element or all, drops it."""
    count = nbytes // 8
    source = None if value is None else np.full(count, value)

    def fill(array: np.ndarray) -> None:
        if source is None:
            array[0] = 1.0
        else:
            array[:] = source

    def ours(backend: str) -> Action:
        return lambda: fill(sharedmem.empty(count, backend=backend))

    def bare() -> None:
        mapped = bare_create(nbytes)
        fill(np.frombuffer(mapped, float))

    def stdlib() -> None:
        memory = stdlib_create(nbytes)
        fill(np.ndarray(count, float, memory.buf))
        stdlib_drop(memory)

    def third() -> None:
        fill(SharedArray.create("shm://bench-create", count))
        SharedArray.delete("shm://bench-create")

    found: dict[str, Action] = {
        "sharedmem posix": ours("posix"),
        "sharedmem sysv": ours("sysv"),
        "bare open + mmap": bare,
        "SharedMemory": stdlib,
    }
    if SharedArray is not None:
        found["SharedArray"] = third
    if source is not None:
        found["np.copy (private)"] = lambda: source.copy()
    return found


ATTACH = """
import sys, time, numpy as np
kind, name, count, repeat = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
if kind == "sharedmem":
    import sharedmem
    def action(): return sharedmem.attach(name)[0]
elif kind == "stdlib":
    from multiprocessing import shared_memory, resource_tracker
    resource_tracker.register = lambda *_: None
    def action():
        memory = shared_memory.SharedMemory(name)
        value = np.ndarray(count, float, memory.buf)[0]
        memory.close()
        return value
else:
    import SharedArray
    def action(): return SharedArray.attach("shm://" + name)[0]
print("ready", flush=True)
for line in sys.stdin:
    start = time.perf_counter_ns()
    for _ in range(repeat): assert action() == 1.0
    print((time.perf_counter_ns() - start) / repeat / 1000, flush=True)
"""


def attachers(nbytes: int, rounds: int) -> None:
    """Attach + read + detach, each contestant in an unrelated process of its own."""
    count = nbytes // 8
    posix = sharedmem.ones(count, backend="posix")
    sysv = sharedmem.ones(count, backend="sysv")
    memory = stdlib_create(nbytes)
    np.ndarray(count, float, memory.buf)[:] = 1
    names = {
        "sharedmem posix": ("sharedmem", posix.name),
        "sharedmem sysv": ("sharedmem", sysv.name),
        "SharedMemory": ("stdlib", memory.name),
    }
    if SharedArray is not None:
        SharedArray.create("shm://bench-attach", count)[:] = 1
        names["SharedArray"] = ("third", "bench-attach")
    children = {
        title: subprocess.Popen(
            [sys.executable, "-c", ATTACH, *facts, str(count), "300"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for title, facts in names.items()
    }
    times: dict[str, list[float]] = {title: [] for title in names}
    for child in children.values():
        child.stdout.readline()
    for _ in range(rounds + 1):
        for title, child in children.items():
            child.stdin.write("go\n")
            child.stdin.flush()
            times[title].append(float(child.stdout.readline()))
    for child in children.values():
        child.communicate()
    stdlib_drop(memory)
    if SharedArray is not None:
        SharedArray.delete("shm://bench-attach")
    medians = {title: statistics.median(all_[1:]) for title, all_ in times.items()}
    best = min(value for title, value in medians.items() if not title.startswith("sharedmem"))
    print(f"\nattach + read + detach, {nbytes:,} bytes")
    for title, median in medians.items():
        print(f"  {title:<26}{median:>12.1f} us  {median / best:>6.2f} x best rival")


# ---- references and queues ----------------------------------------------------


def references(rounds: int) -> None:
    array = sharedmem.ones(1000)
    memory = stdlib_create(8000)
    ours, theirs = pickle.dumps(array), pickle.dumps(memory)
    print(f"\nbytes of a reference: sharedmem {len(ours)}, SharedMemory {len(theirs)}")
    race(
        "dumps of a reference",
        {
            "sharedmem": lambda: pickle.dumps(array),
            "sharedmem in flight": lambda: sharedmem.forget(ForkingPickler.dumps(array)),
            "SharedMemory": lambda: pickle.dumps(memory),
        },
        1000,
        rounds,
    )
    race(
        "loads of a reference, mapped here",
        {"sharedmem": lambda: pickle.loads(ours), "SharedMemory": lambda: pickle.loads(theirs).close()},
        500,
        rounds,
    )
    stdlib_drop(memory)


def echo(inbox: Any, outbox: Any) -> None:
    while (item := inbox.get()) is not None:
        if isinstance(item, shared_memory.SharedMemory):
            item.close()
        outbox.put(1)


def round_trips(nbytes: int, rounds: int) -> None:
    """Send a reference to an echo process and wait for its answer."""
    fork = multiprocessing.get_context("fork")
    array = sharedmem.zeros(nbytes // 8)
    memory = stdlib_create(nbytes)
    plain = b"x" * 100
    for kind in ("Queue", "SimpleQueue"):
        inbox, outbox = getattr(fork, kind)(), getattr(fork, kind)()
        worker = fork.Process(target=echo, args=(inbox, outbox), daemon=True)
        worker.start()

        def trip(item: Any, inbox: Any = inbox, outbox: Any = outbox) -> Action:
            return lambda: (inbox.put(item), outbox.get())

        contestants = {"sharedmem": trip(array), "100 bytes": trip(plain)}
        contestants["SharedMemory"] = trip(memory)
        if nbytes <= 16 * MEBI:
            contestants["pickled"] = trip(np.asarray(array))
        race(f"{kind} round trip, {nbytes:,} bytes", contestants, 200 if nbytes < MEBI else 50, rounds)
        inbox.put(None)
        worker.join()
    stdlib_drop(memory)


# ---- many ---------------------------------------------------------------------


def many(count: int) -> None:
    """fds and the cost of one more array when `count` live."""
    before = len(os.listdir("/proc/self/fd"))
    one = clock(lambda: sharedmem.empty(8), 1000)
    live = [sharedmem.empty(8) for _ in range(count)]
    fds = len(os.listdir("/proc/self/fd")) - before
    again = clock(lambda: sharedmem.empty(8), 1000)
    print(
        f"\n{count:,} live arrays: {fds} fds more; create + drop {one:.1f} us before, {again:.1f} us with them"
    )
    del live


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, no gigabyte")
    quick = parser.parse_args().quick
    rounds = 5 if quick else 11
    versions = f"NumPy {np.__version__}, sharedmem {sharedmem.__version__}"
    third = "not installed" if SharedArray is None else "installed"
    print(f"Python {platform.python_version()}, {versions}, SharedArray {third}")
    print(f"{platform.platform()}, {os.cpu_count()} CPUs")
    race("create + drop, 8,192 bytes", creators(8192, None), 300, rounds)
    race("create + fill + drop, 160 MB", creators(160_000_000, 1.0), 1, rounds)
    for nbytes in (8192, MEBI):
        attachers(nbytes, rounds)
    references(rounds)
    for nbytes in (1024, MEBI, 100 * MEBI) + (() if quick else (1024 * MEBI,)):
        round_trips(nbytes, rounds)
    many(10_000)


if __name__ == "__main__":
    main()
