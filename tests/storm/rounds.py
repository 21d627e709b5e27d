"""One round: start a host, watch, end it in one way or the other, judge what is left."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from storm import remains
from storm.ledger import COUNTED, OPERATION, PID, SLOTS, STEPS, Ledger

METHODS = ("fork", "spawn", "forkserver")
ENDS = tuple(itertools.product(("killed", "orderly"), (True, False)))  # and: with the reaper?
HANGS = 60  # seconds without a step
GONE = 30  # seconds until nothing must be left; two are promised, on a machine with time to spare
PATIENCE = 120  # seconds for all to end by themselves


class Failure(Exception):
    """The storm has found something."""


def plan(seconds: int, seed: int, vanish: bool, warm: bool) -> Iterator[dict[str, Any]]:
    """Twelve rounds have each start method with each end, with and without the reaper."""
    draw = random.Random(f"{seed}/rounds")
    length = min(30, max(10, seconds // 12))
    for number in range(max(1, round(seconds / length))):
        method = METHODS[number % 3]
        end, reaper = ENDS[(number + seed) % 4]
        honorary = draw.random() < 0.5
        pace = 1.0 if method == "fork" else 0.4 if method == "forkserver" and not honorary else 0.1
        yield {
            "seed": f"{seed}/{number}",
            "seconds": length,
            "method": method,
            "end": end,
            "reaper": reaper,
            "honorary": honorary,
            "cache": 1 << 22 if warm else draw.choice((0, 1 << 20, 1 << 24)),
            "vanish": vanish,
            "warm": warm,
            "pace": pace,
            "sync": ("posix", "sysv")[number // 2 % 2],
        }


class Round:
    """What goes on between the start of a host and the moment when nothing is left."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.folder = Path(tempfile.mkdtemp(prefix="sharedmem-storm-"))
        self.ledger = Ledger(self.folder, settings)
        self.ends: dict[int, int] = {}
        self.progress: dict[int, tuple[int, float]] = {}
        self.result: dict[str, Any] = dict.fromkeys(
            (
                "reapers_killed",
                "vanishings",
                "after_kill",
                "persistent_found",
                "lost_sysv",
                "items_lost",
            ),
            0,
        )

    def run(self) -> dict[str, Any]:
        try:
            self._storm()
            getattr(self, "_end_" + self.settings["end"])()
            self._look()
            self._judge_remains()
        finally:
            remains.kill_all()
            remains.reap(self.ends)
            self.result["counts"] = self.ledger.totals()
            shutil.rmtree(self.folder)
        return self.result

    # ---- the storm -----------------------------------------------------------------

    def _start(self, module: str, **options: Any) -> subprocess.Popen[str]:
        environ = os.environ | {
            "SHAREDMEM_STORM": str(self.folder),
            "SHAREDMEM_CACHE": str(self.settings["cache"]),
        }
        environ.pop("SHAREDMEM_FAMILY", None)
        if not self.settings["reaper"]:
            environ["SHAREDMEM_REAPER"] = "0"
        command = [sys.executable, "-X", "faulthandler", "-m", module, str(self.folder)]
        return subprocess.Popen(command, env=environ, text=True, start_new_session=True, **options)

    def _storm(self) -> None:
        with open(self.folder / "output", "w") as output:
            self.host = self._start("storm.host", stdout=output, stderr=output)
        self._await_actors()
        begin = time.monotonic()
        at_half = [self._kill_reapers] if self.settings["reaper"] else []
        vanishings = 1
        while (passed := time.monotonic() - begin) < self.settings["seconds"]:
            time.sleep(0.1)
            self._look()
            if at_half and passed > self.settings["seconds"] / 2:
                at_half.pop()()
            if self.settings["vanish"] and passed > 3 * vanishings:
                vanishings += 1
                self._vanish()
            if self.host.pid in self.ends:
                raise Failure(f"the host ended with {self.ends[self.host.pid]}")

    def _await_actors(self) -> None:
        """A round is as long as it says with all of them there: sixteen starts may take longer."""
        deadline = time.monotonic() + PATIENCE
        while self.ledger.entered < SLOTS:
            self._look()
            if time.monotonic() > deadline:
                raise Failure(f"{self.ledger.entered} of {SLOTS} actors began within {PATIENCE} s")
            time.sleep(0.05)

    def _kill_reapers(self) -> None:
        """Others are started by who maps something next."""
        for pid in remains.reapers():
            os.kill(pid, signal.SIGKILL)
            self.result["reapers_killed"] += 1

    def _vanish(self) -> None:
        self.ledger.set_vanished()
        subprocess.run("rm -rf /dev/shm/*", shell=True, check=False)  # files may come meanwhile
        self.result["vanishings"] += 1

    # ---- watching ------------------------------------------------------------------------

    def _look(self) -> None:
        remains.reap(self.ends)
        crashed = {pid: code for pid, code in self.ends.items() if code < 0 and code != -signal.SIGKILL}
        said = [self._said(name) for name in ("failures", "crashes")]
        if crashed:
            said.append(f"ended by a signal (pid, code): {crashed}")
        if any(said):
            raise Failure("\n".join([*said, self._said("output")]))
        self._look_for_hangs()

    def _said(self, name: str) -> str:
        return (self.folder / name).read_text(errors="replace")

    def _look_for_hangs(self) -> None:
        now = time.monotonic()
        for number in self.ledger.listed():
            steps = int(self.ledger.processes[number, STEPS])
            known, since = self.progress.get(number, (-1, now))
            if known != steps:
                self.progress[number] = steps, now
            elif now - since > HANGS:
                if not _runs(int(self.ledger.processes[number, PID])):
                    self.ledger.leave(number)  # it was killed
                    continue
                raise Failure(self._describe_hang(number))

    def _describe_hang(self, number: int) -> str:
        lines = [f"no step for {HANGS} s: process {number}"]
        for other in self.ledger.listed():
            row = [int(word) for word in self.ledger.processes[other]]
            if not _runs(row[PID]):
                continue
            doing = COUNTED[row[OPERATION] - 1] if row[OPERATION] else "nothing"
            lines.append(
                f"process {other}, pid {row[PID]}, step {row[STEPS]}, {doing}, {_wchan(row[PID])}"
            )
            os.kill(row[PID], signal.SIGUSR1)
        time.sleep(2)
        return "\n".join([*lines, self._said("stacks"), self._said("output")])

    # ---- the end --------------------------------------------------------------------------

    def _end_killed(self) -> None:
        self.result["after_kill"] = len(remains.segments())
        self.result["kills"] = remains.kill_all()

    def _end_orderly(self) -> None:
        self.ledger.set_finish()
        deadline = time.monotonic() + PATIENCE
        while remains.processes():
            self._look()
            if time.monotonic() > deadline:
                raise Failure(self._describe_hang(-1))
            time.sleep(0.05)
        self._look()
        if self.ends.get(self.host.pid) != 0:
            raise Failure(f"the host ended with {self.ends.get(self.host.pid)}\n{self._said('output')}")
        self._judge_items()

    def _judge_items(self) -> None:
        """Who was killed has lost one item at most, its own."""
        lost, excused = self.ledger.lost_items()
        self.result["items_lost"] = lost
        if lost > excused and self.ledger.totals()["queues"] == 1:
            raise Failure(f"{lost} items were put and never taken; {excused} may be missing")

    # ---- what is left -----------------------------------------------------------------------

    def _await_nothing(self, left: Any, what: str) -> float:
        begin = time.monotonic()
        while left() or remains.reapers():
            remains.reap(self.ends)
            if time.monotonic() > begin + GONE:
                told = "\n".join(remains.tell_of(pid) for pid in remains.reapers())
                locks = Path("/proc/locks").read_text()
                raise Failure(f"left {what}: {sorted(left())}\nreapers:\n{told}\nlocks:\n{locks}")
            time.sleep(0.02)
        return time.monotonic() - begin

    def _judge_remains(self) -> None:
        if self.settings["reaper"] and not self.settings["vanish"]:
            self.result["gone_after"] = self._await_nothing(remains.beside_persistent, "by the reaper")
        newcomer = self._start("storm.afterwards", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        said, errors = newcomer.communicate()
        if newcomer.returncode != 0 or errors:
            raise Failure(f"a newcomer found:\n{errors}")
        self.result["persistent_found"] = int(said)
        if self.settings["vanish"]:
            self._excuse_lost_sysv()
        self._await_nothing(remains.everything, "after a newcomer's reclaim")

    def _excuse_lost_sysv(self) -> None:
        """Whose journal was removed, and whose users were killed before they made it anew."""
        for name in remains.segments():
            if name.startswith("SysV "):
                subprocess.run(["ipcrm", "-m", name.split()[1]], check=True)
                self.result["lost_sysv"] += 1


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return pid != 0 and state not in (b"Z", b"X")


def _wchan(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return "?"
