"""What the decoding process gives up for ever before it reads its first untrusted byte.

Each layer stands by itself, so that one which a system lacks leaves the others; docs/operations.md
says what each takes away.
"""

import os
import pwd
import resource

from core.adapters.images.system_calls import limit_to_computing

USER, LIMITS, CALLS = "user", "limits", "calls"
_NOBODY = 65534


def confine(memory: int) -> list[str]:
    """Give up all that this system lets one give up; return the layers that hold from now on.

    `memory` bounds the address space, in bytes. Import everything before: no file opens after it.
    """
    layers = {
        USER: become_nobody,
        LIMITS: lambda: set_limits(memory),
        CALLS: limit_to_computing,
    }
    return [name for name, take_away in layers.items() if take_away()]


def become_nobody() -> bool:
    """Give up root's identity for one that owns nothing; return whether that was possible."""
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
    except OSError:  # root in name only: a container without these rights
        return False
    return True


def set_limits(memory: int) -> bool:
    """Bound the address space; no further file, socket or process, nothing written, no core."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    for none in (
        resource.RLIMIT_NOFILE,  # those that are open stay open
        resource.RLIMIT_NPROC,
        resource.RLIMIT_FSIZE,
        resource.RLIMIT_CORE,
    ):
        resource.setrlimit(none, (0, 0))
    return True
