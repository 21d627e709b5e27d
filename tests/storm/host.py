"""The parent of the actors of one round. It replaces who dies.

With ``honorary`` it does not import the library: the family is named after it, and
lives while it does.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from pathlib import Path
from typing import Any

from storm.ledger import SLOTS, Ledger

ENDINGS = (0, 71, -9)  # as the actors have it; to import them is to import the library


def start(folder: Path, path: str, slot: int) -> None:
    from storm.actor import act

    act(folder, path, slot)


class Slot:
    """One actor after another."""

    def __init__(self, folder: Path, made: Any, number: int) -> None:
        self.folder, self.made, self.number = folder, made, number
        self.generation = 0
        self.process: Any = None

    def fill(self) -> None:
        path = f"{self.number}.{self.generation}"
        self.generation += 1
        self.process = self.made.Process(target=start, args=(self.folder, path, self.number))
        self.process.start()

    def judge(self, ledger: Ledger) -> None:
        if self.process.exitcode not in ENDINGS:
            ledger.fail(f"actor {self.number}.{self.generation - 1} ended with {self.process.exitcode}")


def main(folder: Path) -> None:
    ledger = Ledger(folder)
    honorary, method = ledger.settings["honorary"], ledger.settings["method"]
    made = multiprocessing.get_context(method)
    if not honorary:
        import sharedmem  # noqa: F401

        if method == "forkserver":
            made.set_forkserver_preload(["storm.actor"])
    slots = [Slot(folder, made, number) for number in range(SLOTS)]
    for slot in slots:
        slot.fill()
    while not ledger.finish:
        for slot in slots:
            if slot.process.exitcode is not None and not ledger.finish:
                slot.judge(ledger)
                slot.fill()
        time.sleep(0.02)
    for slot in slots:
        slot.process.join()
        slot.judge(ledger)
    if not honorary:
        receive_the_rest(folder)


def receive_the_rest(folder: Path) -> None:
    from storm.actor import Actor, guarded
    from storm.deeds import drain

    actor = Actor(folder, "host", 0)

    def life() -> None:
        for slot in range(SLOTS):
            drain(actor, slot)
        actor.end()

    guarded(actor, life)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
