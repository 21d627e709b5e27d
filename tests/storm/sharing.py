"""Deeds of an actor with what several change at once: a lock, a condition and a queue.

All actors of a round have the same three, by name. What a lock guards is a record in
the ledger, outside of the library; what is put into the queue follows from who put it
and from how much it has put before.
"""

from __future__ import annotations

import queue
import random
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import sharedmem
from storm.actor import DEEDS, Actor, Fault
from storm.ledger import CONDITION, COUNTED, ITEMS, LOCK, MAIN_FAMILY, OPERATION

ROOM = 64  # items in the queue
OWNER, BEFORE, AFTER, TOKENS = range(4)  # columns of what a lock guards
_ONE = np.uint64(1)


# ---- a lock, a condition ---------------------------------------------------------------


def _made(actor: Actor, kind: Any, name: int) -> Any:
    """They persist, so what they guard and they themselves are of one age."""
    if name not in actor.shared:
        actor.shared[name] = kind.attach_or_create(
            f"storm-{name}", persistent=True, backend=actor.ledger.settings["sync"]
        )
    return actor.shared[name]


@contextmanager
def _holding(actor: Actor, lock: Any, name: int) -> Iterator[np.ndarray]:
    """Within the block nobody else is; who died there has left a record that is to be mended."""
    guarded = actor.ledger.guarded[name - LOCK]
    try:
        lock.acquire()
    except sharedmem.OwnerDiedError:
        _mend(actor, lock, guarded)
    _begin(actor, guarded)
    yield guarded
    _end(actor, guarded)
    lock.release()


def _mend(actor: Actor, lock: Any, guarded: np.ndarray) -> None:
    guarded[OWNER] = 0
    guarded[AFTER] = guarded[BEFORE]
    lock.recover()
    actor.count("owners_dead")


def _begin(actor: Actor, guarded: np.ndarray) -> None:
    if guarded[OWNER] or guarded[BEFORE] != guarded[AFTER]:
        raise Fault(f"a lock was had while it was held: {guarded.tolist()}")
    guarded[OWNER] = actor.number + 1
    guarded[BEFORE] += _ONE


def _end(actor: Actor, guarded: np.ndarray) -> None:
    if guarded[OWNER] != actor.number + 1:
        raise Fault(f"another one came in while a lock was held here: {guarded.tolist()}")
    guarded[AFTER] += _ONE
    guarded[OWNER] = 0


def lock(actor: Actor, draw: random.Random) -> None:
    if actor.ledger.settings["vanish"]:
        return
    with _holding(actor, _made(actor, sharedmem.Lock, LOCK), LOCK):
        if draw.random() < 0.3:
            time.sleep(0.001)  # here they are killed, and here they are waited for


def notify(actor: Actor, draw: random.Random) -> None:
    if actor.ledger.settings["vanish"]:
        return
    condition = _made(actor, sharedmem.Condition, CONDITION)
    with _holding(actor, condition, CONDITION) as guarded:
        guarded[TOKENS] += _ONE
        condition.notify(draw.choice((1, 1, 3)))


def await_notice(actor: Actor, draw: random.Random) -> None:
    if actor.ledger.settings["vanish"]:
        return
    condition = _made(actor, sharedmem.Condition, CONDITION)
    with _holding(actor, condition, CONDITION) as guarded:
        if not guarded[TOKENS]:
            _end(actor, guarded)  # it is given back while this one waits
            try:
                condition.wait(draw.choice((0.001, 0.02)))
            except sharedmem.OwnerDiedError:
                _mend(actor, condition, guarded)
            _begin(actor, guarded)
        if guarded[TOKENS]:
            guarded[TOKENS] -= _ONE
            actor.count("notices")


# ---- a queue --------------------------------------------------------------------------


def _queue(actor: Actor) -> Any:
    while "queue" not in actor.shared:
        try:
            actor.shared["queue"] = sharedmem.Queue.attach("storm-queue")
        except sharedmem.SegmentNotFoundError:
            pass
        else:
            break
        try:
            actor.shared["queue"] = sharedmem.Queue(
                ROOM, name="storm-queue", backend=actor.ledger.settings["sync"]
            )
            actor.count("queues")
        except sharedmem.SegmentExistsError:
            time.sleep(0.001)
    return actor.shared["queue"]


