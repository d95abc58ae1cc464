"""The installation of the servers' programs, where this process may install packages."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

INSTALL = ("apt-get", "install", "-y", "--no-install-recommends")
WAIT_FOR_OTHERS = ("-o", "DPkg::Lock::Timeout=300")  # seconds; other programs install packages too


class ProgramMissing(RuntimeError):
    """A server's program is not installed, and this process may not install it."""

    def __init__(self, package: str, how: str = "") -> None:
        how = how or f"Run: sudo {' '.join((*INSTALL, package))}"
        super().__init__(f"{package} is not installed. {how}")


def try_to_install(package: str) -> None:
    """Install a Debian package if this process runs as root on such a system.

    Processes that want a package at the same time install one after another: apt-get gives up at
    once if another one reads its lists.
    """
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    # With RUNLEVEL 1 a package does not start a server of its own on the usual port.
    environment = os.environ | {"RUNLEVEL": "1"}
    with (Path(tempfile.gettempdir()) / "perennial-apt-get.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (("apt-get", "update"), (*INSTALL, *WAIT_FOR_OTHERS, package)):
            subprocess.run(command, check=False, capture_output=True, env=environment)
