"""CPython's own tests of `multiprocessing`'s synchronisers, with ours in their place."""

from __future__ import annotations

import unittest
from collections.abc import Iterator
from typing import Any

import pytest

import sharedmem

theirs: Any = pytest.importorskip(
    "test._test_multiprocessing", reason="CPython's tests are not installed"
)

KINDS = ("Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition", "Event", "Barrier")
CASES = ("_TestLock", "_TestSemaphore", "_TestCondition", "_TestEvent", "_TestBarrier")

# Which of theirs are not run, and why; nor is what asks for their texts (repr).
EXCLUDED = {
    "_TestCondition.test_notify": "looks at the semaphores that theirs is made of",
    "_TestCondition.test_notify_all": "looks at the semaphores that theirs is made of",
    "_TestCondition.test_notify_n": "looks at the semaphores that theirs is made of",
}


def cases() -> Iterator[Any]:
    for case in CASES:
        ours = {kind: staticmethod(getattr(sharedmem, kind)) for kind in KINDS}
        made = type(case, (getattr(theirs, case), theirs.ProcessesMixin, unittest.TestCase), ours)
        for name in unittest.TestLoader().getTestCaseNames(made):
            if f"{case}.{name}" not in EXCLUDED and "repr" not in name:
                yield pytest.param(made, name, id=f"{case}.{name}")


@pytest.mark.parametrize(("case", "name"), list(cases()))
def test_as_theirs(case: type[unittest.TestCase], name: str) -> None:
    """What CPython demands of its own, ours do."""
    result = unittest.TestResult()
    case(name).run(result)
    assert not [text for _, text in result.failures + result.errors]
