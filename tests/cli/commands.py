"""The command line as users start it, and programs for it to look at."""

import json
import os
import subprocess
import sys

COMMAND = [sys.executable, "-m", "sharedmem"]

# Makes the array that the first argument describes; kills itself or ends as it is told.
MAKER = """
import sys
import numpy as np
import sharedmem
name, backend, kind = sys.argv[1:4]
keywords = {'name': name, 'backend': backend, 'persistent': kind == 'persistent'}
array = sharedmem.copy(np.arange(12.0).reshape(3, 4), **keywords)
if kind == 'sent':
    ticket = array._segment().ticket()
if kind in ('sent', 'persistent'):
    del array
print('ready', flush=True)
sys.stdin.readline()
"""


def run(*arguments, environ=None, **keywords):
    """Run the command line to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env=os.environ | (environ or {}),
        capture_output=True,
        text=True,
        **keywords,
    )


def output(*arguments, code=0, **keywords):
    """What it prints when it ends as expected, without a word on stderr."""
    done = run(*arguments, **keywords)
    assert (done.returncode, done.stderr) == (code, ""), (done.returncode, done.stderr, done.stdout)
    return done.stdout


def document(*arguments, code=0, **keywords):
    """The JSON document that it prints."""
    return json.loads(output(*arguments, "--json", code=code, **keywords))


def segments():
    """What `list` says, by name."""
    return {each["name"]: each for each in document("list", "--all")["segments"]}


def refusal(*arguments, code=1, **keywords):
    """The one line on stderr that it gives up with."""
    done = run(*arguments, **keywords)
    assert (done.returncode, done.stdout) == (code, ""), (done.returncode, done.stderr, done.stdout)
    assert done.stderr.startswith("sharedmem: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("sharedmem: ").rstrip("\n")
