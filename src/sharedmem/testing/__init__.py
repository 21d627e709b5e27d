"""For tests of code that uses sharedmem: who leaks, and what a SIGKILL leaves.

`leak_guard` is also there for pytest, as the fixture ``no_leaks``; see
``pytest_sharedmem``, which is registered with pytest but does nothing unless it
is asked to.
"""

from __future__ import annotations

from sharedmem.testing.deaths import Death, deaths
from sharedmem.testing.leaks import Leak, LeakError, leak_guard

__all__ = ["Death", "Leak", "LeakError", "deaths", "leak_guard"]
