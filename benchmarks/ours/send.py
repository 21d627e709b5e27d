"""Pickling references, and sending them to a process that answers."""

from __future__ import annotations

import multiprocessing
import pickle
from typing import Any

import sharedmem


class Dumps:
    """The descriptor of a mapped array, and back."""

    def setup(self) -> None:
        self.array = sharedmem.ones(1000)
        self.pickled = pickle.dumps(self.array)

    def time_dumps(self) -> None:
        pickle.dumps(self.array)

    def time_loads(self) -> None:
        pickle.loads(self.pickled)

    def teardown(self) -> None:
        del self.array


def answer(get: Any, put: Any) -> None:
    while (item := get()) is not None:
        del item
        put(1)


class RoundTrip:
    """An array by name to an echoing process, one byte back."""

    params = (["Queue", "SimpleQueue", "Pipe"], [1024, 100 << 20])
    param_names = ("way", "nbytes")

    def item(self, nbytes: int) -> Any:
        return sharedmem.zeros(nbytes // 8)

    def setup(self, way: str, nbytes: int) -> None:
        context = multiprocessing.get_context("fork")
        if way == "Pipe":
            here, there = context.Pipe()
            self.put, self.get, ends = here.send, here.recv, (there.recv, there.send)
        else:
            inbox, outbox = getattr(context, way)(), getattr(context, way)()
            self.put, self.get, ends = inbox.put, outbox.get, (inbox.get, outbox.put)
        self.worker = context.Process(target=answer, args=ends)
        self.worker.start()
        self.sent = self.item(nbytes)
        self.time_trip(way, nbytes)

    def time_trip(self, way: str, nbytes: int) -> None:
        self.put(self.sent)
        self.get()

    def teardown(self, way: str, nbytes: int) -> None:
        del self.sent
        self.put(None)
        self.worker.join()
