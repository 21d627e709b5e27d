"""Processes of every kind the library meets, started for a test and ended with it."""

import contextlib
import faulthandler
import multiprocessing
import os
import resource
import select
import signal
import subprocess
import sys
import traceback


def exit_at_once():
    os._exit(0)


def kill_oneself():
    os.kill(os.getpid(), signal.SIGKILL)


def become_another_program():
    os.execve("/bin/true", ["true"], {})


def crash():
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.abort()


# How a process ends without cleaning up, and the exit code that shows it did.
DEATHS = {
    exit_at_once: 0,
    kill_oneself: -signal.SIGKILL,
    become_another_program: 0,
    crash: -signal.SIGABRT,
}


def environment(family=None, reaper=False):
    """This process's environment, with a family of the given name instead of its own.

    With [reaper] that family has one; else it depends on how the tests were started.
    """
    changes = {} if family is None else {"SHAREDMEM_FAMILY": family}
    return os.environ | changes | ({"SHAREDMEM_REAPER": "1"} if reaper else {})


def python(source, *args):
    """Command line of a script given as text; its warnings are shown."""
    return [sys.executable, "-W", "always", "-c", source, *map(str, args)]


class Program(subprocess.Popen):
    """A program, leader of its process group, that is spoken to in lines."""

    def __init__(self, command, environ):
        super().__init__(
            command,
            env=environ,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def hear(self):
        """The next line of its output; the program's error output if it ended instead."""
        line = self.stdout.readline()
        if not line:
            raise AssertionError(f"the program ended: {self.stderr.read()}")
        return line.rstrip("\n")

    def say(self, line=""):
        self.stdin.write(line + "\n")
        self.stdin.flush()

    def end(self, input=None):
        """Let it run to its end, which must be an orderly and silent one."""
        output, errors = self.communicate(input)
        assert (self.returncode, errors) == (0, ""), (self.returncode, errors)
        return output.splitlines()


class Processes:
    """Starts processes and sees to it that none is left."""

    def __init__(self):
        self._forked = set()
        self._pipes = []
        self._programs = []
        self._workers = []
        self._strangers = {}

    def fork(self, function, *args):
        """Call the function in a forked child, which then ends without any cleaning up."""
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                function(*args)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        self._forked.add(pid)
        return pid

    def fork_with_pipe(self, function, *args):
        """As fork(), with one end of a pipe as first argument; returns the pid and the other end."""
        here, there = multiprocessing.Pipe()
        self._pipes.append(here)
        with there:
            return self.fork(function, there, *args), here

    def wait(self, pid):
        """The exit code of a forked child, negative for a signal."""
        _, status = os.waitpid(pid, 0)
        self._forked.discard(pid)
        return os.waitstatus_to_exitcode(status)

    def kill(self, pid):
        """SIGKILL a forked child and wait until it is gone."""
        os.kill(pid, signal.SIGKILL)
        assert self.wait(pid) == -signal.SIGKILL

    def worker(self, start_method, target, *args):
        """Start a multiprocessing worker."""
        worker = multiprocessing.get_context(start_method).Process(target=target, args=args)
        worker.start()
        self._workers.append(worker)
        return worker

    def program(self, source, *args, environ=None):
        """Start a script; by default it inherits this process's family."""
        return self._keep(Program(python(source, *args), environ))

    def start(self, command, environ=None):
        """Start a program given by its command line."""
        return self._keep(Program(command, environ))

    def orphan(self, command, environ=None):
        """Start a program none of whose ancestors is a participant.

        It must read one line before it imports the library: it is sent once its
        parent is gone. Returns the program (whose own end is that of the parent)
        and the orphan's pid.
        """
        shell = 'exec 3<&0; "$@" <&3 3<&- & echo $!'
        parent = self._keep(Program(["/bin/sh", "-c", shell, "sh", *command], environ))
        pid = int(parent.hear())
        self.adopt(pid)
        parent.wait()
        parent.say("your parent is gone")
        return parent, pid

    def adopt(self, pid):
        """Look after a living process that is nobody's child here."""
        self._strangers[pid] = os.pidfd_open(pid)

    def await_end(self, pid):
        """Return when an adopted process is gone, mappings and all."""
        pidfd = self._strangers.pop(pid)
        select.select([pidfd], [], [])
        os.close(pidfd)

    def close(self):
        """End all that still runs."""
        for pid in self._forked:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for pipe in self._pipes:
            pipe.close()
        for program in self._programs:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)  # its children too
            with contextlib.suppress(BrokenPipeError):
                program.stdin.close()
            program.stdout.close()
            program.stderr.close()
            program.wait()
        for worker in self._workers:
            worker.kill()
            worker.join()
            worker.close()
        for pid in list(self._strangers):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._strangers[pid], signal.SIGKILL)
            self.await_end(pid)

    def _keep(self, program):
        self._programs.append(program)
        return program


def run(source, *args, environ=None):
    """Run a script to its orderly and silent end; the lines it printed."""
    done = subprocess.run(python(source, *args), env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), (done.returncode, done.stderr)
    return done.stdout.splitlines()
