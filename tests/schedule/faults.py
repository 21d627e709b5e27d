"""Does the scheduler find faults? Each of these is put into a copy of the core, alone, and schedules are run.

``python tests/schedule/faults.py [--schedules N] [--list] [NAME ...]``, in namespaces of its own (``make
schedule-faults``). A row says in how many of N schedules the fault is found, by which seed first, and how many events
that has when it is made shorter, of how many. The last row is the core as it is, in the same schedules.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


@dataclass(frozen=True)
class Fault:
    """[old] stands in [file] once, and is replaced."""

    name: str
    says: str
    scene: str
    file: str
    old: str
    new: str
    options: tuple[str, ...] = ()

    def seed(self, tree: Path) -> None:
        text = (ROOT / self.file).read_text()
        assert text.count(self.old) == 1, f"{self.name}: {self.file} does not have this once: {self.old}"
        (tree / self.file).write_text(text.replace(self.old, self.new))

    def mend(self, tree: Path) -> None:
        (tree / self.file).write_text((ROOT / self.file).read_text())


FAULTS = (
    Fault(
        "leave",
        "what a process uses that leaves is recycled",
        "lifetime",
        "src/c/segment/layout.h",
        " && flags < SMEM__LOOSE_ONE",
        "",
    ),
    Fault(
        "persist",
        "what another process made persistent is recycled",
        "lifetime",
        "src/c/segment/layout.h",
        " && !(flags & SMEM_PERSISTENT)",
        "",
    ),
    Fault(
        "steal",
        "a holder is not known in the file that its family made anew",
        "locks",
        "src/c/segment/family.c",
        "    if (family->number)\n        return smem__holder_keep(file, family->number);\n",
        "    if (family->number)\n        return 0;\n",
    ),
    Fault(
        "charge",
        "small items are charged less than the room that was kept for them",
        "queue",
        "src/c/segment/queue.c",
        "uint64_t charge = length > queue->spare ? length : queue->spare;",
        "uint64_t charge = length;",
    ),
    Fault(
        "cancel",
        "who is notified and gives up at the same time is told that nobody notified it",
        "conditions",
        "src/c/segment/condition.c",
        "        if (smem__is_before(wait->ticket, &condition->all))\n            return 1;\n",
        "        if (smem__is_before(wait->ticket, &condition->all))\n            return 0;\n",
    ),
    Fault(
        "all",
        "to notify all gives a permit for each that waits",
        "conditions",
        "src/c/segment/condition.c",
        "        all = count >= smem__waiting(counts) - smem__permits(counts);\n",
        "        all = false;\n"
        "        if (count > smem__waiting(counts) - smem__permits(counts))\n"
        "            count = smem__waiting(counts) - smem__permits(counts);\n",
    ),
    Fault(
        "cache",
        "what is in flight is recycled",
        "lifetime",
        "src/c/segment/cache.c",
        "    if (smem__in_flight(&flight))\n        return SMEM__IN_FLIGHT;\n",
        "",
    ),
    Fault(
        "tickets",
        "a ticket is freed by a store, over one that is given out",
        "tickets",
        "src/c/segment/ticket.c",
        "if (atomic_compare_exchange_weak(at, &word, word & ~((uint64_t)1 << bit))) {",
        "if (atomic_store(at, word & ~((uint64_t)1 << bit)), true) {",
    ),
    Fault(
        "gate",
        "the gates' file is removed while others are inside",
        "names",
        "src/c/segment/gate.c",
        "        smem__file_lock(&gate->file, SMEM__EXCLUSIVE, SMEM__BYTE_INSIDE) == 0 &&\n",
        "",
        ("--backend", "sysv"),
    ),
    Fault(
        "sweep",
        "a sweep takes what is in flight",
        "flight",
        "src/c/segment/sweep.c",
        " || smem__in_flight(&flight)",
        "",
    ),
    Fault(
        "reaper",
        "a reaper buries its family and does not look again",
        "lifetime",
        "src/c/reaper/reaper.c",
        'SMEM__POINT("reaper.buried", "the family\'s file is gone; what only it kept is not");\n'
        "    smem__reap_rest(reaper);\n",
        'SMEM__POINT("reaper.buried", "the family\'s file is gone; what only it kept is not");\n',
        ("--reapers",),
    ),
    Fault(
        "magic",
        "a SysV segment is found before it has its contents",
        "names",
        "src/c/segment/create.c",
        "birth->header + sizeof magic,\n"
        "                                  birth->header_size - sizeof magic, sizeof magic);",
        'birth->header, birth->header_size, 0);\n    SMEM__POINT("create.half-made", "");',
        ("--backend", "sysv", "--users"),
    ),
)


def build(tree: Path) -> None:
    meson = Path(sys.executable).parent / "meson"
    where = tree / "build"
    if not (where / "build.ninja").exists():
        setup = [
            meson,
            "setup",
            where,
            "-Dpython=false",
            "-Dtests_c=true",
            "-Dschedules=true",
            "--buildtype=debugoptimized",
        ]
        subprocess.run(setup, cwd=tree, check=True, stdout=subprocess.DEVNULL)
    subprocess.run([meson, "compile", "-C", where, "schedule"], check=True, stdout=subprocess.DEVNULL)


def run(tree: Path, fault: Fault, seeds: str, *options: str) -> str:
    program = tree / "build/tests/schedule/schedule"
    command = [program, "--scene", fault.scene, "--seeds", seeds, *fault.options, *options]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout + done.stderr


def try_out(tree: Path, fault: Fault, schedules: int) -> tuple[str, bool]:
    """A row, and whether the fault was found."""
    said = run(tree, fault, f"1:{schedules}", "--count")
    found = re.search(r"(\d+) of (\d+) schedules fail, the first is (\d+)", said)
    if not found:
        return f"0 of {schedules}", False
    failed, of, first = found.groups()
    shown = run(tree, fault, f"{first}:1")
    events = re.findall(r"^  (\d+) events$", shown, re.MULTILINE)
    what = re.search(r"^FAILED: (?:actor -?\d+, step \d+: )?(.*)$", shown, re.MULTILINE)
    lengths = f"{events[0]} -> {events[-1]}" if len(events) > 1 else "not shortened"
    return f"{failed} of {of}, first {first}, events {lengths}: {what[1] if what else '?'}", True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--schedules", type=int, default=3000, help="of each fault")
    parser.add_argument("--list", action="store_true", help="name the faults, run nothing")
    parser.add_argument("names", nargs="*", metavar="NAME")
    wanted = parser.parse_args()
    chosen = [fault for fault in FAULTS if not wanted.names or fault.name in wanted.names]
    if wanted.list:
        print("\n".join(f"{fault.name:8} {fault.scene:8} {fault.says}" for fault in chosen))
        return 0
    tree = ROOT / "build" / "faults"
    shutil.rmtree(tree, ignore_errors=True)
    leave_out = shutil.ignore_patterns(".git", ".venv", "build", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, tree, ignore=leave_out)
    missed = 0
    for fault in chosen:
        fault.seed(tree)
        build(tree)
        row, found = try_out(tree, fault, wanted.schedules)
        missed += not found
        print(f"{fault.name:8} {row}", flush=True)
        fault.mend(tree)
    build(tree)
    for fault in {(fault.scene, fault.options): fault for fault in chosen}.values():
        row, found = try_out(tree, fault, wanted.schedules)
        missed += found
        print(f"as it is {row} ({' '.join((fault.scene, *fault.options))})", flush=True)
    return missed > 0


if __name__ == "__main__":
    sys.exit(main())
