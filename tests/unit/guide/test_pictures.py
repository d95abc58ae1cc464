"""The documentation shows the pictures that `devtools.screenshots` takes, and no other."""

import io
import re

import pytest
from PIL import Image

from devtools.screenshots import MOST_BYTES, SHOTS, Shot
from tests.support.places import ROOT

DOCS = ROOT / "docs"

PICTURE = re.compile(r"!\[[^]]*\]\(([^)\s]+\.png)\)")

BLANK = 0.99  # of the pixels have one shade


@pytest.mark.parametrize("shot", SHOTS, ids=lambda shot: shot.file)
def test_a_picture_has_the_size_and_the_background_of_its_page(shot: Shot) -> None:
    picture = (DOCS / shot.file).read_bytes()
    assert len(picture) <= MOST_BYTES
    with Image.open(io.BytesIO(picture)) as image:
        (width, height), whole = image.size, (shot.width * shot.pixels, shot.height * shot.pixels)
        shades = image.convert("L").histogram()
    if shot.part:
        assert whole[0] / 4 < width <= whole[0]
    else:
        assert (width, height) == whole
    assert max(shades) < BLANK * width * height
    background = shades.index(max(shades))
    assert background > 200 if shot.scheme == "light" else background < 55


def test_the_documentation_shows_every_picture_and_no_other() -> None:
    pages = [ROOT / "README.md", ROOT / "client/README.md", *DOCS.rglob("*.md")]
    shown = {
        (page.parent / name).resolve()
        for page in pages
        for name in PICTURE.findall(page.read_text("utf-8"))
    }
    assert {*DOCS.rglob("*.png")} == shown == {DOCS / shot.file for shot in SHOTS}
