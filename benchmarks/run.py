"""Runs every case of every contestant and writes the figures: `make bench`, `make bench-quick`.

Each contestant is one process, with the packages that it needs in an environment of its own
under build/bench; those that need NumPy only have one together.
The rounds of all contestants of a case are interleaved, so that a machine whose
speed drifts is the same for all; a ratio is the median of the ratios of rounds.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from report import text_of, write

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BUILD = ROOT / "build" / "bench"
OURS = ("sharedmem warm", "sharedmem cold")


class Contestant(NamedTuple):
    """A file under peers, what pip installs for it, and how many GB that takes on the disk."""

    file: str
    packages: tuple[str, ...] = ()
    gigabytes: int = 1


PEERS = {
    "bare mmap": Contestant("bare.py"),
    "private": Contestant("private.py"),
    "SharedMemory": Contestant("shared_memory.py"),
    "sharedctypes": Contestant("sharedctypes.py"),
    "SharedArray": Contestant("sharedarray.py", ("SharedArray>=3.2",)),
    "rainwoodman": Contestant("rainwoodman.py", ("sharedmem==0.3.8",)),
    "npshmex": Contestant("npshmex_peer.py", ("npshmex",)),
    "joblib": Contestant("joblib_peer.py", ("joblib",)),
    "sysv_ipc": Contestant("sysv_ipc_peer.py", ("sysv_ipc",)),
    "torch": Contestant("torch_peer.py", ("torch",), 6),
}


class Case(NamedTuple):
    """A row of the table: our class and parameters, and the peers'."""

    title: str
    ours: str
    params: tuple[Any, ...]
    theirs: str
    their_params: tuple[Any, ...]
    repeat: int
    rival: str
    warm: str = ""
    quick: bool = True
    once: tuple[str, ...] = ()  # contestants of which one call is long enough


def cases() -> Iterator[Case]:
    """Every row, in the order of the table. A new case is a class under ours and a line here."""
    small, large = 8192, 160_000_000
    idle = "from an idle segment"
    for backend, rival in (("posix", "bare mmap"), ("sysv", "sysv_ipc")):
        yield Case(
            f"create + drop 8 KB, {backend}", "Create.time_drop", (small, backend), "Create.time_drop", (small,), 300,
            rival, idle,
        )  # fmt: skip
        yield Case(
            f"the same, published, {backend}", "CreatePublished.time_drop", (small, backend), "Create.time_drop",
            (small,), 300, rival, idle if backend == "posix" else "",
        )  # fmt: skip
    for backend in ("posix", "sysv"):
        yield Case(
            f"create + fill 160 MB, {backend}", "Fill.time_copy", (large, backend), "Fill.time_copy", (large,), 1,
            "private", idle, backend == "posix",
        )  # fmt: skip
    for backend in ("posix", "sysv"):
        for nbytes, text in ((small, "8 KB"), (1 << 20, "1 MB"), (large, "160 MB")):
            yield Case(
                f"attach + read + detach {text}, {backend}", "Attach.time_read", (nbytes, backend), "Attach.time_read",
                (nbytes,), 300, "SharedArray", "attached before", nbytes == small,
            )  # fmt: skip
    for backend in ("posix", "sysv"):
        yield Case(
            f"the same, already mapped, {backend}", "AttachMapped.time_read", (small, backend), "Attach.time_read",
            (small,), 1000, "SharedArray",
        )  # fmt: skip
    yield Case("attach 8 KB beside 64 processes", "AttachCrowd.time_read", (small, "posix", 64), "", (), 300, "",
               "attached before", False)  # fmt: skip
    yield Case("dumps", "Dumps.time_dumps", (), "Dumps.time_dumps", (), 1000, "SharedMemory")
    yield Case("loads", "Dumps.time_loads", (), "Dumps.time_loads", (), 500, "SharedMemory")
    for way in ("Queue", "SimpleQueue", "Pipe"):
        yield Case(
            f"{way} of 100 bytes and back",
            "",
            (),
            "RoundTripBytes.time_trip",
            (way, 100),
            200,
            "",
            "",
            way == "Queue",
        )
        for nbytes, text in ((1024, "1 KB"), (100 << 20, "100 MB")):
            yield Case(
                f"{way} of {text} and back", "RoundTrip.time_trip", (way, nbytes), "RoundTrip.time_trip", (way, nbytes),
                100, "SharedMemory", "", way == "Queue", () if nbytes == 1024 else ("private",),
            )  # fmt: skip
    yield Case("create + drop beside 10,000 live", "Many.time_one_more", (10_000,), "Many.time_one_more", (10_000,),
               300, "sharedctypes", idle)  # fmt: skip


