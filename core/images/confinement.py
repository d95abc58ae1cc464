"""Confine the decoding process before it reads its first untrusted byte.

The layers are independent: a system that lacks one still applies the others. docs/operations.md
lists what each layer removes.
"""

import ctypes
import errno
import os
import pwd
import resource
import sys
from collections.abc import Iterable

USER, LIMITS, CALLS = "user", "limits", "calls"
_NOBODY = 65534


def confine(memory: int) -> list[str]:
    """Apply every layer that this system supports; return the layers in force from now on.

    `memory` bounds the address space, in bytes. Import everything first: afterwards no file can be
    opened.
    """
    layers = {
        USER: become_nobody,
        LIMITS: lambda: set_limits(memory),
        CALLS: install_filter,
    }
    return [name for name, apply in layers.items() if apply()]


def become_nobody() -> bool:
    """Switch from root to a user that owns nothing; return whether that was possible."""
    if os.geteuid() != 0:
        return False
    try:
        found = pwd.getpwnam("nobody")
        user, group = found.pw_uid, found.pw_gid
    except KeyError:
        user, group = _NOBODY, _NOBODY
    try:
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)
    except OSError:  # a container whose root lacks these rights
        return False
    return True


def set_limits(memory: int) -> bool:
    """Limit the address space; forbid new files, sockets, processes, writes and core dumps."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    for forbidden in (
        resource.RLIMIT_NOFILE,  # open files stay open
        resource.RLIMIT_NPROC,
        resource.RLIMIT_FSIZE,
        resource.RLIMIT_CORE,
    ):
        resource.setrlimit(forbidden, (0, 0))
    return True


# A seccomp filter for Linux that leaves a process only the system calls it needs to decode.

# The system calls of decoding once everything is imported: for memory, time, its socket and exit.
# Numbers on x86-64 and on AArch64, which lacks `alarm`: its C library sets a timer instead.
_NUMBERS: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "alarm": (37, None),
    "setitimer": (38, 103),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    "exit": (60, 93),
    "futex": (202, 98),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "exit_group": (231, 94),
    "getrandom": (318, 278),
}
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column, AUDIT_ARCH_*

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _FILTER = 22, 38, 2
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF
_CALL, _MACHINE = 0, 4  # offsets in struct seccomp_data
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM


class _Step(ctypes.Structure):
    """struct sock_filter."""

    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("operand", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_uint16), ("steps", ctypes.POINTER(_Step)))


def is_supported() -> bool:
    """Return whether this machine's system call numbers are known."""
    return sys.platform == "linux" and sys.maxsize > 2**32 and os.uname().machine in _MACHINES


def install_filter() -> bool:
    """Make every call except those above fail with EPERM; return whether that succeeded.

    A process cannot undo this.
    """
    if not is_supported():
        return False
    column, machine = _MACHINES[os.uname().machine]
    numbers = [row[column] for row in _NUMBERS.values()]
    steps = _steps(machine, [number for number in numbers if number is not None])
    program = _Program(len(steps), (_Step * len(steps))(*steps))
    control = ctypes.CDLL(None).prctl
    return bool(
        control(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        and control(_PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0) == 0
    )


def _steps(machine: int, allowed: Iterable[int]) -> list[_Step]:
    """Return the BPF program, which also refuses calls of other architectures.

    In a jump, `if_true` and `if_false` are the numbers of steps to skip.
    """
    numbers = list(allowed)
    return [
        _Step(_LOAD_WORD, 0, 0, _MACHINE),
        _Step(_JUMP_IF_EQUAL, 1, 0, machine),
        _Step(_RETURN, 0, 0, _REFUSE),
        _Step(_LOAD_WORD, 0, 0, _CALL),
        *(
            _Step(_JUMP_IF_EQUAL, len(numbers) - place, 0, number)
            for place, number in enumerate(numbers)
        ),
        _Step(_RETURN, 0, 0, _REFUSE),
        _Step(_RETURN, 0, 0, _ALLOW),
    ]


# The C library's allocator, told to keep the memory that an image took for the next one.
#
# Otherwise it returns most of that memory to the kernel after each image, and the kernel clears as
# many pages again for the next: a tenth of the time that a small image takes.

KEPT_BYTES = 32 * 1024 * 1024  # at most so much free memory stays at the end of the heap
LARGE_BYTES = 4 * 1024 * 1024  # a larger block is mapped alone, and returned when it is freed
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def keep_freed_memory() -> bool:
    """Keep freed memory for later blocks; return whether this C library can be told so."""
    try:
        tell = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # a C library other than glibc
        return False
    return bool(tell(_TRIM_THRESHOLD, KEPT_BYTES) and tell(_MMAP_THRESHOLD, LARGE_BYTES))
