"""``sharedmem list``: what there is and why."""

from __future__ import annotations

from argparse import Namespace

from sharedmem.cli.output import print_json, print_table, visible
from sharedmem.cli.segments import COLUMNS, cells, facts, of_users, rows, summary
from sharedmem.participant import context

__all__ = ["DESCRIPTION", "names", "run"]

DESCRIPTION = """\
List your segments on both backends. Nothing is changed by looking.

What the library has made for itself is shown with --all only: memory kept warm, results of
executors, locks and queues without a name of yours.

columns:
  NAME       to attach by; 32 hexadecimal digits when none was given
  BACKEND    posix or sysv
  DTYPE      of the elements
  SHAPE      of the array
  SIZE       of the segment, header included
  STATUS     mapped      a process has it attached, by the kernel's word
             idle        a process keeps it warm for the arrays it makes next
             persistent  nobody has, but it stays until it is unlinked
             in flight   nobody has, but a descriptor of it was sent and is awaited
             stale       nobody can reach it: its users died; see sharedmem clean
             elsewhere   made under another /dev/shm in this IPC namespace
  TICKETS    descriptors in flight, and the age of the oldest; n+ means too many to count
  MAPPED BY  pid and command of each process that can be seen from here
"""


def run(options: Namespace) -> int:
    everything = rows(options.backend)
    found = everything if options.all else of_users(everything)
    if options.json:
        print_json({"segments": [facts(row) for row in found]})
        return 0
    if found:
        print_table(COLUMNS, [cells(row) for row in found])
    text = summary(everything) if everything else "no segments"
    hidden = len(everything) - len(found)
    print(f"{text}; {hidden} of the library's own not shown (--all)" if hidden else text)
    return 0


def names(options: Namespace) -> int:
    """For completion: one name a line, without those that no shell could show."""
    for name in sorted(info.name for info in context.list()):
        if name == visible(name):
            print(name)
    return 0
