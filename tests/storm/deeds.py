"""Deeds of an actor with arrays: making, finding, looking, dropping, sending."""

from __future__ import annotations

import errno
import os
import random
import struct
from collections.abc import Callable

import sharedmem
from sharedmem.participant import context
from storm import contents
from storm.actor import DEEDS, Actor, Fault, Held
from storm.ledger import NAMES, PERSISTENT, RECORD, SLOTS

# ---- deeds: making, finding, looking ---------------------------------------------------


def _size(actor: Actor, draw: random.Random) -> int:
    """Words: mostly small; from 32768 on the cache maps header and data apart."""
    if actor.ledger.settings["warm"]:
        return draw.choice((500, 500, 33000))
    return draw.choices((8, 64, 500, 512, 4096, 33000, 131072), (10, 20, 10, 20, 25, 5, 1))[0]


def _size_of_name(name: int) -> int:
    return (64, 500, 4096, 33000)[name % 4]


def _backend(draw: random.Random) -> str | None:
    return draw.choice((None, "posix", "sysv"))


def _text(name: int) -> str:
    return f"storm-{name}"


def create(actor: Actor, draw: random.Random) -> None:
    array = sharedmem.empty(_size(actor, draw), "u8", backend=_backend(draw))
    held = Held(array, actor.new_serial(), len(array))
    contents.fill(array, held.serial)
    actor.count("arrays")
    actor.hold(held)


def zeros(actor: Actor, draw: random.Random) -> None:
    """Recycled or not, what is asked for as zeros is zero."""
    array = sharedmem.zeros(_size(actor, draw), "u8", backend=_backend(draw))
    if array.any():
        raise Fault("zeros() gave bytes that are not zero")
    held = Held(array, actor.new_serial(), len(array))
    contents.fill(array, held.serial)
    actor.count("arrays")
    actor.hold(held)


def create_named(actor: Actor, draw: random.Random) -> None:
    name = draw.randrange(PERSISTENT.start)
    stamp = actor.ledger.since(name)
    mine = [held for held in actor.held if held.name == name]
    try:
        array = sharedmem.zeros(_size_of_name(name), "u8", name=_text(name), backend=_backend(draw))
    except sharedmem.SegmentExistsError:
        actor.count("exists")
        return
    for held in mine:
        if actor.must_be_there(held):
            raise Fault(f"a second array got the name {name}")
    actor.hold(actor.adopt(array, name, stamp))


def replace(actor: Actor, draw: random.Random) -> None:
    name = draw.randrange(PERSISTENT.start)
    with actor.ledger.taking(name) as stamp:
        array = sharedmem.zeros(
            _size_of_name(name), "u8", name=_text(name), backend=_backend(draw), replace=True
        )
    actor.hold(actor.adopt(array, name, stamp))


def create_persistent(actor: Actor, draw: random.Random) -> None:
    """It stays: half of the time this process does not even keep it."""
    name = draw.choice(PERSISTENT)
    with actor.ledger.taking(name) as stamp:
        array = sharedmem.zeros(
            _size_of_name(name),
            "u8",
            name=_text(name),
            backend=_backend(draw),
            replace=True,
            persistent=True,
        )
    held = actor.adopt(array, name, stamp)
    actor.ledger.stands(name, stamp, held.serial, held.count)
    if draw.random() < 0.5:
        actor.hold(held)


def attach_or_create(actor: Actor, draw: random.Random) -> None:
    name = draw.randrange(PERSISTENT.start)
    stamp = actor.ledger.since(name)
    array = sharedmem.attach_or_create(_text(name), _size_of_name(name), "u8", backend=_backend(draw))
    actor.hold(actor.adopt(array, name, stamp))


def attach(actor: Actor, draw: random.Random) -> None:
    name = draw.randrange(NAMES)
    mode = draw.choice(("r+", "r+", "r", "c"))
    stamp = actor.ledger.since(name)
    mine = [held for held in actor.held if held.name == name]
    persistent = actor.ledger.standing(name)
    try:
        array = sharedmem.attach(_text(name), mode)
    except sharedmem.SegmentNotFoundError as error:
        for held in mine:
            if actor.must_be_there(held):
                raise Fault(f"number {held.serial} is mapped here and not found: {error}") from None
        if persistent and actor.ledger.standing(name) == persistent and not actor.ledger.vanished:
            raise Fault(f"number {persistent[0]} is persistent and not found: {error}") from None
        actor.count("missing")
        return
    if array[0] == 0 and mode != "r+":
        return  # it is being filled
    found = actor.adopt(array, name, stamp)
    for held in mine:
        if held.serial != found.serial and actor.must_be_there(held):
            raise Fault(f"number {found.serial} has the name of number {held.serial}, mapped here")
    actor.check(found)
    if mode == "c":
        array[:] = 0xDEAD  # nobody shall see it
    else:
        actor.held.append(found)


