"""The completion scripts complete, and evaluate nothing that a name says."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sharedmem
from sharedmem.cli import _parser

from .commands import output

FOLDER = Path(sys.executable).parent
DRIVER = """
PATH=$1:$PATH
source /dev/stdin <<< "$2"
shift 2
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_sharedmem
printf '%s\\n' "${COMPREPLY[@]}"
"""

needs_script = pytest.mark.skipif(
    not (FOLDER / "sharedmem").exists(), reason="the command is not installed beside this Python"
)


def complete(*words, folder=None):
    """What bash offers for the last of the words, in the folder."""
    script = output("completion", "bash")
    command = ["bash", "-c", DRIVER, "bash", FOLDER, script, "sharedmem", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split("\n")[:-1]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_syntax(shell, tmp_path):
    """The shell finds no fault with its script."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(output("completion", shell))
    done = subprocess.run([shell, "-n", tmp_path / "script"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


COMMANDS = ["list", "show", "clean", "unlink", "save", "load", "watch", "doctor", "completion"]


def test_commands():
    """The first word is a command or an option of all."""
    assert set(complete("")) == {*COMMANDS, "--version", "--help"}
    assert complete("li") == ["list"]
    assert complete("list", "--backend", "p") == ["posix"]


@pytest.mark.parametrize("command", COMMANDS)
def test_options(command):
    """With a command every option is completed that it has, and no other."""
    actions = _parser()._subparsers._group_actions[0].choices[command]._actions
    has = {option for action in actions for option in action.option_strings if option.startswith("--")}
    assert set(complete(command, "--")) == has


@needs_script
def test_names(name, tmp_path):
    """Names of segments are completed where one is asked for, quoted and never evaluated."""
    evil = f"{name} $(touch evil)"
    with sharedmem.zeros(3, name=name), sharedmem.zeros(3, name=evil):
        found = complete("show", name[:8], folder=tmp_path)
        assert found == [name, evil.replace(" ", "\\ ").replace("$(", "\\$\\(").replace(")", "\\)")]
        assert complete("unlink", "other", name) == found
        assert complete("save", name[:8]) == found
        assert complete("list", name[:8]) == [""]
    assert list(tmp_path.iterdir()) == []


def test_files(tmp_path):
    """Files are completed where one is asked for."""
    (tmp_path / "data.npy").touch()
    assert complete("load", str(tmp_path / "da")) == [str(tmp_path / "data.npy")]


ZSH = """
PATH=$1:$PATH
compdef() { }
compadd() { shift $(( ${@[(i)--]} )) 2>/dev/null; print -l -- $@ }
source /dev/stdin <<< "$2"
words=(sharedmem show '') CURRENT=3
_sharedmem
"""


@needs_script
@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_names_in_zsh(name):
    """zsh is offered the names as they are."""
    with sharedmem.zeros(3, name=name):
        script = output("completion", "zsh")
        done = subprocess.run(["zsh", "-fc", ZSH, "zsh", FOLDER, script], capture_output=True, text=True)
    assert name in done.stdout.splitlines(), done.stderr
