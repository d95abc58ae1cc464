"""A real Chromium, Debian's."""

import shutil

from devtools.servers.programs import ProgramMissing, try_to_install

PACKAGE = "chromium"
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")


def find_chromium() -> str:
    """Return the path of chromium, after installing it if necessary. Raises ProgramMissing."""
    found = shutil.which(PACKAGE)
    if found is None:
        try_to_install(PACKAGE)
        found = shutil.which(PACKAGE)
    if found is None:
        raise ProgramMissing(PACKAGE)
    return found
