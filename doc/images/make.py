"""Pictures of the command line's real output: SVG beside plain text.

Runs each command in a terminal of its own, with rich, beside processes that use
segments, and writes what it printed to the folder of this file. `make pictures`
runs it where no other segments are.
"""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent
COMMAND = Path(sys.executable).with_name("sharedmem")
COLUMNS, LINES = 96, 24

SIMULATE = """
import sys, multiprocessing, numpy as np, sharedmem
rows, columns = np.ogrid[-3:3:300j, -4:4:400j]
field = sharedmem.copy(np.sin(rows**2 + columns) * np.exp(-(rows**2 + columns**2) / 9), name='field')
walk = sharedmem.copy(np.random.default_rng(5).normal(size=1_000_000).cumsum(), name='walk')
model = sharedmem.zeros((512, 512), 'f4', name='model', persistent=True)
dtype = [('time', 'M8[ms]'), ('x', 'f8'), ('y', 'f8')]
records = sharedmem.zeros(5000, dtype, name='events', backend='sysv')
sent = multiprocessing.Queue()
sent.put(sharedmem.ones((1000, 1000), 'f4', name='frame-0017'))
sent.close()
sent.join_thread()
print('ready', flush=True)
sys.stdin.read()
"""
VIEW = """
import sys, sharedmem
used = [sharedmem.attach(name, 'r') for name in sys.argv[1:]]
print('ready', flush=True)
sys.stdin.read()
"""
CRASH = """
import sys, sharedmem
lost = sharedmem.zeros((2000, 1000), name='lost')
print('ready', flush=True)
sys.stdin.read()
"""
PROGRAMS = {"simulate.py": SIMULATE, "view.py": VIEW, "crash.py": CRASH}


def start(folder: str, program: str, *arguments: str) -> subprocess.Popen[bytes]:
    environ = {name: value for name, value in os.environ.items() if name != "SHAREDMEM_FAMILY"}
    environ["PATH"] = f"{COMMAND.parent}:{environ['PATH']}"
    if program == "crash.py":
        environ["SHAREDMEM_REAPER"] = "0"  # what it leaves is to be seen
    command = ["python", program, *arguments]
    process = subprocess.Popen(
        command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def output(*arguments: str, ticks: int = 0) -> str:
    """What the command prints on a terminal; with ticks, until ^C."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(LINES)}
        os.execv(COMMAND, [str(COMMAND), *arguments])
    ioctl(fd, TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    text = b""
    try:
        while part := os.read(fd, 65536):
            text += part
            if ticks and text.count(b"\033[H") > ticks:
                os.write(fd, b"\x03")
                ticks = 0
    except OSError:
        pass  # the other end is closed
    os.waitpid(pid, 0)
    os.close(fd)
    return text.decode().replace("\r\n", "\n").replace("^C", "")


def last_screen(text: str) -> str:
    return re.sub(r"\033\[(\?\d+[hl]|[KJ])", "", text.split("\033[H")[-2])


def draw(name: str, *arguments: str, text: str | None = None) -> None:
    """The SVG of what a terminal shows; the text as it goes into a pipe."""
    title = " ".join(["$ sharedmem", *arguments])
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), highlight=False)
    shown = Text.from_ansi((text or output(*arguments)).rstrip("\n"))
    console.print(shown, soft_wrap=True)
    console.save_svg(str(HERE / f"{name}.svg"), title=title, clear=False)
    plain = shown.plain
    if text is None:
        environ = os.environ | {"COLUMNS": str(COLUMNS), "LINES": str(LINES)}
        command = [str(COMMAND), *arguments]
        plain = subprocess.run(
            command, env=environ, stdout=subprocess.PIPE, text=True, check=False
        ).stdout
    lines = [line.rstrip() for line in plain.rstrip("\n").split("\n")]
    (HERE / f"{name}.txt").write_text("\n".join([title, *lines]) + "\n")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for program, source in PROGRAMS.items():
            Path(folder, program).write_text(source)
        maker = start(folder, "simulate.py")
        users = [start(folder, "view.py", "field", "walk"), start(folder, "view.py", "field")]
        time.sleep(7)  # new reapers sweep for the last time after five seconds
        victim = start(folder, "crash.py")
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        draw("list", "list")
        draw("show-plot", "show", "field", "--plot")
        draw("show-line", "show", "walk", "--plot")
        draw("clean", "clean")
        draw("watch", "watch", text=last_screen(output("watch", "--interval", "0.2", ticks=3)))
        draw("doctor", "doctor")
        for process in (*users, maker):
            process.communicate()
        subprocess.run([COMMAND, "unlink", "model"], check=True)


if __name__ == "__main__":
    main()
