"""The page of the points of death and the C source say the same."""

from __future__ import annotations

import collections
import re
import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULE = runpy.run_path(str(ROOT / "doc" / "death_points.py"))


def test_page_is_in_step_with_the_source() -> None:
    """The page is what the source makes it; `python doc/death_points.py` renews it."""
    assert MODULE["PAGE"].read_text() == MODULE["page"]()


def test_every_point_is_listed_once() -> None:
    """No point is overlooked by the page, and no two have one name."""
    listed = [point.name for points in MODULE["all_points"]().values() for point in points]
    written = 0
    for path in (ROOT / "src" / "c").rglob("*.c"):
        written += len(re.findall(r"\bSMEM__POINT\(", path.read_text()))
    assert len(listed) == written
    assert [name for name, count in collections.Counter(listed).items() if count > 1] == []
    assert max(map(len, listed)) < 32