def _bytes(number: int, serial: int, longest: int) -> bytes:
    draw = random.Random(f"{number}/{serial}")
    return draw.randbytes(draw.randrange(longest))


def _payload(actor: Actor, serial: int, draw: random.Random) -> tuple[str, Any]:
    """Bytes that fit or do not, or a message with an array in flight."""
    held = actor.pick(draw)
    if held is not None and draw.random() < 0.3 and isinstance(held.array, sharedmem.SharedArray):
        return "message", actor.pack(held)
    if actor.family == MAIN_FAMILY and draw.random() < 0.1:  # in a segment that its family keeps
        return "large", _bytes(actor.number, serial, 200_000)
    return "small", _bytes(actor.number, serial, 400)


def put(actor: Actor, draw: random.Random) -> None:
    row = actor.ledger.put[actor.number]
    serial = int(row[1])
    if actor.ledger.settings["vanish"] or serial == ITEMS:
        return
    kind, payload = _payload(actor, serial, draw)
    row[0] = serial + 1  # begun: who dies from here on has put it or not
    try:
        _queue(actor).put((actor.number, serial, kind, payload, zlib.crc32(payload)), timeout=0.02)
    except queue.Full:
        actor.count("queue_full")
        if kind == "message":
            _forget(actor, payload)
        return
    row[1] = serial + 1


def _forget(actor: Actor, message: bytes) -> None:
    head, body = struct.unpack_from("ii", message)
    actor.count("forgotten", sharedmem.forget(message[8 + head : 8 + head + body]))


def get(actor: Actor, draw: random.Random) -> None:
    if not actor.ledger.settings["vanish"]:
        _get(actor, draw.choice((0.0, 0.001, 0.05)))


def _get(actor: Actor, timeout: float) -> bool:
    try:
        item = _queue(actor).get(timeout=timeout)
    except queue.Empty:
        return False
    except sharedmem.SegmentNotFoundError as error:
        if actor.family == MAIN_FAMILY:
            raise Fault(f"a large item of a family that lives is not there: {error}") from None
        actor.count("items_excused")
        return True
    number, serial, kind, payload, checksum = item
    _account(actor, number, serial)
    if zlib.crc32(payload) != checksum:
        raise Fault(f"item {serial} of process {number} is not as it was put")
    if kind == "message":
        _open(actor, payload)
    elif payload != _bytes(number, serial, 400 if kind == "small" else 200_000):
        raise Fault(f"item {serial} of process {number} is another's")
    return True


def _account(actor: Actor, number: int, serial: int) -> None:
    ledger = actor.ledger
    if serial >= int(ledger.put[number, 0]):
        raise Fault(f"item {serial} of process {number} was never put")
    if ledger.got[number * ITEMS + serial]:
        raise Fault(f"item {serial} of process {number} came twice")
    ledger.got[number * ITEMS + serial] = 1
    if serial <= actor.last_of.get(number, -1):
        raise Fault(f"item {serial} of process {number} came after item {actor.last_of[number]}")
    actor.last_of[number] = serial
    actor.count("items")


def _open(actor: Actor, message: bytes) -> None:
    if actor.ledger.finish and actor.family != MAIN_FAMILY:
        _forget(actor, message)  # the other families may have ended
        return
    held = actor.unpack(message)
    if held is not None:
        actor.hold(held)


def empty(actor: Actor) -> None:
    """All that is left, by everybody who sees the end: whoever put the last one is among them."""
    if actor.ledger.settings["vanish"] or "queue" not in actor.shared:
        return
    actor.state[OPERATION] = COUNTED.index("get") + 1
    while _get(actor, 0.0):
        actor.held.clear()
    actor.state[OPERATION] = 0


DEEDS.update((deed.__name__, deed) for deed in (lock, notify, await_notice, put, get))
