"""System calls taken away from this process and all that it starts, as older kernels and sandboxes do.

``python seccomp.py KIND[,KIND...] COMMAND...`` runs a command as on such a kernel;
the kinds are the keys of `KERNELS`, and ``no-proc``. Where no filter can be set it says that it skips.
"""

import ctypes
import errno
import os
import struct
import sys

# On x86_64, and on the architectures with the generic table.
NUMBERS = {
    "fallocate": (285, 47),
    "fcntl": (72, 25),
    "getrandom": (318, 278),
    "inotify_init1": (294, 26),
    "madvise": (28, 233),
    "openat": (257, 56),
    "pidfd_open": (434, 434),
}

# What a poorer kernel says: the call, the argument that it is about, a test of its
# low half ("is" a value, "has" a bit, or None for any), and the error.
KERNELS = {
    "no-tmpfile": [("openat", 2, "has", 0o20000000, errno.EOPNOTSUPP)],
    "no-ofd": [("fcntl", 1, "is", command, errno.EINVAL) for command in (36, 37, 38)],
    "no-fallocate": [("fallocate", 0, None, 0, errno.ENOSYS)],
    "no-getrandom": [("getrandom", 0, None, 0, errno.ENOSYS)],
    "no-pidfd": [("pidfd_open", 0, None, 0, errno.ENOSYS)],
    "no-inotify": [("inotify_init1", 0, None, 0, errno.ENOSYS)],
    # MADV_POPULATE_READ and _WRITE, MADV_COLLAPSE
    "no-populate": [("madvise", 2, "is", advice, errno.EINVAL) for advice in (22, 23)],
    "no-collapse": [("madvise", 2, "is", 25, errno.EINVAL)],
}

# No call, but an empty directory in the place of what the kernel tells of itself.
NO_PROC = "no-proc"

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 22, 38
_FILTER_MODE = 2
_LOAD, _RETURN = 0x20, 0x06
_TESTS = {"is": 0x15, "has": 0x45}  # jump when equal, jump when a bit is set
_CLONE_NEWNS, _MS_REC, _MS_PRIVATE = 0x00020000, 0x4000, 1 << 18
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def _line(code, value, if_true=0, if_false=0):
    return struct.pack("HBBI", code, if_true, if_false, value)


def _rule(name, argument, test, value, error):
    """Load the number; if it is this call's, load and test the argument; if so, the error."""
    answer = [_line(_RETURN, _ERRNO | error)]
    if test is not None:
        answer = [_line(_LOAD, 16 + 8 * argument), _line(_TESTS[test], value, 0, 1), *answer]
    number = NUMBERS[name][os.uname().machine != "x86_64"]
    return b"".join([_line(_LOAD, 0), _line(_TESTS["is"], number, 0, len(answer)), *answer])


def refuse(*names):
    """From now on these system calls, or what these kernels lack, fail."""
    code = b""
    for name in names:
        for rule in KERNELS.get(name) or [(name, 0, None, 0, errno.ENOSYS)]:
            code += _rule(*rule)
    code += _line(_RETURN, _ALLOW)
    program = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_SECCOMP, _FILTER_MODE, ctypes.byref(program), 0, 0),
    )
    for each in arguments:
        if libc.prctl(*each) != 0:
            raise OSError(ctypes.get_errno(), "no seccomp filter here")


def hide_proc():
    """From now on /proc is empty, in a mount namespace of this process's own (as root)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if (
        libc.unshare(_CLONE_NEWNS) != 0
        or libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None) != 0
        or libc.mount(b"tmpfs", b"/proc", b"tmpfs", 0, None) != 0
    ):
        raise OSError(ctypes.get_errno(), "no mount namespace here")


if __name__ == "__main__":
    kinds = sys.argv[1].split(",")
    try:
        if NO_PROC in kinds:
            hide_proc()
        refuse(*[kind for kind in kinds if kind != NO_PROC])
    except OSError as error:
        print(f"1..0 # SKIP {error.strerror}")
        sys.exit()
    os.execvp(sys.argv[2], sys.argv[2:])
