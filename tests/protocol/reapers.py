"""A family's reaper, found and watched without the library under test."""

import os
import select
import signal
import time

import pytest

from . import kernel

PATIENCE = 30  # seconds; reached only when something never happens


def until(condition, *args):
    """Ask the kernel again and again until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not condition(*args):
        assert time.monotonic() < deadline, f"never came true: {condition.__name__}{args}"
        time.sleep(0.005)


class Reaper:
    """The one reaper of a family."""

    def __init__(self, family, uid=None, visible=True):
        if visible:  # its file is in this /dev/shm
            until(kernel.is_guarded, family, uid)
        until(lambda: len(kernel.reapers(family)) == 1)  # of several that started one holds
        (self.pid,) = kernel.reapers(family)
        self.pidfd = os.pidfd_open(self.pid)

    def has_ended(self, patience=0):
        """Whether it has ended, or does so in time."""
        return bool(select.select([self.pidfd], [], [], patience)[0])

    def await_end(self):
        """Return when it is gone."""
        assert self.has_ended(PATIENCE), "the reaper does not end"

    def await_sleep(self, sleeps=kernel.sleeps):
        """Return when it has done all that there is to do, and waits for the next death."""
        try:
            until(lambda: sleeps(self.pid))
        except PermissionError:
            pytest.skip("this user may not see what a process waits for")

    def kill(self):
        """End it, so that it is not replaced by itself."""
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        self.await_end()

    def stop(self):
        """Stop it where it is."""
        signal.pidfd_send_signal(self.pidfd, signal.SIGSTOP)
        until(lambda: kernel.state(self.pid) == "T")

    def resume(self):
        """Let it go on."""
        signal.pidfd_send_signal(self.pidfd, signal.SIGCONT)

    def close(self):
        """End it if a test that failed has left it stopped."""
        if not self.has_ended():
            self.resume()
        os.close(self.pidfd)
