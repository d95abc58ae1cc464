"""Pictures of pages, taken with Chromium.

The same data give the same pictures each time: ages of things are shown as "today", and the name of
the key that signs in as "admin".
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image
from playwright.sync_api import Browser, Page

from devtools.screenshots.shots import Shot

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