class Runner:
    """One contestant's process."""

    def __init__(self, python: str, files: list[Path], **environment: str) -> None:
        self.process = subprocess.Popen(
            [python, str(HERE / "contestant.py"), *map(str, files)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **environment},
        )
        self.about = self.hear()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": "its process ended"}

    def ask(self, **question: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return {"error": "its process ended"}
        return self.hear()

    def end(self) -> None:
        self.process.communicate()


def environment_of(name: str, contestant: Contestant, quick: bool) -> tuple[str, str]:
    """The contestant's Python, made when it is first asked for; and why there is none."""
    folder = BUILD / (name.lower() if contestant.packages else "numpy")
    python = folder / "bin" / "python"
    if (folder / ".done").exists():
        return str(python), ""
    if quick and contestant.gigabytes > 1:
        return "", f"{contestant.gigabytes} GB to install: make bench does it"
    BUILD.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(BUILD).free < (contestant.gigabytes + 2) << 30:
        return "", f"no room on the disk to install it: {contestant.gigabytes} GB"
    shutil.rmtree(folder, ignore_errors=True)
    commands = [
        [sys.executable, "-m", "venv", str(folder)],
        [
            str(python),
            "-m",
            "pip",
            "install",
            "-q",
            "setuptools<81",
            "wheel",
            "numpy",
            *contestant.packages,
        ],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
            return "", f"pip could not install it: {''.join(last)[:150]}"
    (folder / ".done").touch()
    return str(python), ""


def start_all(quick: bool) -> tuple[dict[str, Runner], dict[str, str]]:
    """Every contestant that runs, and the others with the reason."""
    ours = sorted((HERE / "ours").glob("[a-z]*.py"))
    running = {}
    for name, cache in zip(OURS, ("512000000", "0"), strict=True):
        running[name] = Runner(sys.executable, ours, SHAREDMEM_CACHE=cache)
    absent = {}
    for name, contestant in PEERS.items():
        python, why = environment_of(name, contestant, quick)
        if why:
            absent[name] = why
            continue
        running[name] = Runner(python, [HERE / "peers" / contestant.file])
    for name in [name for name, each in running.items() if "error" in each.about]:
        absent[name] = running[name].about["error"]
        running.pop(name).end()
    return running, absent


def measure(case: Case, running: dict[str, Runner], rounds: int) -> dict[str, Any]:
    """Seconds of each contestant in each round, and who could not."""
    ready, refused = {}, {}
    for name, runner in running.items():
        which, params = (case.ours, case.params) if name in OURS else (case.theirs, case.their_params)
        if not which:
            continue
        said = runner.ask(do="setup", case=which, params=params)
        if "error" not in said:
            repeat = 1 if name in case.once else case.repeat
            ready[name] = {"case": which, "params": params, "repeat": repeat}
        elif said["error"] != "has no such case":
            refused[name] = said["error"]
            runner.ask(do="teardown", case=which, params=params)
    seconds: dict[str, list[float]] = {name: [] for name in ready}
    for turn in range(rounds):
        names = list(ready)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            said = running[name].ask(do="run", **ready[name])
            if "seconds" in said:
                seconds[name].append(said["seconds"])
            else:
                refused[name] = said["error"]
                question = ready.pop(name)
                running[name].ask(do="teardown", case=question["case"], params=question["params"])
                del seconds[name]
    for name, question in ready.items():
        running[name].ask(do="teardown", case=question["case"], params=question["params"])
    return {
        "title": case.title,
        "rival": case.rival,
        "warm": case.warm,
        "seconds": seconds,
        "refused": refused,
    }


def summary(times: list[float], rival: list[float] | None) -> dict[str, float]:
    """Median, quartiles, and the median of the rounds' ratios to the rival."""
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
    found = {"median": middle, "low": low, "high": high}
    if rival:
        found["ratio"] = statistics.median(a / b for a, b in zip(times, rival, strict=True))
    return found


def in_kernel() -> set[str]:
    """Segments of this user: files of /dev/shm and SysV ids."""
    uid = os.getuid()
    found = {
        f"/dev/shm/{each.name}"
        for each in os.scandir("/dev/shm")
        if each.stat(follow_symlinks=False).st_uid == uid
    }
    for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[7]) == uid:
            found.add(f"SysV segment {fields[1]}")
    return found


def left_since(before: set[str], patience: float = 5) -> list[str]:
    """What the run left, once reapers had their time."""
    end = time.monotonic() + patience
    while (left := in_kernel() - before) and time.monotonic() < end:
        time.sleep(0.1)
    return sorted(left)


def machine() -> str:
    """The processor, its number, memory, kernel and Python."""
    processor = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = processor[1] if processor else platform.machine()
    return (
        f"{name}, {os.cpu_count()} CPUs, {memory:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, {datetime.date.today()}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds and cases; the documentation stays as it is"
    )
    parser.add_argument("--only", default="", help="cases whose title has this")
    quick, only = (arguments := parser.parse_args()).quick, arguments.only
    before = in_kernel()
    begun = time.monotonic()
    running, absent = start_all(quick)
    made = time.monotonic() - begun
    begun += made
    rows = []
    for case in cases():
        if (quick and not case.quick) or only not in case.title:
            continue
        row = measure(case, running, 5 if quick else 11)
        rival = row["seconds"].get(case.rival)
        row["figures"] = {name: summary(times, rival) for name, times in row["seconds"].items()}
        rows.append(row)
        print(f"\n{case.title}" + (f" (warm: {case.warm})" if case.warm else ""))
        for name, found in row["figures"].items():
            ratio = f"{found['ratio']:6.2f} x {case.rival}" if "ratio" in found else ""
            spread = f"({text_of(found['low'])} to {text_of(found['high'])})"
            print(f"  {name:<16}{text_of(found['median']):>10}  {spread:<22}{ratio}", flush=True)
        for name, why in row["refused"].items():
            print(f"  {name:<16} did not run: {why}")
    versions = {name: each.about.get("version", "") for name, each in running.items()}
    for each in running.values():
        each.end()
    for name, why in absent.items():
        print(f"{name} did not run: {why}")
    left = left_since(before)
    print(f"\nenvironments: {made:.0f} s, measuring: {time.monotonic() - begun:.0f} s")
    print("left in the kernel:", ", ".join(left) or "nothing")
    report = {
        "machine": machine(),
        "rounds": 5 if quick else 11,
        "versions": versions,
        "absent": absent,
        "rows": rows,
        "left": left,
    }
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / "figures.json").write_text(json.dumps(report, indent=1) + "\n")
    if not (quick or only):
        write(report)
    sys.exit(1 if left else 0)


if __name__ == "__main__":
    main()
