"""A newcomer when all others are gone: reclaims, finds what is persistent, takes it away."""

from __future__ import annotations

import sys
from pathlib import Path

import sharedmem
from storm import contents
from storm.ledger import KEPT, PERSISTENT, Ledger


def check(name: int, serial: int, count: int) -> None:
    array = sharedmem.attach(f"storm-{name}", "r")
    fault = contents.fault(array, serial, count, 0, 1)
    assert not fault, f"persistent array {name}: {fault}"


def main(folder: Path) -> None:
    ledger = Ledger(folder)
    sharedmem.reclaim()
    found = 0
    for name in KEPT:
        standing = ledger.standing(name) if name in PERSISTENT else None
        if standing and not ledger.vanished:
            check(name, *standing)
            found += 1
        try:
            while True:  # who was killed while replacing may have left one on each backend
                sharedmem.unlink(f"storm-{name}")
        except sharedmem.SegmentNotFoundError:
            pass
    print(found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
