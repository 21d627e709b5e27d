"""Deeds of an actor that begin or end a process, or change whom it belongs to."""

from __future__ import annotations

import multiprocessing
import os
import queue
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sharedmem
from sharedmem.participant import context
from storm import contents
from storm.actor import DEEDS, EXITED, WARM, WEIGHTS, Actor, Fault, Held, guarded, is_alive
from storm.ledger import FAMILY, MAIN_FAMILY, PID

DAEMONS = 8
CHILD = frozenset(WEIGHTS) | frozenset(WARM) | {"exit", "die", "kill"}
SHARING = frozenset(("lock", "notify", "await_notice", "put", "get"))
DAEMON = CHILD | {"fork", "leave_family"}


def meet_family(actor: Actor) -> None:
    """All that the host started are of one family, and so is what they became."""
    name = sharedmem.family()
    if actor.family == MAIN_FAMILY and actor.ledger.agree_on_family(name) != name:
        raise Fault(
            f"this process is of the family {name}, others of {actor.ledger.agree_on_family(name)}"
        )


def await_children(actor: Actor) -> None:
    while actor.forked:
        pid = actor.forked.pop()
        actor.judge_end(pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _branch(actor: Actor) -> str:
    actor.branches += 1
    return f"{actor.path}/{actor.branches}"


# ---- one's own end -------------------------------------------------------------------------


def exit(actor: Actor, draw: random.Random) -> None:
    actor.ledger.leave(actor.number)
    os._exit(EXITED)


def die(actor: Actor, draw: random.Random) -> None:
    actor.ledger.leave(actor.number)
    os.kill(os.getpid(), signal.SIGKILL)


def leave(actor: Actor, draw: random.Random) -> None:
    """The orderly end of a process that is not multiprocessing's; some use what they have to the last."""
    held = list(actor.held) if draw.random() < 0.7 else []
    actor.end()
    context.leave()
    for one in held * 3:
        actor.check(one)
    os._exit(0)


def become_true(actor: Actor, draw: random.Random) -> None:
    actor.ledger.leave(actor.number)
    os.execve("/bin/true", ["true"], {})


_ENDS = (exit, die, leave, become_true)


def execute(actor: Actor, draw: random.Random) -> None:
    """Become another program, which goes on in this slot."""
    if not actor.in_slot:
        return
    actor.ledger.leave(actor.number)
    arguments = [str(actor.ledger.folder), _branch(actor), str(actor.slot), str(actor.family)]
    os.execv(sys.executable, [sys.executable, "-m", "storm.actor", *arguments])


def leave_family(actor: Actor, draw: random.Random) -> None:
    actor.family = 1 + actor.number * 1000 + actor.branches % 1000
    actor.branches += 1
    actor.state[FAMILY] = actor.family  # first: what was sent before may be void now
    sharedmem.new_family()


# ---- the end of others ------------------------------------------------------------------------


def kill(actor: Actor, draw: random.Random) -> None:
    others = [number for number in actor.ledger.listed() if number != actor.number]
    if not others:
        return
    number = draw.choice(others)
    pid = int(actor.ledger.processes[number, PID])
    if not is_alive(pid, actor.ledger.folder):
        actor.ledger.leave(number)
        return
    try:
        os.kill(pid, signal.SIGKILL)
        actor.count("killed")
    except ProcessLookupError:
        pass
    actor.ledger.leave(number)


# ---- forked children ---------------------------------------------------------------------------


def _go_on(actor: Actor, path: str, steps: int, only: frozenset[str], draw: random.Random) -> None:
    """In a forked child without open files: live on with what was inherited. Does not return."""
    actor.in_slot = False
    actor.begin(actor.ledger.folder, path, actor.family)

    def life() -> None:
        for held in actor.held:
            actor.check(held)
            actor.count("inherited")
        if only is DAEMON and draw.random() < 0.5:
            leave_family(actor, draw)
        actor.live(steps, only)
        await_children(actor)
        draw.choice(_ENDS)(actor, draw)

    code = guarded(actor, life)
    actor.ledger.leave(actor.number)
    os._exit(code)


def fork(actor: Actor, draw: random.Random) -> None:
    actor.reap()
    if actor.ledger.crowded:
        return
    path, steps, wait = _branch(actor), draw.randrange(40), draw.random() < 0.5
    pid = os.fork()
    if pid == 0:
        actor.close_files()
        _go_on(actor, path, steps, CHILD, draw)
    actor.forked.add(pid)
    if wait:
        await_children(actor)


def kill_sharing(actor: Actor, draw: random.Random) -> None:
    """A child that does nothing but what several do at once, killed wherever it is."""
    if actor.ledger.crowded:
        return
    path = _branch(actor)
    pid = os.fork()
    if pid == 0:
        actor.close_files()
        _go_on(actor, path, 100_000, SHARING, draw)
    time.sleep(draw.choice((0.01, 0.05, 0.2)) * (1 + draw.random()))
    os.kill(pid, signal.SIGKILL)
    actor.judge_end(pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    actor.count("killed")


def daemonise(actor: Actor, draw: random.Random) -> None:
    """A child of nobody, which closes every fd."""
    if actor.ledger.crowded or not actor.ledger.add_daemon(DAEMONS):
        return
    path, steps = _branch(actor), draw.randrange(100, 3000)
    pid = os.fork()
    if pid != 0:
        os.waitpid(pid, 0)
        return
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    os.chdir("/")
    actor.close_files()
    os.closerange(3, 4096)
    for fd in range(3):
        os.dup2(os.open(os.devnull, os.O_RDWR), fd)
    _go_on(actor, path, steps, DAEMON, draw)


# ---- workers of multiprocessing -----------------------------------------------------------------------


class Channel:
    """One way for arrays: a pipe, a Queue or a SimpleQueue of multiprocessing."""

    def __init__(self, kind: str, made: Any) -> None:
        self.kind = kind
        if kind == "pipe":
            self.reader, self.writer = made.Pipe(duplex=False)
        else:
            self.reader = self.writer = made.Queue() if kind == "queue" else made.SimpleQueue()

    def put(self, message: Any) -> None:
        (self.writer.send if self.kind == "pipe" else self.writer.put)(message)

    def get(self, others_live: Callable[[], bool]) -> Any:
        """The next message. None when there is none and will not be."""
        last = False
        while True:
            if self._is_ready():
                return self._take()
            if last:
                return None
            last = not others_live()
            time.sleep(0.002)

    def _is_ready(self) -> bool:
        if self.kind == "pipe":
            return bool(self.reader.poll(0))
        return not self.reader.empty()

    def _take(self) -> Any:
        if self.kind == "queue":
            try:
                return self.reader.get(timeout=10)
            except queue.Empty:
                return None
        return self.reader.recv() if self.kind == "pipe" else self.reader.get()

    def flush(self) -> None:
        if self.kind == "queue":
            self.writer.close()
            self.writer.join_thread()

    def close(self) -> None:
        if self.kind == "queue":
            self.writer.cancel_join_thread()
        self.reader.close()
        if self.writer is not self.reader:
            self.writer.close()


def _fresh(actor: Actor, draw: random.Random) -> Held:
    """An array that nobody else knows."""
    array = sharedmem.empty(
        draw.choice((8, 500, 4096)), "u8", backend=draw.choice((None, "posix", "sysv"))
    )
    held = Held(array, actor.new_serial(), len(array))
    contents.fill(array, held.serial)
    actor.count("arrays")
    return held


def _received(actor: Actor, message: Any) -> None:
    serial, array = message
    actor.check(Held(array, serial, len(array)))
    actor.count(
        "received_by_name" if isinstance(array, sharedmem.SharedArray) else "received_by_content"
    )


def _work(
    folder: Path,
    path: str,
    slot: int,
    family: int,
    first: Any,
    there: Channel,
    back: Channel,
    n: int,
    end: str,
) -> None:
    """A worker: as many arrays out as in, and then an end."""
    actor = Actor(folder, path, slot, family)
    draw = random.Random(f"{actor.ledger.settings['seed']}/{path}/work")
    parent = multiprocessing.parent_process()
    assert parent is not None

    def life() -> None:
        _received(actor, first)
        for _ in range(n):
            message = there.get(parent.is_alive)
            if message is None:
                return
            _received(actor, message)
            actor.state[1] += 1
            if draw.random() < 0.5:
                held = _fresh(actor, draw)
                back.put((held.serial, held.array))
            else:
                back.put(message)

    code = guarded_unless_over(actor, life)
    actor.ledger.leave(actor.number)
    if end != "return" or code:
        back.flush()
    if code:
        os._exit(code)
    if end == "exit":
        os._exit(EXITED)
    if end == "die":
        os.kill(os.getpid(), signal.SIGKILL)


def guarded_unless_over(actor: Actor, life: Callable[[], None]) -> int:
    """As guarded(); but files may have vanished, and a family may have ended with its one member."""

    def excused() -> None:
        try:
            life()
        except sharedmem.SegmentNotFoundError:
            if actor.family == MAIN_FAMILY and not actor.ledger.vanished:
                raise
            actor.count("excused")

    return guarded(actor, excused)


def worker(actor: Actor, draw: random.Random) -> None:
    ledger = actor.ledger
    if not actor.in_slot or ledger.crowded:
        return
    method = ledger.settings["method"]
    made = multiprocessing.get_context(method)
    named = method != "fork" and ledger.settings["vanish"]  # then semaphores are files of /dev/shm
    kind = draw.choice(("pipe", "queue", "simple_queue"))
    there, back = (Channel("pipe" if named else kind, made) for _ in range(2))
    end, n = draw.choice(("return", "exit", "die")), draw.randrange(1, 6)
    first = _fresh(actor, draw)
    arguments = (
        ledger.folder, _branch(actor), actor.slot, actor.family, (first.serial, first.array), there, back, n, end,
    )  # fmt: skip
    process = made.Process(target=_work, args=arguments)
    process.start()
    try:
        _converse(actor, draw, process, there, back, n, late=draw.random() < 0.5)
    finally:
        there.close()
        back.close()


def _converse(
    actor: Actor, draw: random.Random, process: Any, there: Channel, back: Channel, n: int, late: bool
) -> None:
    """[late]: what the worker sent is received when it is gone."""
    try:
        for _ in range(n):
            held = _fresh(actor, draw)
            there.put((held.serial, held.array))
            del held
    except BrokenPipeError:
        pass
    if late:
        process.join()
    for _ in range(n):
        try:
            message = back.get(process.is_alive)
        except sharedmem.SegmentNotFoundError as error:
            if not actor.ledger.vanished:
                raise Fault(f"what a worker sent is not there: {error}") from None
            actor.count("excused")
            continue
        if message is None:
            actor.count("lost")
            break
        _received(actor, message)
    process.join()
    if not (actor.ledger.vanished and process.exitcode == 1):  # its arguments were gone
        actor.judge_end(process.pid, process.exitcode)


DEEDS.update(
    (deed.__name__, deed)
    for deed in (exit, die, leave_family, execute, kill, fork, kill_sharing, daemonise, worker)
)
