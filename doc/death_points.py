"""The page of the points at which a process can be told to die, made from the source.

``python doc/death_points.py`` writes ``doc/reference/death-points.rst``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "c"
PAGE = ROOT / "doc" / "reference" / "death-points.rst"

_POINT = re.compile(r'SMEM__POINT\(\s*"([^"]+)",\s*((?:"[^"]*"\s*)+)\)')
_FUNCTION = re.compile(r"^(?!static const)[a-z][\w *]*?\b(\w+)\([^;]*?\)\s*\{", re.MULTILINE)
_HEAD = """\
.. Made by doc/death_points.py: change the source, then run it.

Points of death
===============

A process may be killed anywhere. These are the places where that could matter:
between any two system calls that change what other processes see, and after
each step of a ticket's table. A build with ``-Ddeath_points=true`` can be told
to die by ``SIGKILL`` at each of them, and ``make test-death`` does that: every
point that an operation passes, on both backends, in a forked child, in another
process of the same family and in one of another family; then in the process that
cleans up after that death, too. Each time the living processes find all their arrays
as they were, can attach, send, receive and drop them; and when they have left,
no segment, file or journal entry is left. No other build contains the points.

What is said of a point is what is so for everybody else when a process ends there.
"""


class Point(NamedTuple):
    """One point: its name, what is so there, the function it stands in."""

    name: str
    state: str
    function: str


def points_of(source: str) -> list[Point]:
    """The points of one C file, in its order."""
    functions = [(match.start(), match[1]) for match in _FUNCTION.finditer(source)]
    found = []
    for match in _POINT.finditer(source):
        function = [name for start, name in functions if start < match.start()][-1]
        state = "".join(re.findall(r'"([^"]*)"', match[2]))
        found.append(Point(match[1], state, function))
    return found


def all_points() -> dict[str, list[Point]]:
    """The points of each file that has any."""
    files = {str(path.relative_to(SOURCE)): path.read_text() for path in sorted(SOURCE.rglob("*.c"))}
    return {name: points for name, text in files.items() if (points := points_of(text))}


def page() -> str:
    """The page's text."""
    parts = [_HEAD]
    for file, points in all_points().items():
        title = f"``{file}``"
        parts.append(f"\n{title}\n{'-' * len(title)}\n\n")
        parts.append(".. list-table::\n   :header-rows: 1\n   :widths: 28 32 40\n\n")
        parts.append("   * - Point\n     - Function\n     - What is so there\n")
        for point in points:
            parts.append(f"   * - ``{point.name}``\n     - ``{point.function}``\n")
            parts.append(f"     - {point.state}\n")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
