"""Take the pictures of the pages in docs/images from the service that `make demo` leaves behind.

Data of one run of the demo gives the same pictures each time: ages of things are shown as "today",
and the name of the key that signs in as "admin".
"""

import argparse
import io
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from devtools.servers.chromium import OPTIONS, find_chromium
from devtools.servers.ports import free_port

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
START_S = 120
WIDE, NARROW = 1200, 390
COLOURS = 128
MOST_BYTES = 150_000
SAME = r"""
    document.querySelectorAll('time').forEach(e => { e.textContent = 'today'; });
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const node = texts.currentNode;
        node.data = node.data.replace(/admin-\d+/, 'admin');
    }
"""
LINE = "/ui/models/demo"


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A picture of a page, or of one part of it."""

    file: str
    path: str
    part: str = ""  # a selector; "": the page from its top
    height: int = 800
    width: int = WIDE
    pixels: int = 2  # of the picture, for each of the page
    scheme: Literal["light", "dark"] = "light"


CHANGES = f"{LINE}/changes?before=2&now=4"
INTERVALS = "section:has(#intervals) .wide svg"
SHOTS = (
    Shot(file="images/overview.png", path="/ui", height=420),
    Shot(file="images/model.png", path=LINE, height=760),
    Shot(file="images/model-dark.png", path=LINE, height=760, scheme="dark"),
    Shot(file="images/model-phone.png", path=LINE, width=NARROW, height=844, scheme="dark"),
    Shot(file="images/changes.png", path=CHANGES, height=860, pixels=1),
    Shot(
        file="images/promotion.png",
        path=f"{LINE}/aliases/production/promotion?version=3",
        height=620,
    ),
    Shot(file="images/first-steps-phone.png", path="/ui/first-steps", width=NARROW, height=844),
    Shot(file="report.png", path=f"{LINE}/versions/4/report", width=960, height=1700, pixels=1),
    Shot(file="images/forgetting-fine-tuned.png", path=f"{LINE}/versions/4", part=INTERVALS),
    Shot(file="images/forgetting-distilled.png", path=f"{LINE}/versions/3", part=INTERVALS),
    Shot(file="images/forgetting-images.png", path=CHANGES, part="section:has(#lost) ul", pixels=1),
    Shot(
        file="images/forgetting-confusions.png",
        path=CHANGES,
        part="h3:text-is('version 2') + .wide svg",
    ),
    Shot(file="images/forgetting-line.png", path=LINE, part="section:has(#line) figure svg"),
)


def main() -> None:
    """Take all pictures, or those whose names hold one of the given words."""
    parser = argparse.ArgumentParser(prog="python -m devtools.screenshots", description=__doc__)
    parser.add_argument("words", nargs="*", help="take only pictures with one of these in the name")
    parser.add_argument("--home", type=Path, default=Path("var/demo"), help="of the demo")
    given = parser.parse_args()
    if not (given.home / "perennial.db").is_file():
        sys.exit(f"{given.home} holds no service: run `make demo` first.")
    wanted = [s for s in SHOTS if not given.words or any(word in s.file for word in given.words)]
    IMAGES.mkdir(parents=True, exist_ok=True)
    with serving(given.home) as (address, key), sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), args=list(OPTIONS))
        for shot in wanted:
            data = _smaller(take(chromium, address, key, shot))
            (ROOT / "docs" / shot.file).write_bytes(data)
            sys.stdout.write(f"docs/{shot.file}: {len(data):,} bytes\n")
            if len(data) > MOST_BYTES:
                sys.exit(f"docs/{shot.file} is larger than {MOST_BYTES:,} bytes.")
        chromium.close()


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


def take(chromium: Browser, address: str, key: str, shot: Shot) -> bytes:
    """Return a picture as PNG."""
    context = chromium.new_context(
        base_url=address,
        viewport={"width": shot.width, "height": shot.height},
        device_scale_factor=shot.pixels,
        color_scheme=shot.scheme,
        reduced_motion="reduce",
    )
    page = context.new_page()
    _sign_in(page, key)
    page.goto(shot.path, wait_until="networkidle")
    page.evaluate(SAME)
    data = page.locator(shot.part).first.screenshot() if shot.part else page.screenshot()
    context.close()
    return data


def _sign_in(page: Page, key: str) -> None:
    page.goto("/ui/sign-in")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/ui")


def _smaller(data: bytes) -> bytes:
    """Return a PNG with a palette, which for pages looks the same."""
    made = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        few = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        few.save(made, "PNG", optimize=True)
    return made.getvalue()


def _is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    main()
