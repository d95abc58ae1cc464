"""The report as a page: complete, escaped, and alone in the world."""

import base64
import hashlib
import re
from dataclasses import replace
from html import unescape

import pytest

from api.pages import rendering as numbers
from api.registry.report_pages import style_policy
from core.evaluation.plan import HeldOutUpdate, LiveLineage
from tests.support.api.report_pages import Tags, mostly_right, page
from tests.support.evaluation.evaluations import (
    FIRST,
    ROOT,
    SECOND,
    entries,
    policy,
    report_of,
    second_update,
    taught,
)

HOSTILE = '<script>alert("1")</script>'


def test_page_shows_verdict_reasons_and_every_measure() -> None:
    report = report_of(second_update(), mostly_right)
    html = unescape(page(report))
    assert report.verdict.value in html
    for reason in report.reasons:
        assert reason in html
    assert html.count('class="tag ') == len(report.measures)
    for words in ("emoji · top-1", "shapes · image → text R@1", "holdout of version 2 · top-1"):
        assert words in html


def test_page_names_lineage_recipe_policy_and_counts() -> None:
    chosen = policy(reason="Small models forget more.")
    report = report_of(second_update(policy=chosen), mostly_right)
    html = page(report)
    assert "Small models forget more." in html
    assert "vrlwf" in html
    assert "2 candidates were evaluated on these test parts before this one" in html
    assert "1 image of this update is a near-duplicate of an older image." in html
    for version in (ROOT, FIRST, SECOND):
        assert version.digest in html


def test_page_shows_what_would_be_replaced_and_holdouts_together() -> None:
    live = taught(ROOT, 9, ("hat", "sock"))
    more = taught(live, 10, ("cup", "jar"))
    line = LiveLineage(
        version=more,
        updates=(
            HeldOutUpdate(version=live, holdout=entries("ninth", [("hat",), ("sock",)] * 10)),
            HeldOutUpdate(version=more, holdout=entries("tenth", [("cup",), ("jar",)] * 10)),
        ),
    )
    html = page(report_of(second_update(live=line), mostly_right))
    for words in (
        "live version",
        "holdouts of 2 updates of the live version · top-1",
        "Version 10 was live",
        more.digest,
    ):
        assert words in html
    assert Tags(html).open == []


def test_page_of_a_longer_line_shows_its_holdouts_together() -> None:
    third = taught(SECOND, 4, ("hat",))
    examination = second_update(
        candidate=HeldOutUpdate(version=third, holdout=entries("third", [("hat",)] * 10)),
        parent=SECOND,
        earlier=[
            HeldOutUpdate(version=FIRST, holdout=entries("first", [("bag",), ("shirt",)] * 10)),
            HeldOutUpdate(version=SECOND, holdout=entries("second", [("boot",), ("coat",)] * 10)),
        ],
    )
    html = page(report_of(examination, mostly_right))
    assert "holdouts of 2 updates · top-1" in html
    assert "versions that learned them" in html


def test_page_is_well_formed() -> None:
    assert Tags(page(report_of(second_update(), mostly_right))).open == []


def test_page_needs_nothing_from_elsewhere_and_runs_nothing() -> None:
    tags = Tags(page(report_of(second_update(), mostly_right))).found
    assert not {tag for tag, _ in tags} & {"script", "link", "img", "iframe", "object", "form"}
    attributes = {name for _, attrs in tags for name in attrs}
    assert not attributes & {"src", "href", "style"}
    assert not [name for name in attributes if name.startswith("on")]
    assert "http://" not in (html := page(report_of(second_update(), mostly_right)))
    assert "https://" not in html
    assert "url(" not in html


def test_policy_allows_this_style_sheet_and_nothing_else() -> None:
    html = page(report_of(second_update(), mostly_right))
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in style_policy()
    assert style_policy().startswith("default-src 'none'")
    metas = [attrs for tag, attrs in Tags(html).found if tag == "meta"]
    assert style_policy() in [attrs.get("content") for attrs in metas]


