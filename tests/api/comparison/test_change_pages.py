"""Pages of what changed between two versions, and the images behind it."""

import re
from html import unescape

from tests.support.api.browsing import SCRIPT, Browser
from tests.support.scene import Scene

CELL = re.compile(r'<a href="([^"]+)"[^>]*><g class="confusion (\w+)">.*?>([+−]\d+)</text>')
HERE = "/ui/models/line/changes"


def test_changes_show_flips_measures_confusions_and_classes(line: Scene, viewer: Browser) -> None:
    text = viewer.get(f"{HERE}?now=2").text
    assert "What changed from version 1 to 2" in text
    counts = {kind: int(found) for found, kind in re.findall(r"(\d+) (lost|gained)</span>,?", text)}
    assert counts["lost"] > 0
    assert counts["gained"] > 0
    assert text.count('<span class="tag lost">lost</span>') == min(7, counts["lost"])
    assert "&lt;script&gt;alert(1)" in text
    assert SCRIPT not in text
    headings = re.findall("<h3>(.*?)</h3>", text)
    confused = headings[: len(headings) // 2]
    assert [unescape(one).strip("\u2068\u2069") for one in confused] == headings[len(confused) :]


def test_a_cell_of_the_matrix_opens_its_images(line: Scene, viewer: Browser) -> None:
    text = viewer.get(f"{HERE}?now=2&before=1").text
    cells = CELL.findall(text)
    assert len(cells) > 1
    for href, kind, change in cells:
        images = viewer.get(unescape(href))
        assert images.status_code == 200
        count = int(change.replace("−", "-"))
        assert (count > 0) == (kind == "more")
        # Here no image enters a cell that another leaves.
        assert images.text.count("/thumbnail") == abs(count)
    images = f"{HERE}/images?before=1&now=2"
    lost = viewer.get(f"{images}&kind=lost&suite=easy&class=HAT").text
    assert 0 < lost.count("/thumbnail") < viewer.get(images).text.count("/thumbnail")
