"""CPython's own tests of `multiprocessing.Queue`, with ours in its place."""

from __future__ import annotations

import multiprocessing
import sys
import unittest

import pytest

import sharedmem

theirs = pytest.importorskip("test._test_multiprocessing", reason="CPython's tests are not installed")

# Which of theirs are not run, and why.
EXCLUDED = {
    "test_queue_feeder_donot_stop_onexc": "put() itself raises what pickling raises",
    "test_queue_feeder_on_queue_feeder_error": "put() itself raises; a hook of a thread that we lack",
    "test_closed_queue_empty_exceptions": "empty() of a closed queue is no error: nothing was closed that it needs",
}


class QueueTest(theirs._TestQueue, theirs.ProcessesMixin, unittest.TestCase):
    """Theirs, run as they are, by the tests below."""

    __test__ = False

    Queue = staticmethod(sharedmem.Queue)
    JoinableQueue = staticmethod(sharedmem.JoinableQueue)


NAMES = [name for name in unittest.TestLoader().getTestCaseNames(QueueTest) if name not in EXCLUDED]


@pytest.mark.parametrize("name", NAMES)
def test_as_theirs(name, start_method, monkeypatch):
    """What CPython demands of its queue, ours does."""
    context = multiprocessing.get_context(start_method)
    monkeypatch.setattr(multiprocessing, "Queue", sharedmem.Queue)
    for used in ("Process", "Event", "Lock"):
        monkeypatch.setattr(QueueTest, used, staticmethod(getattr(context, used)), raising=False)
    result = unittest.TestResult()
    QueueTest(name).run(result)
    assert not result.skipped
    assert not [text for _, text in result.failures + result.errors]


@pytest.mark.parametrize("name", EXCLUDED)
def test_what_is_excluded_exists(name):
    """An exclusion that no test has any more is a mistake; older versions lack some."""
    assert hasattr(theirs._TestQueue, name) or sys.version_info < (3, 13)