def test_names_from_outside_are_escaped_everywhere() -> None:
    hostile = taught(FIRST, 3, (HOSTILE, "coat"))
    examination = second_update(
        candidate=HeldOutUpdate(
            version=hostile, holdout=entries("second", [(HOSTILE,), ("coat",)] * 10)
        ),
        policy=policy(reason=HOSTILE, name=HOSTILE),
    )
    report = replace(report_of(examination, mostly_right), model=HOSTILE)
    html = page(report)
    assert "<script" not in html
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize(
    "changes",
    [
        {"suites": []},
        {"suites": [], "earlier": [], "candidate": HeldOutUpdate(version=SECOND, holdout=())},
        {
            "parent": ROOT,
            "earlier": [],
            "candidate": HeldOutUpdate(
                version=FIRST, holdout=entries("f", [("bag",), ("shirt",)] * 9)
            ),
        },
    ],
    ids=["no suite", "nothing at all", "first update"],
)
def test_sparse_reports_have_a_page_too(changes: dict[str, object]) -> None:
    assert Tags(page(report_of(second_update(**changes), mostly_right))).open == []


def test_parent_that_is_the_root_has_one_row() -> None:
    examination = second_update(
        parent=ROOT,
        earlier=[],
        candidate=HeldOutUpdate(version=FIRST, holdout=entries("f", [("bag",), ("shirt",)] * 9)),
    )
    html = page(report_of(examination, mostly_right))
    assert html.count("parent and root") > 1
    assert '<span class="over">root</span>' not in html


def test_long_class_lists_are_cut_and_say_so() -> None:
    many = taught(FIRST, 3, tuple(f"class {i:02}" for i in range(40)))
    held_out = entries("many", [(name,) for name in many.update_classes] * 2)
    html = page(
        report_of(
            second_update(candidate=HeldOutUpdate(version=many, holdout=held_out)), mostly_right
        )
    )
    assert "40 classes:" in html
    assert "Only the worst 16 are drawn" in html


def test_classes_of_a_single_image_are_named_and_not_plotted() -> None:
    many = taught(FIRST, 3, tuple(f"class {i:02}" for i in range(30)))
    held_out = entries("single", [(name,) for name in many.update_classes])
    html = page(
        report_of(
            second_update(candidate=HeldOutUpdate(version=many, holdout=held_out)), mostly_right
        )
    )
    assert "Each has a single test image" in html
    assert '<b class="down">lost</b>' in html


def test_same_report_is_the_same_page() -> None:
    report = report_of(second_update(), mostly_right)
    assert page(report) == page(report)


def test_numbers_are_written_for_people() -> None:
    assert numbers.points(-0.0042) == "−0.4"
    assert numbers.points(-0.0001) == "0.0"
    assert numbers.points(0.5) == "+50.0"
    assert numbers.points(None) == numbers.percent(None) == "–"
    assert numbers.whole(1840) == "1,840"
    assert numbers.ticks(-0.06, 0.05) == pytest.approx([-0.06, -0.04, -0.02, 0.0, 0.02, 0.04])


def test_a_name_cannot_reorder_the_words_around_it() -> None:
    """Old reports may hold an override; names from right to left are new as well as old."""
    names = ("tac\u202e", "\u2067خف\u2069")
    report = report_of(second_update(), mostly_right)
    change = replace(report.changes[0].classes[0], class_name=names[0])
    table = replace(report.changes[0], classes=(change, *report.changes[0].classes[1:]))
    text = page(replace(report, update_classes=names, changes=(table, *report.changes[1:])))
    assert not set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067") & set(text)
    assert text.count("\u2068") == text.count("\u2069") > 0
    bare = re.sub("\u2068[^\u2068\u2069]*\u2069", "", text)
    assert "خف" not in bare
    assert "tac" not in bare


def test_page_says_what_was_computed_in_and_when_a_repeat_is_not_exact() -> None:
    home, away = {"device": "cpu (x)", "threads": "2"}, {"device": "cuda (y)", "threads": "2"}
    report = report_of(second_update(), mostly_right)
    assert "exact to the bit" not in page(replace(report, environments=(home,), exact=True))
    assert "exact to the bit" not in page(replace(report, environments=(), exact=None))
    html = unescape(page(replace(report, environments=(home, away), exact=False)))
    assert "Not bit-reproducible" in html
    places = [html.index(words) for words in ("device cpu (x)", "device cuda (y)")]
    assert places == sorted(places)
