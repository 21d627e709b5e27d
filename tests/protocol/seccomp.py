"""System calls taken away from this process and all that it starts, as older kernels and sandboxes do."""

import ctypes
import errno
import os
import struct

# On x86_64 and on the architectures with the generic table.
NUMBERS = {"pidfd_open": (434, 434), "inotify_init1": (294, 26)}

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 22, 38
_FILTER_MODE = 2
_LOAD_NUMBER = struct.pack("HBBI", 0x20, 0, 0, 0)
_RETURN = 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def refuse(*names):
    """From now on these system calls fail with ENOSYS."""
    code = _LOAD_NUMBER
    for name in names:
        number = NUMBERS[name][os.uname().machine != "x86_64"]
        code += struct.pack("HBBI", 0x15, 0, 1, number)  # not this one: skip the next line
        code += struct.pack("HBBI", _RETURN, 0, 0, _ERRNO | errno.ENOSYS)
    code += struct.pack("HBBI", _RETURN, 0, 0, _ALLOW)
    program = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_SECCOMP, _FILTER_MODE, ctypes.byref(program), 0, 0),
    )
    for each in arguments:
        if libc.prctl(*each) != 0:
            raise OSError(ctypes.get_errno(), "no seccomp filter here")
