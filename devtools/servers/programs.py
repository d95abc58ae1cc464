"""The installation of the servers' programs, where this process may install packages."""

import os
import shutil
import subprocess

INSTALL = ("apt-get", "install", "-y", "--no-install-recommends")


class ProgramMissing(RuntimeError):
    """A server's program is not installed, and this process may not install it."""

    def __init__(self, package: str) -> None:
        super().__init__(f"{package} is not installed. Run: sudo {' '.join((*INSTALL, package))}")


def try_to_install(package: str) -> None:
    """Install a Debian package if this process runs as root on such a system."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    # With RUNLEVEL 1 a package does not start a server of its own on the usual port.
    environment = os.environ | {"RUNLEVEL": "1"}
    for command in (("apt-get", "update"), (*INSTALL, package)):
        subprocess.run(command, check=False, capture_output=True, env=environment)
