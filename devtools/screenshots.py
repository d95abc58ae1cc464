"""The pictures that the documentation shows, of the model that the demo makes."""

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

from devtools.ports import free_port
from devtools.programs import OPTIONS, find_chromium

WIDE, NARROW = 1200, 390
MOST_BYTES = 150_000  # of a picture
LINE = "/ui/models/demo"


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A picture of a page, or of one part of it."""

    file: str  # below docs
    path: str
    heading: str  # with which the page begins
    part: str = ""  # a selector; "": the page from its top
    height: int = 800
    width: int = WIDE
    pixels: int = 2  # of the picture, for each of the page
    scheme: Literal["light", "dark"] = "light"


CHANGES = f"{LINE}/changes?before=2&now=4"
CHANGED = "What changed from version 2 to 4"
INTERVALS = "section:has(#intervals) .wide svg"
SHOTS = (
    Shot(file="images/overview.png", path="/ui", heading="Models", height=420),
    Shot(file="images/model.png", path=LINE, heading="demo", height=760),
    Shot(file="images/model-dark.png", path=LINE, heading="demo", height=760, scheme="dark"),
    Shot(
        file="images/model-phone.png",
        path=LINE,
        heading="demo",
        width=NARROW,
        height=844,
        scheme="dark",
    ),
    Shot(file="images/changes.png", path=CHANGES, heading=CHANGED, height=860, pixels=1),
    Shot(
        file="images/promotion.png",
        path=f"{LINE}/aliases/production/promotion?version=3",
        heading="Promote version 3",
        height=620,
    ),
    Shot(
        file="images/first-steps-phone.png",
        path="/ui/first-steps",
        heading="First steps",
        width=NARROW,
        height=844,
    ),
    Shot(
        file="report.png",
        path=f"{LINE}/versions/4/report",
        heading="demo, version 4",
        width=960,
        height=1700,
        pixels=1,
    ),
    Shot(
        file="images/forgetting-fine-tuned.png",
        path=f"{LINE}/versions/4",
        heading="Version 4",
        part=INTERVALS,
        pixels=1,
    ),
    Shot(
        file="images/forgetting-distilled.png",
        path=f"{LINE}/versions/3",
        heading="Version 3",
        part=INTERVALS,
        pixels=1,
    ),
    Shot(
        file="images/forgetting-images.png",
        path=CHANGES,
        heading=CHANGED,
        part="section:has(#lost) ul",
        pixels=1,
    ),
    Shot(
        file="images/forgetting-confusions.png",
        path=CHANGES,
        heading=CHANGED,
        part="h3:has-text('holdout of version 2') + .wide svg",
    ),
    Shot(
        file="images/forgetting-line.png",
        path=LINE,
        heading="demo",
        part="section:has(#line) figure svg",
    ),
)


# Pictures of pages, taken with Chromium.
#
# The same data give the same pictures each time: ages of things are shown as "today", and the name
# of the key that signs in as "admin".

COLOURS = 128
SAME = r"""
    document.querySelectorAll('time').forEach(e => { e.textContent = 'today'; });
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const node = texts.currentNode;
        node.data = node.data.replace(/admin-\d+/, 'admin');
    }
"""


class WrongPageError(Exception):
    """A page is not the one that a picture is to show."""


@contextmanager
def signed_in(chromium: Browser, address: str, key: str, *, pixels: int) -> Iterator[Page]:
    """Yield a page of a browser that has signed in, with so many pixels for one of the page."""
    with chromium.new_context(
        base_url=address, device_scale_factor=pixels, reduced_motion="reduce"
    ) as context:
        page = context.new_page()
        page.goto("/ui/sign-in")
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/ui")
        yield page


def take(page: Page, shot: Shot) -> bytes:
    """Return a picture as PNG. Raises WrongPageError."""
    page.set_viewport_size({"width": shot.width, "height": shot.height})
    page.emulate_media(color_scheme=shot.scheme)
    page.goto(shot.path, wait_until="networkidle")
    page.evaluate(SAME)
    heading = page.get_by_role("heading", level=1).first.inner_text()
    if not heading.startswith(shot.heading):
        raise WrongPageError(f"{shot.path} begins with {heading!r}, not with {shot.heading!r}.")
    part = page.locator(shot.part).first
    return _smaller(part.screenshot() if shot.part else page.screenshot())


def _smaller(data: bytes) -> bytes:
    """Return a PNG with a palette, which for pages looks the same."""
    made = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        few = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        few.save(made, "PNG", optimize=True)
    return made.getvalue()


# Take the pictures of the pages in docs from the service that `make demo` leaves behind.

ROOT = Path(__file__).parents[1]

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
