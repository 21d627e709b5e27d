"""pytest's side of `sharedmem.testing.leak_guard`.

pytest loads this for everybody who has sharedmem installed. So it is a module
of its own, which imports nothing of the package until a test is guarded: the
import would make each pytest run a participant.

``no_leaks``
    fixture: the test must leave nothing behind.
``--sharedmem-leak-guard``, or ``sharedmem_leak_guard = true`` in the ini-file
    the same for every test, but for those marked ``may_leak``.
``sharedmem_leak_patience = 5``
    seconds to wait for what is just ending.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

_RAISED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option and what may stand in the ini-file."""
    group = parser.getgroup("sharedmem")
    group.addoption(
        "--sharedmem-leak-guard",
        action="store_true",
        help="every test must leave no segment, file in /dev/shm, fd or child process behind",
    )
    parser.addini("sharedmem_leak_guard", "as --sharedmem-leak-guard", type="bool", default=False)
    parser.addini("sharedmem_leak_patience", "seconds to wait for what is just ending", default="5")


def pytest_configure(config: pytest.Config) -> None:
    """Guard every test where that was asked for."""
    config.addinivalue_line("markers", "may_leak: not judged by sharedmem's leak guard")
    if config.getoption("sharedmem_leak_guard") or config.getini("sharedmem_leak_guard"):
        config.pluginmanager.register(_Everywhere(), "sharedmem-leak-guard")


class _Everywhere:
    """Guards every test. Registered only where that was asked for."""

    @pytest.fixture(autouse=True)
    def _no_leaks_anywhere(self, no_leaks: None) -> None:
        pass


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember which tests have raised."""
    report = yield
    if call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
        item.stash[_RAISED] = True
    return report


@pytest.fixture
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """The test leaves no segment, file in /dev/shm, fd or child process behind.

    A test that raised is not judged: its traceback keeps what it had. Nor is one
    that is marked ``may_leak``. What other fixtures hold is judged if they are
    set up later, and so torn down before.
    """
    from sharedmem.testing import leaks

    before = leaks.held()
    yield
    node = request.node
    getattr(node, "funcargs", {}).clear()  # arrays that fixtures made
    if node.stash.get(_RAISED, False) or node.get_closest_marker("may_leak") is not None:
        return
    left = leaks.left_since(before, float(request.config.getini("sharedmem_leak_patience")))
    if left:
        pytest.fail(str(leaks.LeakError(left)), pytrace=False)
