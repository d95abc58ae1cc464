"""The rights that the decoding process drops before it reads its first untrusted byte.

The layers are independent: a system that lacks one still applies the others. docs/operations.md
lists what each layer removes.
"""

import os
import pwd
import resource

from core.adapters.images.system_calls import install_filter

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
