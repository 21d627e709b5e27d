"""What SIGKILL leaves behind. It starts station.py, twice.

    python examples/tutorial/crash.py
"""

import subprocess
import sys
from pathlib import Path

from visitor import wait_for

import sharedmem

STATION = Path(__file__).with_name('station.py')


def start_station():
    return subprocess.Popen([sys.executable, STATION])


def kill(program):
    program.kill()  # SIGKILL, as kill -9: no handler runs, nothing is tidied up
    program.wait()


def holders():
    return len(sharedmem.stat('tide').holders())


def main():
    # Killed while another process, this one, has the array attached.
    station = start_station()
    level = wait_for('tide')
    print('two processes have it:', holders())
    kill(station)
    print('station is killed, we have it:', holders(), 'with', level.mean())
    del level
    print('we drop it:', sharedmem.exists('tide'))

    # Killed when nobody else has it.
    station = start_station()
    wait_for('tide')  # attached and dropped at once
    kill(station)
    sharedmem.reclaim()  # what any program of yours does that makes or attaches an array
    print('killed alone, after the next look:', sharedmem.exists('tide'))

    # persistent=True is for arrays that shall wait without users.
    sharedmem.ones(3, name='tide', persistent=True)
    print('persistent, without users:', sharedmem.exists('tide'))
    sharedmem.unlink('tide')
    print('unlinked:', sharedmem.exists('tide'))


if __name__ == '__main__':
    main()
