"""A real Chromium, Debian's."""

from devtools.servers.programs import CHROMIUM, find

OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")


def find_chromium() -> str:
    """Return the path of chromium. Raises ProgramMissing."""
    return str(find(CHROMIUM))