def look(actor: Actor, draw: random.Random) -> None:
    """Who only looks changes nothing for the others."""
    name = _text(draw.randrange(NAMES))
    if draw.random() < 0.9:
        sharedmem.exists(name)
        return
    listed = sharedmem.list_segments(internal=True)
    if listed and draw.random() < 0.1:
        draw.choice(listed).holders()


def reclaim(actor: Actor, draw: random.Random) -> None:
    actor.count("reclaimed", sharedmem.reclaim()[0])


def trim(actor: Actor, draw: random.Random) -> None:
    context.trim(draw.choice((0, 1 << 20)))


# ---- deeds: what is held ----------------------------------------------------------------


def verify(actor: Actor, draw: random.Random) -> None:
    held = actor.pick(draw)
    if held is None:
        return
    actor.check(held)
    shared = isinstance(held.array, sharedmem.SharedArray)
    if shared and not held.array.is_current() and actor.must_be_there(held):
        raise Fault(f"number {held.serial} (name {held.name}) is mapped here and has lost its name")


def view(actor: Actor, draw: random.Random) -> None:
    """The view stays, what it is a view of goes."""
    held = actor.pick(draw)
    if held is None or len(held.array) < 8:
        return
    start, step = draw.randrange(len(held.array) // 2), draw.choice((1, 1, 2, 3))
    held.array = held.array[start::step]
    held.start += start * held.step
    held.step *= step
    actor.check(held)


def drop(actor: Actor, draw: random.Random) -> None:
    if actor.held:
        actor.held.pop(draw.randrange(len(actor.held)))


def unlink(actor: Actor, draw: random.Random) -> None:
    held = actor.pick(draw)
    if held is None or not isinstance(held.array, sharedmem.SharedArray):
        return
    ledger = actor.ledger
    if held.name < 0:
        ledger.mark_gone(held.serial)
        _unlink(actor, held, lambda: ledger.gone[held.serial] == 1)
        return
    with ledger.taking(held.name) as stamp:
        alone = stamp is not None and held.stamp == stamp - 1
        _unlink(actor, held, lambda: alone and ledger.unchanged(held.name, stamp))


def _unlink(actor: Actor, held: Held, nobody_else: Callable[[], bool]) -> None:
    """[nobody_else] has taken, or begun to take, the name: asked when it is gone."""
    try:
        held.array.unlink()
    except sharedmem.SegmentNotFoundError as error:
        if nobody_else() and not actor.ledger.vanished:
            raise Fault(
                f"number {held.serial} (name {held.name}) had no name to take: {error}"
            ) from None
        actor.count("missing")


# ---- deeds: messages -------------------------------------------------------------------


def send(actor: Actor, draw: random.Random) -> None:
    held = actor.pick(draw)
    slot = draw.randrange(SLOTS)
    if held is None:
        return
    message = actor.pack(held)
    if len(message) > RECORD:
        if isinstance(held.array, sharedmem.SharedArray) and actor.must_be_there(held):
            raise Fault(f"number {held.serial} (name {held.name}) goes by content, though it has a name")
        actor.count("too_large")
        return
    try:
        os.write(actor.mailboxes[slot], message.ljust(RECORD, b"\0"))
    except BlockingIOError:
        actor.count("mailbox_full")
        head, body = struct.unpack_from("ii", message)
        actor.count("forgotten", sharedmem.forget(message[8 + head : 8 + head + body]))
        return
    if draw.random() < 0.5:
        actor.held.remove(held)


def receive(actor: Actor, draw: random.Random) -> None:
    held = receive_from(actor, actor.slot)
    if held and held.array is not None:
        actor.hold(held)


def receive_from(actor: Actor, slot: int) -> Held | None:
    """What lies in a mailbox; None where nothing does. Its array is None when it is missing."""
    try:
        message = os.read(actor.mailboxes[slot], RECORD)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            return None
        raise
    held = actor.unpack(message)
    return held or Held(None, 0, 0)


def drain(actor: Actor, slot: int) -> None:
    """Receive all that is left."""
    while held := receive_from(actor, slot):
        if held.array is not None:
            actor.check(held)


DEEDS.update(
    (deed.__name__, deed)
    for deed in (
        create, zeros, create_named, replace, attach_or_create, create_persistent, attach, send, receive,
        view, drop, unlink, verify, look, reclaim, trim,
    )
)  # fmt: skip
