"""The documentation shows the pictures that `devtools.screenshots` takes, and no other."""

import re

from devtools.screenshots import SHOTS
from tests.support.places import ROOT

DOCS = ROOT / "docs"

PICTURE = re.compile(r"!\[[^]]*\]\(([^)\s]+\.png)\)")


def test_the_documentation_shows_every_picture_and_no_other() -> None:
    pages = [ROOT / "README.md", ROOT / "client/README.md", *DOCS.rglob("*.md")]
    shown = {
        (page.parent / name).resolve()
        for page in pages
        for name in PICTURE.findall(page.read_text("utf-8"))
    }
    assert {*DOCS.rglob("*.png")} == shown == {DOCS / shot.file for shot in SHOTS}
