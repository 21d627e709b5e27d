"""What a terminal shows: rich's tables or plain ones, and `watch` until ^C."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys

import pytest

import sharedmem

from .commands import COMMAND, document

ENTER, LEAVE = b"\x1b[?1049h\x1b[?25l", b"\x1b[?25h\x1b[?1049l"
HOME = b"\x1b[H"


@pytest.fixture(params=["rich", "plain"])
def environ(request, tmp_path_factory):
    """The environment with rich, and one in which it cannot be imported."""
    terminal = {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "30"}
    for name in ("NO_COLOR", "FORCE_COLOR"):
        os.environ.pop(name, None)
    if request.param == "rich":
        pytest.importorskip("rich")
        return os.environ | terminal
    folder = tmp_path_factory.mktemp("without")
    (folder / "rich.py").write_text("raise ImportError")
    return os.environ | terminal | {"PYTHONPATH": str(folder)}


class Terminal:
    """A command that runs on a terminal of its own, whose ^C interrupts it."""

    def __init__(self, environ, *arguments):
        self.seen = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.execve(sys.executable, [*COMMAND, *arguments], environ)
            finally:
                os._exit(127)

    def see(self, text, times=1):
        """Wait until it was shown so many times."""
        while self.seen.count(text) < times:
            part = self._read()
            assert part, self.seen
        return self.seen

    def end(self):
        """All that it shows to its end, and the exit code."""
        while self._read():
            pass
        os.close(self.fd)
        return self.seen, os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self):
        part = b""
        with contextlib.suppress(OSError):  # its other end is closed
            part = os.read(self.fd, 65536)
        self.seen += part
        return part


def test_table_on_a_terminal(make, name, environ):
    """rich draws a table in colours; without it the terminal gets the plain one."""
    program = make()
    seen, code = Terminal(environ, "list").end()
    assert code == 0 and name.encode() in seen and b"MAPPED BY" in seen
    assert (b"\x1b[32mmapped" in seen) == ("PYTHONPATH" not in environ)
    program.end()


def test_watch_until_interrupted(make, name, environ):
    """The table is drawn again and again; ^C ends it with 0 and gives the terminal back."""
    program = make()
    terminal = Terminal(environ, "watch", "--interval", "0.05")
    terminal.see(name.encode(), 3)
    os.write(terminal.fd, b"\x03")
    seen, code = terminal.end()
    assert code == 0 and seen.startswith(ENTER) and b"Traceback" not in seen
    assert seen.rstrip().endswith(LEAVE) and seen.count(name.encode()) >= 3
    program.end()


def test_watch_until_terminated(environ):
    """SIGTERM gives the terminal back, too."""
    terminal = Terminal(environ, "watch", "--interval", "0.05")
    terminal.see(HOME)
    os.kill(terminal.pid, signal.SIGTERM)
    seen, code = terminal.end()
    assert code == 128 + signal.SIGTERM and seen.endswith(LEAVE)


def watch(*arguments):
    return subprocess.Popen(
        [*COMMAND, "watch", "--interval", "0.05", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def interrupt(command):
    command.send_signal(signal.SIGINT)
    assert command.communicate()[1] == "" and command.returncode == 0


def test_watch_into_a_pipe(make, name):
    """Where there is no terminal one plain table follows the other."""
    program = make()
    command = watch()
    lines = []
    while sum(name in line for line in lines) < 2:
        lines.append(command.stdout.readline())
    assert "\x1b" not in "".join(lines)
    interrupt(command)
    program.end()


def test_watch_as_json(make, name):
    """With --json each tick is a line with a document, and what changes is seen."""
    program = make()
    command = watch("--json")
    tick = json.loads(command.stdout.readline())
    assert [each["name"] for each in tick["segments"]] == [name]
    program.end()
    while tick["segments"]:
        tick = json.loads(command.stdout.readline())
    assert tick.keys() == {"time", "segments"}
    interrupt(command)


def test_watch_shows_what_users_have_made(name):
    """Only with --all what the library has for itself."""
    lock, array = sharedmem.Lock(), sharedmem.zeros(3, name=name)
    for arguments, shown in (((), {array.name}), (("--all",), {array.name, lock.name})):
        command = watch("--json", *arguments)
        tick = json.loads(command.stdout.readline())
        assert {each["name"] for each in tick["segments"]} == shown
        interrupt(command)


def test_watch_for_a_reader_that_ends():
    """The end of the reader ends it without a word."""
    command = watch("--json")
    command.stdout.readline()
    command.stdout.close()
    assert command.wait() == 0 and command.stderr.read() == ""
    command.stderr.close()


def test_without_an_output():
    """Where it was closed nothing is said, and nothing goes wrong."""
    for closed in ">&-", "2>&-", ">&- 2>&-":
        done = subprocess.run(
            ["sh", "-c", f'"$@" {closed}', "sh", *COMMAND, "list"], capture_output=True
        )
        assert (done.returncode, done.stderr) == (0, b"")


def test_plot_in_colours(environ, name):
    """On a terminal a 2-d array is drawn with half blocks of 24 greys."""
    import sharedmem

    with sharedmem.ones((4, 4), name=name):
        seen, code = Terminal(environ, "show", name, "--plot").end()
        assert code == 0 and "▀".encode() in seen
        seen, code = Terminal(environ | {"NO_COLOR": "1"}, "show", name, "--plot").end()
        assert code == 0 and "▀".encode() not in seen
    assert document("list") == {"segments": []}


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (100, 30)], ids=str)
@pytest.mark.parametrize("shape", [(5000,), (300, 300), (40, 3)], ids=str)
def test_plot_fits_on_the_screen(environ, name, size, shape):
    """Name, dtype and shape stay on the screen that the drawing is on, with the prompt below."""
    import sharedmem

    columns, rows = size
    environ = environ | {"COLUMNS": str(columns), "LINES": str(rows)}
    with sharedmem.ones(shape, name=name):
        seen, code = Terminal(environ, "show", name, "--plot").end()
    shown = seen.decode().rstrip("\n").split("\n")
    assert code == 0 and len(shown) <= rows - 1
    for title, value in ("name", name), ("dtype", "float64"), ("shape", str(shape)):
        assert [line for line in shown if line.startswith(title) and value in line]
