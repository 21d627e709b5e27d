"""One process in the storm: what it decides, what it does, and what it then finds.

Its decisions come from the storm's seed and from its place in the tree of
processes, so they are the same in each run; what they meet is not.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import random
import signal
import struct
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np

import sharedmem
from storm import contents
from storm.ledger import (
    COUNTED,
    FAMILY,
    MAIN_FAMILY,
    OPERATION,
    PID,
    SERIALS,
    SLOTS,
    STEPS,
    Ledger,
)

HELD = 12  # arrays that a process keeps at most
FAILED = 70  # exit codes
EXITED = 71
ENDINGS = (0, EXITED, -signal.SIGKILL)

# How often, in a thousand steps. Those of the second table cost a process or one's own life.
WEIGHTS = {
    "create": 110, "zeros": 20, "create_named": 30, "replace": 25, "attach_or_create": 30,
    "create_persistent": 8, "attach": 90, "send": 150, "receive": 170, "view": 60, "drop": 140,
    "unlink": 15, "verify": 60, "look": 15, "reclaim": 2,
    "lock": 50, "notify": 25, "await_notice": 25, "put": 60, "get": 70,
}  # fmt: skip
DEADLY = {
    "fork": 12, "kill_sharing": 8, "worker": 1, "execute": 0.5, "daemonise": 0.5, "leave_family": 0.5,
    "exit": 2, "die": 2, "kill": 3,
}  # fmt: skip
# Aimed at what is dropped and made anew: few sizes, so that each drop is the next one's memory.
WARM = {
    "create": 200, "zeros": 100, "send": 150, "receive": 170, "view": 30, "drop": 300,
    "verify": 60, "unlink": 10, "trim": 10, "attach": 20, "create_named": 10, "reclaim": 2,
    "lock": 10, "put": 20, "get": 25,
}  # fmt: skip


def decisions(
    settings: dict[str, Any], path: str, only: frozenset[str] | None = None
) -> Iterator[tuple[str, random.Random]]:
    """For ever: an operation, and what to draw its particulars from."""
    weights: dict[str, float] = dict(WARM if settings["warm"] else WEIGHTS)
    weights |= {name: weight * settings["pace"] for name, weight in DEADLY.items()}
    names = [name for name in weights if only is None or name in only]
    source = random.Random(f"{settings['seed']}/{path}")
    while True:
        operation = source.choices(names, [weights[name] for name in names])[0]
        yield operation, random.Random(source.getrandbits(64))


@dataclass(eq=False)  # one is itself
class Held:
    """An array that this process has, and what is known of it."""

    array: Any
    serial: int
    count: int  # words of the whole
    start: int = 0  # which of them the array shows
    step: int = 1
    name: int = -1  # none that others know
    stamp: int | None = None  # for Ledger.unchanged(); of names only


class Fault(Exception):
    """Something that must not be."""


class Actor:
    """A process of the storm."""

    def __init__(self, folder: Path, path: str, slot: int, family: int = MAIN_FAMILY) -> None:
        self.slot = slot
        self.held: list[Held] = []
        self.in_slot = False  # started by the host, or the program that such a one became
        self.forked: set[int] = set()
        self.shared: dict[Any, Any] = {}  # sharing.py: locks and a queue
        self.last_of: dict[int, int] = {}  # items of other processes
        self.begin(folder, path, family)

    def begin(self, folder: Path, path: str, family: int) -> None:
        """Become another process of the storm: at its start, and after a fork."""
        self.ledger = Ledger(folder)
        self.path = path
        self.family = family
        self.number = self.ledger.enter(family)
        self.state = self.ledger.processes[self.number]
        self.counts = self.ledger.counts[self.number]
        self.made = 0
        self.branches = 0
        self.forked.clear()
        self.mailboxes = [
            os.open(folder / f"mailbox-{slot}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            for slot in range(SLOTS)
        ]
        self.crashes = open(folder / "crashes", "a")  # noqa: SIM115
        self.stacks = open(folder / "stacks", "a")  # noqa: SIM115
        faulthandler.enable(self.crashes)
        faulthandler.register(signal.SIGUSR1, self.stacks)
        self.count("processes")

    def close_files(self) -> None:
        """In a forked child, which opens its own."""
        for fd in self.mailboxes:
            os.close(fd)
        self.crashes.close()
        self.stacks.close()

    def count(self, what: str, n: int = 1) -> None:
        self.counts[COUNTED.index(what)] += np.uint64(n)

    # ---- life --------------------------------------------------------------------

    def live(self, steps: int, only: frozenset[str] | None = None) -> None:
        stream = decisions(self.ledger.settings, self.path, only)
        for operation, draw in stream:
            if self.ledger.finish:
                from storm import sharing

                sharing.empty(self)
                return
            if steps == 0:
                return
            steps -= 1
            self.step(operation, draw)

    def step(self, operation: str, draw: random.Random) -> None:
        code = COUNTED.index(operation)
        self.state[OPERATION] = code + 1
        self.state[STEPS] += np.uint64(1)
        self.counts[code] += np.uint64(1)  # first: there are deeds that nobody comes back from
        DEEDS[operation](self, draw)
        self.state[OPERATION] = 0
        while len(self.held) > HELD:
            self.held.pop(draw.randrange(len(self.held)))

    def fail(self, text: str) -> None:
        operation = int(self.state[OPERATION])
        doing = COUNTED[operation - 1] if operation else "nothing"
        self.ledger.fail(
            f"process {self.path} (pid {os.getpid()}, family {self.family}), "
            f"step {int(self.state[STEPS])}, {doing}: {text}"
        )

    def end(self) -> None:
        """What an orderly end begins with: all is right to the last."""
        for held in self.held:
            self.check(held)
        self.held.clear()
        self.ledger.leave(self.number)
        self.count("ended")

    def reap(self) -> None:
        """Wait for forked children that have ended."""
        for pid in list(self.forked):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                self.forked.discard(pid)
                self.judge_end(pid, os.waitstatus_to_exitcode(status))

    def judge_end(self, pid: int, code: int) -> None:
        if code not in ENDINGS:
            raise Fault(f"process {pid} ended with {code}")

    # ---- arrays --------------------------------------------------------------------

    def new_serial(self, name: int = -1) -> int:
        self.made += 1
        if self.made == SERIALS:
            raise OutOfSerials
        serial = self.number * SERIALS + self.made
        self.ledger.name_of[serial] = name + 1
        return serial

    def check(self, held: Held) -> None:
        fault = contents.fault(held.array, held.serial, held.count, held.start, held.step)
        self.count("words", len(held.array))
        if fault:
            raise Fault(fault)

    def hold(self, held: Held) -> None:
        self.check(held)
        self.held.append(held)

    def must_be_there(self, held: Held) -> bool:
        """Somebody maps it, and nobody has begun to take its name away."""
        if self.ledger.vanished:
            return False
        if held.name < 0:
            return not self.ledger.gone[held.serial]
        return self.ledger.unchanged(held.name, held.stamp)

    def adopt(self, array: Any, name: int, stamp: int | None) -> Held:
        """Find out which array of this name it is; fill it if it is new."""
        if array[0] == 0:
            with self.ledger.filling(name):
                if array[0] == 0:
                    contents.fill(array, self.new_serial(name))
                    self.count("arrays")
        serial, count = int(array[0]), int(array[1])
        if serial >= len(self.ledger.name_of) or self.ledger.name_of[serial] != name + 1:
            raise Fault(f"number {serial} under name {name}, which is not its own")
        return Held(array, serial, count, name=name, stamp=stamp)

    def pick(self, draw: random.Random) -> Held | None:
        return draw.choice(self.held) if self.held else None

    # ---- messages --------------------------------------------------------------------

    def pack(self, held: Held) -> bytes:
        """A message: what the receiver will know, and the pickle that is in flight."""
        facts = (
            held.serial, held.count, held.start, held.step, len(held.array), held.name, held.stamp,
            self.number, self.family,
        )  # fmt: skip
        head = pickle.dumps(facts)
        body = bytes(ForkingPickler.dumps(held.array))
        return struct.pack("ii", len(head), len(body)) + head + body

    def unpack(self, message: bytes) -> Held | None:
        """The array of a message. None where it may be missing, and is."""
        head, body = struct.unpack_from("ii", message)
        facts = pickle.loads(message[8 : 8 + head])
        serial, count, start, step, length, name, stamp, sender, family = facts
        held = Held(None, serial, count, start, step, name, stamp)
        try:
            held.array = pickle.loads(message[8 + head : 8 + head + body])
        except sharedmem.SegmentNotFoundError as error:
            if self.must_be_there(held) and self.family_lives(sender, family):
                raise Fault(
                    f"number {serial} (name {name}) was in flight and is not there: {error}"
                ) from None
            self.count("excused")
            return None
        by_name = isinstance(held.array, sharedmem.SharedArray)
        if not by_name and self.must_be_there(held):
            raise Fault(f"number {serial} (name {name}) was sent by content, though it has a name")
        if len(held.array) != length:
            raise Fault(f"number {serial} came with {len(held.array)} words instead of {length}")
        self.count("received_by_name" if by_name else "received_by_content")
        return held

    def family_lives(self, sender: int, family: int) -> bool:
        """Has it had a living member, for certain, since this process sent something?"""
        if family == MAIN_FAMILY:
            return True
        row = self.ledger.processes[sender]
        return int(row[FAMILY]) == family and is_alive(int(row[PID]), self.ledger.folder)


Deed = Callable[["Actor", random.Random], None]
DEEDS: dict[str, Deed] = {}  # filled by deeds.py, sharing.py and endings.py


class OutOfSerials(Exception):
    """This process has made as many arrays as it can: its end."""


def is_alive(pid: int, folder: Path) -> bool:
    """Is it a process of this storm that has not ended?"""
    try:
        if os.fsencode(folder) not in Path(f"/proc/{pid}/environ").read_bytes():
            return False
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    return pid != 0 and state not in (b"Z", b"X")


# ---- the beginning and the end ---------------------------------------------------------------


def guarded(actor: Actor, life: Callable[[], None]) -> int:
    """Run it; what goes wrong is written down. Returns an exit code."""
    try:
        life()
    except OutOfSerials:
        return EXITED
    except Fault as fault:
        actor.fail(str(fault))
        return FAILED
    except BaseException:
        actor.fail(traceback.format_exc())
        return FAILED
    return 0


def act(folder: Path, path: str, slot: int, family: int = MAIN_FAMILY) -> None:
    """An actor's whole life, in the process that is its own. Returns at an orderly end."""
    from storm import deeds, endings, sharing  # noqa: F401

    actor = Actor(folder, path, slot, family)
    actor.in_slot = True

    def life() -> None:
        endings.meet_family(actor)
        actor.live(random.Random(f"{actor.ledger.settings['seed']}/{path}/steps").randrange(500, 8000))
        if actor.ledger.finish:
            deeds.drain(actor, slot)
        endings.await_children(actor)
        actor.end()

    code = guarded(actor, life)
    if code:
        actor.ledger.leave(actor.number)
        os._exit(code)


if __name__ == "__main__":
    # Not as __main__: its classes are another module's.
    from storm.actor import act as act_here

    act_here(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
