"""The report as a page: complete, escaped, and alone in the world."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import pytest

from api.pages import rendering as numbers
from api.registry.report_pages import render_report, style_policy
from core.datasets.rules import DatasetRef
from core.evaluation.plan import HeldOutUpdate, LiveLineage
from core.evaluation.queries import EvalQuery, RetrievalQuery
from core.evaluation.report import Report
from core.registry.versions import Version
from core.rejection.rules import (
    Calibration,
    ErrorRate,
    ListCalibration,
    SourceCalibration,
    Statistic,
    Threshold,
)
from core.values import DatasetId
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


def mostly_right(who: Version, question: EvalQuery, index: int) -> bool:
    return isinstance(question, RetrievalQuery) or (index + who.number) % 5 > 0


def page(report: Report) -> str:
    return render_report(json.loads(report.to_bytes()))


class Tags(HTMLParser):
    """Collects tags and attributes, and fails on a tag that is closed out of order."""

    VOID = frozenset({"meta", "br", "line", "rect", "circle"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


HOSTILE = '<script>alert("1")</script>'

BOOTS = entries("second", [("boot",), ("coat",)] * 10)

FIRST_UPDATE = {
    "parent": ROOT,
    "earlier": [],
    "candidate": HeldOutUpdate(version=FIRST, holdout=entries("f", [("bag",), ("shirt",)] * 9)),
}


def test_page_shows_verdict_reasons_measures_lineage_policy_and_counts() -> None:
    chosen = policy(
        reason="Small models forget more.", line_error=0.05, line_updates=40, negative_flips=0.03
    )
    plan = second_update(policy=chosen)
    report = report_of(plan, mostly_right, verdicts={plan.zero_shot[0].own.digest: 60})
    html = unescape(page(report))
    # 5 * 40 / (99 * 100) percent; 60 / 100 of 5 percent; the rest
    budget = "".join(f'<td class="n">{cell}</td>' for cell in (60, "0.02", "3", "2"))
    for words in (
        report.verdict.value,
        *report.reasons,
        *(version.digest for version in (ROOT, FIRST, SECOND)),
        "emoji · top-1",
        "shapes · image → text R@1",
        "holdout of version 2 · top-1",
        "Small models forget more.",
        "vrlwf",
        "2 candidates were evaluated on these test parts before this one",
        "1 image of this update is a near-duplicate of an older image.",
        "Error budget of this line",
        f"<td>emoji</td>{budget}",
        "emoji · top-1 · negative flips",
        "at most 3.0 % of the answers that were right",
    ):
        assert words in html
    assert html.count('class="tag ') == len(report.measures)
    assert page(report) == page(report)


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
    third = taught(SECOND, 4, ("hat",))
    plan = second_update(
        candidate=HeldOutUpdate(version=third, holdout=entries("third", [("hat",)] * 10)),
        parent=SECOND,
        earlier=[
            HeldOutUpdate(version=FIRST, holdout=entries("first", [("bag",), ("shirt",)] * 10)),
            HeldOutUpdate(version=SECOND, holdout=BOOTS),
        ],
        live=line,
    )
    html = page(report_of(plan, mostly_right))
    for words in (
        "live version",
        "holdouts of 2 updates of the live version · top-1",
        "holdouts of 2 updates · top-1",
        "versions that learned them",
        "Version 10 was live",
        more.digest,
    ):
        assert words in html
    assert Tags(html).open == []


def test_page_needs_nothing_from_elsewhere_runs_nothing_and_allows_its_style_alone() -> None:
    html = page(report_of(second_update(), mostly_right))
    tags = Tags(html).found
    assert not {tag for tag, _ in tags} & {"script", "link", "img", "iframe", "object", "form"}
    attributes = {name for _, attrs in tags for name in attrs}
    assert not attributes & {"src", "href", "style"}
    assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"https?://|url\(", html)
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in style_policy()
    assert style_policy().startswith("default-src 'none'")
    assert style_policy() in [attrs.get("content") for tag, attrs in tags if tag == "meta"]


def test_names_from_outside_are_escaped_everywhere() -> None:
    hostile = taught(FIRST, 3, (HOSTILE, "coat"))
    examination = second_update(
        candidate=HeldOutUpdate(
            version=hostile, holdout=entries("second", [(HOSTILE,), ("coat",)] * 10)
        ),
        policy=policy(reason=HOSTILE, name=HOSTILE),
    )
    html = page(replace(report_of(examination, mostly_right), model=HOSTILE))
    assert "<script" not in html
    assert "&lt;script&gt;" in html


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


@pytest.mark.parametrize(
    "changes",
    [
        {"suites": []},
        {"suites": [], "earlier": [], "candidate": HeldOutUpdate(version=SECOND, holdout=())},
        FIRST_UPDATE,
    ],
    ids=["no suite", "nothing at all", "first update"],
)
def test_sparse_reports_have_a_page_too(changes: dict[str, object]) -> None:
    html = page(report_of(second_update(**changes), mostly_right))
    assert Tags(html).open == []
    if changes is FIRST_UPDATE:
        assert html.count("parent and root") > 1
        assert '<span class="over">root</span>' not in html


@pytest.mark.parametrize(
    ("classes", "each", "words"),
    [
        (40, 2, ("40 classes:", "Only the worst 16 are drawn")),
        (30, 1, ("Each has a single test image", '<b class="down">lost</b>')),
    ],
)
def test_long_class_lists_are_cut_and_single_images_not_plotted(
    classes: int, each: int, words: tuple[str, ...]
) -> None:
    many = taught(FIRST, 3, tuple(f"class {i:02}" for i in range(classes)))
    held_out = entries("many", [(name,) for name in many.update_classes] * each)
    plan = second_update(candidate=HeldOutUpdate(version=many, holdout=held_out))
    html = page(report_of(plan, mostly_right))
    assert all(one in html for one in words)


def test_numbers_are_written_for_people() -> None:
    assert numbers.points(-0.0042) == "−0.4"
    assert numbers.points(-0.0001) == "0.0"
    assert numbers.points(0.5) == "+50.0"
    assert numbers.points(None) == numbers.percent(None) == "–"
    assert numbers.whole(1840) == "1,840"
    assert numbers.ticks(-0.06, 0.05) == pytest.approx([-0.06, -0.04, -0.02, 0.0, 0.02, 0.04])


# ---- Parts that not every report has --------------------------------------------------------


def test_page_says_what_was_computed_in_and_when_a_repeat_is_not_exact() -> None:
    home, away = {"device": "cpu (x)", "threads": "2"}, {"device": "cuda (y)", "threads": "2"}
    report = report_of(second_update(), mostly_right)
    assert "bit-reproducible" not in page(replace(report, environments=(home,), exact=True))
    assert "bit-reproducible" not in page(replace(report, environments=(), exact=None))
    html = unescape(page(replace(report, environments=(home, away), exact=False)))
    assert "Not bit-reproducible" in html
    assert html.index("device cpu (x)") < html.index("device cuda (y)")


def test_page_shows_the_thresholds_for_none_of_these() -> None:
    report = report_of(second_update(), mostly_right)
    assert "None of these" not in page(report)  # it had too few images
    rates = [ErrorRate(rate=n / 8, lower=n / 20, upper=n / 4, images=9) for n in (1, 3)]
    lists = ListCalibration(
        size=1200,
        statistic=Statistic.MARGIN,
        auroc=0.875,
        thresholds=tuple(
            Threshold(rate=rate, threshold=1, false_rejection=rates[0], false_acceptance=rates[1])
            for rate in (0.05, 0.1)
        ),
    )
    source = SourceCalibration(name="sky", classes=("a", "b"), prompt="{name}", lists=(lists,))
    html = page(replace(report, rejection=Calibration(sources=(source,))))
    assert Tags(html).open == []
    row = re.sub("<[^>]*>|\\s+", " ", html[html.index("<td>sky</td>") :]).split()
    assert " ".join(row[:12]) == "sky 1,200 margin 87.5 12.5 5.0 to 25.0 37.5 15.0 to 75.0"
    assert html.count("<td>sky</td>") == 1


def noted() -> Report:
    """A report on a version with a reference set and a mixing weight for each layer."""
    tried = [
        {"mixing": 0.4, "new": 0.5, "kept": 0.75},
        {"mixing": 0.7, "new": 0.625, "kept": 0.5},
        {"layer": "image head", "mixing": 0.9, "new": 0.5, "kept": 0.5},
        {"layer": "image head", "mixing": 1.0, "new": 0.625, "kept": 0.75},
    ]
    layers = [{"layer": "image stem", "mixing": 0.7}, {"layer": "image head", "mixing": 1.0}]
    version = replace(
        SECOND,
        notes={"mixing": 0.7, "layers": layers, "tried": tried, "lost_batches": 3},
        reference=DatasetRef(dataset=DatasetId("ds_9"), version=4),
    )
    candidate = HeldOutUpdate(version=version, holdout=BOOTS)
    return report_of(second_update(candidate=candidate), mostly_right)


def test_page_shows_the_mixing_weights_that_were_tried_and_those_that_were_chosen() -> None:
    html = page(noted())
    assert '<tr><td>image stem</td><td class="n">0.7</td></tr>' in html
    assert '<tr><td>image head</td><td class="n">1.0</td></tr>' in html
    rows = re.findall(r'<tr><td>([a-z ]+)</td><td class="n">(<b>)?([\d.]+)', html)
    assert rows[2:] == [
        ("all", "", "0.4"),
        ("all", "<b>", "0.7"),
        ("image head", "", "0.9"),
        ("image head", "<b>", "1.0"),
    ]
    for cell in ("62.5", "75.0", "lost batches", "ds_9, version 4"):
        assert cell in html
    assert Tags(html).open == []
    stored = report_of(second_update(), mostly_right).to_json()
    del stored["notes"], stored["reference"]  # as before there were any
    assert "What training chose" not in render_report(stored)


def test_page_says_which_images_are_worn_out() -> None:
    chosen = policy(line_error=0.05, parent_tolerance=0.15, root_tolerance=1.0)
    html = page(report_of(second_update(policy=chosen), mostly_right))
    assert "worn out</span>" in html
    assert "worn out</span>" not in page(report_of(second_update(), mostly_right))
