"""What SIGKILL leaves behind. It starts station.py, twice.

    python examples/tutorial/crash.py
"""

import subprocess
import sys
import time
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


def still_there(name, seconds=10):
    """Whether the name stays; False as soon as the family's reaper has freed it."""
    for _ in range(seconds * 20):
        if not sharedmem.exists(name):
            return False
        time.sleep(0.05)
    return True


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
    print('killed alone, two seconds later:', still_there('tide'))

    # persistent=True is for arrays that shall wait without users.
    sharedmem.ones(3, name='tide', persistent=True)
    print('persistent, without users:', sharedmem.exists('tide'))
    sharedmem.unlink('tide')
    print('unlinked:', sharedmem.exists('tide'))


if __name__ == '__main__':
    main()
