"""Run a command that can write nowhere but below the directories named: `readOnlyRootFilesystem` without a container.

    python confined.py DIRECTORY… -- COMMAND…

By Landlock (Linux 5.13 and later), which a process puts on itself without any right. Where the kernel has none, the
command runs as it is, and `available` says so beforehand.
"""

import ctypes
import os
import struct
import sys

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_WRITES = 0b1_1111_1111_0010
"""Of the first version's rights those that change something: all but to execute and to read files and directories."""
_REFER = 1 << 13
"""To move a file to another directory: known since the second version."""

_PATH_BENEATH = 1
_NO_NEW_PRIVILEGES = 38
_ALWAYS = ("/dev/null", "/dev/shm")  # a container has them too

_libc = ctypes.CDLL(None, use_errno=True)


def available() -> bool:
    """Whether the kernel confines."""
    return _version() > 0


def _version() -> int:
    found: int = _libc.syscall(_CREATE_RULESET, None, 0, 1)
    return found


def confine(writable: list[str]) -> None:
    """Let this process and what it becomes write nowhere else. OSError where the kernel refuses."""
    writes = _WRITES | (_REFER if _version() > 1 else 0)
    attributes = struct.pack("Q", writes)
    ruleset = _checked(_libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0))
    for path in (*_ALWAYS, *writable):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rights = writes if os.path.isdir(path) else 0b10
        _checked(_libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0))
        os.close(descriptor)
    _checked(_libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    _checked(_libc.syscall(_RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


if __name__ == "__main__":
    border = sys.argv.index("--")
    if available():
        confine(sys.argv[1:border])
    os.execvp(sys.argv[border + 1], sys.argv[border + 1 :])
