"""Take the pictures of the pages in docs from the service that `make demo` leaves behind.

A test takes them too, of a small model.
"""

import argparse
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from playwright.sync_api import sync_playwright

from devtools.screenshots.camera import signed_in, take
from devtools.screenshots.shots import MOST_BYTES, SHOTS, Shot
from devtools.servers.chromium import OPTIONS, find_chromium
from devtools.servers.ports import free_port

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
START_S = 120


def main() -> None:
    """Take all pictures, or those whose names hold one of the given words."""
    parser = argparse.ArgumentParser(prog="python -m devtools.screenshots", description=__doc__)
    parser.add_argument("words", nargs="*", help="take only pictures with one of these in the name")
    parser.add_argument("--home", type=Path, default=Path("var/demo"), help="of the demo")
    given = parser.parse_args()
    if not (given.home / "perennial.db").is_file():
        sys.exit(f"{given.home} holds no service: run `make demo` first.")
    wanted = [s for s in SHOTS if not given.words or any(word in s.file for word in given.words)]
    with serving(given.home) as (address, key), sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), args=list(OPTIONS))
        for pixels in sorted({shot.pixels for shot in wanted}):
            with signed_in(chromium, address, key, pixels=pixels) as page:
                for shot in wanted:
                    if shot.pixels == pixels:
                        write(shot, take(page, shot))
        chromium.close()


def write(shot: Shot, picture: bytes) -> None:
    """Write a picture where the documentation shows it."""
    if len(picture) > MOST_BYTES:
        sys.exit(f"docs/{shot.file} would have {len(picture):,} bytes, more than {MOST_BYTES:,}.")
    place = DOCS / shot.file
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(picture)
    sys.stdout.write(f"docs/{shot.file}: {len(picture):,} bytes\n")


@contextmanager
def serving(home: Path) -> Iterator[tuple[str, str]]:
    """Serve a home within the context; yield the address and an admin's key."""
    port, key = free_port(), f"pk_{secrets.token_urlsafe(32)}"
    settings = {"HOME": home, "PORT": port, "ADMIN_KEY": key}
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "serve"],
        cwd=ROOT,
        env=os.environ | {f"PERENNIAL_{name}": str(value) for name, value in settings.items()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_S
        while not _is_ready(address):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit("The service did not start.")
            time.sleep(0.2)
        yield address, key
    finally:
        process.terminate()
        process.wait(60)


def _is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    main()
