"""The pictures in the documentation: each is taken here as `devtools.screenshots` takes it."""

import io
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from core.jobs.rules import JobStatus
from core.platform import Platform
from core.registry.rows import Models
from devtools.screenshots import MOST_BYTES, SHOTS, Shot, WrongPageError, signed_in, take
from tests.support.api.served import serving
from tests.support.api.service import KEY, settings_of
from tests.support.evaluation.each_class import knowing_each
from tests.support.places import ROOT
from tests.support.scene import Scene

DOCS = ROOT / "docs"

PICTURE = re.compile(r"!\[[^]]*\]\(([^)\s]+\.png)\)")

SUITE, FIRST, SECOND = ("hat", "bag"), ("boot", "coat"), ("cup", "dish")

KNOWN = {1: SUITE, 2: (*SUITE, *FIRST), 3: (*SUITE, *FIRST, *SECOND), 4: SECOND}

BLANK = 0.99  # of the pixels have one shade

EACH = pytest.mark.parametrize("shot", SHOTS, ids=lambda shot: shot.file)


@pytest.fixture(scope="module")
def page(
    chromium: Browser, ready_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    """A page of a service whose model `demo` has four versions, with a pixel for one of it."""
    home = tmp_path_factory.mktemp("screenshots") / "home"
    shutil.copytree(ready_home, home)
    with serving(settings_of(home)) as served, pytest.MonkeyPatch.context() as patch:
        make_line(served.platform, patch)
        with signed_in(chromium, served.url, KEY, pixels=1) as page:
            yield page


def make_line(platform: Platform, patch: pytest.MonkeyPatch) -> None:
    """Teach `demo` two classes, two more, and these by an update that forgets all others."""
    scene = Scene(platform.transactions, platform.artifacts)
    with platform.transactions(read_only=True) as work:
        model = work[Models].get("demo")
    scene.suite(model, scene.frozen(*SUITE, each=20, offset=500), name="emoji")
    knowing_each(scene, model, patch, KNOWN)
    first, second = (
        scene.frozen(*classes, each=20, offset=offset)
        for classes, offset in ((FIRST, 100), (SECOND, 300))
    )
    for parent, data in ((1, first), (2, second), (2, second)):
        scene.update(model, data, parent=parent, auto_promote=False)
        assert scene.run().status is JobStatus.SUCCEEDED


def check(shot: Shot, picture: bytes) -> None:
    """Check the size of a picture, its colours, and that it shows something."""
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


@EACH
def test_each_picture_is_taken(shot: Shot, page: Page) -> None:
    smaller = replace(shot, pixels=1)
    check(smaller, take(page, smaller))


@EACH
def test_the_picture_in_the_documentation_is_one_of_its_kind(shot: Shot) -> None:
    check(shot, (DOCS / shot.file).read_bytes())


def test_the_documentation_shows_every_picture_and_no_other() -> None:
    pages = [ROOT / "README.md", ROOT / "client/README.md", *DOCS.rglob("*.md")]
    shown = {
        (page.parent / name).resolve()
        for page in pages
        for name in PICTURE.findall(page.read_text("utf-8"))
    }
    assert {*DOCS.rglob("*.png")} == shown == {DOCS / shot.file for shot in SHOTS}


def test_no_picture_is_taken_of_another_page(page: Page) -> None:
    with pytest.raises(WrongPageError, match="404"):
        take(page, replace(SHOTS[0], path="/ui/models/nobody"))
