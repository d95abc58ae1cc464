"""The report as a page and as plots: complete, escaped, and alone in the world."""

import base64
import hashlib
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from types import MappingProxyType
from typing import Any

import pytest

from api.pages import rendering as numbers
from api.pages.plots import interval_plot
from api.registry.report_pages import (
    by_lists,
    guarded,
    render_report,
    report_svg,
    style_policy,
    svg_policy,
)
from api.registry.report_record import Record
from core.datasets.manifests import ManifestEntry
from core.datasets.rules import DatasetRef, SuiteKind
from core.evaluation.holdouts import HeldOutUpdate
from core.evaluation.queries import EvalQuery, RetrievalQuery
from core.evaluation.report import FEWEST, Report
from core.gate.kinds import ClassList, MeasureKind
from core.recipes.fields import PromptTemplate
from core.registry.aliases import AliasMove, MoveKind
from core.registry.versions import Version
from core.values import DatasetId, Digest
from tests.support.evaluation.evaluations import (
    FIRST,
    MODEL,
    ROOT,
    SECOND,
    THIRD,
    answering,
    entries,
    live_line,
    policy,
    report_of,
    second_update,
    some_thresholds,
    suite,
    taught,
    third_update,
)
from tests.support.factories import NOW, digest


def mostly_right(who: Version, question: EvalQuery, index: int) -> bool:
    return isinstance(question, RetrievalQuery) or (index + who.number) % 5 > 0


def page(report: Report) -> str:
    return render_report(json.loads(report.to_bytes()))


def words_of(html: str) -> str:
    return " ".join(unescape(re.sub("<[^>]*>|\\s+", " ", html)).split())


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


def a_record(suites: Mapping[str, Digest] = MappingProxyType({}), **changes: Any) -> Record:
    """The record of a version that was promoted, and replaced by another one."""
    given: dict[str, Any] = {"model": MODEL.id, "alias": "production", "actor": "ann", "at": NOW}
    given |= {"kind": MoveKind.PROMOTED, "reason": "looks good", "override": True}
    moves = [
        AliasMove(**given | {"revision": 7, "from_version": 2, "to_version": 3} | changes),
        AliasMove(**given | {"revision": 8, "from_version": 3, "to_version": 5, "override": False}),
    ]
    return Record(
        job="job_7",
        at="2026-11-26T17:51:01+00:00",
        report=digest("report"),
        evidence=digest("evidence"),
        suites=suites,
        moves=moves,
    )


def test_what_is_printed_is_a_record_of_policy_evidence_verdict_and_decision() -> None:
    plan = second_update(policy=policy(reason="small suites", name="lenient"))
    report = report_of(plan, mostly_right)
    html = render_report(
        json.loads(report.to_bytes()), record=a_record({"emoji": digest("images of emoji")})
    )
    record = words_of(html[html.index('<article class="record">') : html.index("</article>")])
    for said in (
        "demo, version 3: inconclusive",
        "Evaluated on 2026-11-26 at 17:51 UTC by job_7.",
        "Policy lenient",
        "Reason: “small suites”",
        "Version 3 was trained from version 2 on 2 classes: boot, coat",
        "emoji (40), shapes (15), the holdout of version 2 (20)",
        "(20). 2 other versions were judged",
        "production was moved to version 3, from version 2, by ann, overriding the gate",
        "production was moved on to version 5 by ann: “looks good”",
        f"images of emoji {digest('images of emoji')}",
        f"report.json {digest('report')}",
        f"evidence.json {digest('evidence')}",
        "perennial verify demo:3 --job job_7 --key KEY",
        report.summary.lost,
    ):
        assert said in record.replace("\u2068", "").replace("\u2069", ""), said
    assert len(report.measures) == html[: html.index("</article>")].count("<tr><td>")
    assert ".record + main { display: none; }" in html
    assert 'class="record"' not in page(report)
    beside = render_report(json.loads(report.to_bytes()), back="/ui/a", record=a_record())
    assert 'href="/ui/a/evidence?job=job_7"' in beside


HOSTILE = '<script>alert("1")</script>'


FIRST_UPDATE = {
    "parent": ROOT,
    "earlier": [],
    "candidate": HeldOutUpdate(version=FIRST, holdout=entries("f", [("bag",), ("shirt",)] * 9)),
}


def full_report() -> Report:
    """A report on version 4, which has every part that a report may have."""
    third = replace(
        THIRD,
        notes={
            "mixing": 0.7,
            "layers": [{"layer": "image head", "mixing": 1.0}],
            "tried": [
                {"mixing": 0.4, "new": 0.5, "kept": 0.75},
                {"mixing": 0.7, "new": 0.625, "kept": 0.5},
                {"layer": "image head", "mixing": 1.0, "new": 0.625, "kept": 0.8125},
            ],
            "lost_batches": 3,
        },
        reference=DatasetRef(dataset=DatasetId("ds_9"), version=4),
    )
    plan = third_update(
        candidate=HeldOutUpdate(version=third, holdout=entries("third", [("hat",)] * 10)),
        live=live_line(),
        policy=policy(
            reason="Small models forget more.",
            line_error=0.05,
            line_updates=40,
            negative_flips=0.03,
            parent_tolerance=0.15,
            root_tolerance=1.0,
        ),
    )
    verdicts = {plan.zero_shot[0].own.digest: 60}
    devices = ({"device": "cpu (x)"}, {"device": "cuda (y)"})
    report = report_of(plan, mostly_right, verdicts=verdicts)
    return replace(report, environments=devices, exact=False, rejection=some_thresholds())


def test_page_says_how_far_an_update_was_shrunk_and_what_allowed_no_more() -> None:
    told = "Shrunk to 0.7 of the step: with more, the validation images show too large a loss."
    notes = {
        "mixing": 0.7,
        "shrunk": told,
        "tried": [{"mixing": 0.7, "exceeded": ""}, {"mixing": 1.0, "exceeded": "top-1 on sky"}],
    }
    words = words_of(page(replace(full_report(), notes=notes)))
    assert told in words
    assert "Share Too large a loss 0.7 chosen none: it fits 1.0 top-1 on sky" in words


def test_page_shows_all_that_a_report_has_and_leaves_out_what_it_lacks() -> None:
    report = full_report()
    html = page(report)
    assert Tags(html).open == []
    words = words_of(html)
    for told in (
        report.verdict.value,
        *vars(report.summary).values(),
        *report.reasons,
        *(version.digest for version in (ROOT, SECOND)),
        "emoji · top-1 · negative flips",
        "shapes · image → text R@1",
        "shapes · text → image R@5",
        "holdouts of 4 updates of both lines · top-1",
        "Version 10 was live",
        "Small models forget more.",
        "2 candidates were evaluated on these test parts before this one",
        "1 image of this update is a near-duplicate of an older image.",
        "emoji 60 1 0.016 3 2 worn out",  # 0.8 * 5 * 40 / (99 * 100) percent, after 60 % of 5
        "Negative flips 3 %",
        "Not exact",
        "device cpu (x)",
        "sky 1,200 margin 87.5 12.5 5.0 to 25.0 37.5 15.0 to 75.0",
        "all 0.7 chosen 62.5 50.0",
        "image head 1.0 chosen 62.5 81.2",
        "ds_9, version 4",
    ):
        assert told in words, told
    # of each measure, of what is worn out, and of the lists beside each other
    worn_out = sum(use.worn_out for use in report.budgets)
    beside = sum(one is not None for row in by_lists(report) for one in row)
    tags = len(report.measures) + worn_out + beside
    assert html.count('class="tag ') == tags
    stored = report_of(second_update(), mostly_right).to_json()
    del stored["notes"], stored["reference"]  # as before there were any
    bare = render_report(stored)
    for absent in ("What training chose", "bit-reproducible", "None of these", "worn out"):
        assert absent not in bare


def test_page_shows_what_was_forgotten_beside_what_was_swallowed_and_who_took_it() -> None:
    def bags(entry: ManifestEntry, n: int) -> str | None:
        return "hat" if entry.class_name == "cat" else None

    plan = third_update(policy=policy(alpha=0.05, same_names=(("boot", HOSTILE),)))
    words = words_of(page(answering(plan, bags)))
    assert (
        "emoji against parent, version 3 0.0 open −6.3 to +6.3 decided by −7.1 4 classes "
        "−25.0 open −37.6 to −15.6 decided by −38.5 8 classes"
    ) in words
    assert "emoji against parent cat → hat 10 of 10" in words
    assert '"same_names": [["cat", "hat"]]' in words
    assert f"names that mean the same boot = {HOSTILE}" in words
    assert "emoji · all 8 classes" in words
    assert "Names that may mean the same" not in page(report_of(plan, mostly_right))
    (row, *_) = answering(plan, bags).taken
    crowded = replace(answering(plan, bags), taken=(replace(row, images=1), *[row] * 40))
    words = words_of(page(crowded))
    assert "Only the most frequent 30 are shown" in words
    assert words.count("cat → hat 10 of 10") == 30


def test_page_shows_what_holdouts_lose_to_classes_of_suites_beside_the_other_lists() -> None:
    plan = third_update(policy=policy(alpha=0.05))
    words = words_of(page(answering(plan, lambda one, n: "cat" if one.class_name == "bag" else "")))
    own, union = "0.0 open −6.3 to +6.3 decided by −7.1", "0.0 open −6.3 to +6.3 decided by −7.1 5"
    row = f"holdouts of 2 updates against parent, version 3 {own} {union} classes −25.0 open −37.6"
    assert row in words
    assert "holdouts of 2 updates against parent, with suites bag → cat 10 of 10" in words
    assert "With suites" not in page(report_of(third_update(suites=[]), mostly_right))


def test_page_names_the_edition_that_holds_a_measure_back_and_measures_in_own_prompts() -> None:
    """The candidate has lost the first 10 of 40 emoji, to which the others were added."""
    images = second_update().zero_shot[0].own.entries
    entries = tuple(replace(one, edition=1 if n < 10 else 2) for n, one in enumerate(images))
    asked = suite("emoji", entries, SuiteKind.ZERO_SHOT)
    root = replace(ROOT, prompt=PromptTemplate("a drawing of {name}"))
    limits = {f"{name}_tolerance": 0.3 for name in ("parent", "root", "union")}
    plan = second_update(suites=[asked], root=root, policy=policy(**limits, alpha=0.2))

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        return who is not SECOND or len(question.entries) < 40 or index >= 10

    shown = page(report_of(plan, right))
    assert "open</span><small>held back by edition 1</small>" in shown
    assert "if the images of an earlier edition alone show a loss" in shown
    assert "emoji · top-1, own prompts" in shown
    assert "earlier edition" not in page(report_of(second_update(), mostly_right))


def test_values_and_counts_are_written_for_people() -> None:
    """No value of Python, no missing space, no points where one image is a whole class."""
    report = report_of(second_update(), mostly_right)
    table = report.changes[0]
    alone = replace(
        table.classes[0], class_name="alone", images=1, right=0, right_before=1, difference=-1.0
    )
    many = replace(table.classes[0], class_name="many", images=FEWEST)
    tables = (replace(table, classes=(alone, many)),)
    recipe = {"rehearse": True, "terms": ["vr", "lwf"], "teacher": None, "mix": {"a": False}}
    html = page(replace(report, changes=tables, recipe=recipe, tasks=(), matrix=()))
    text = unescape(re.sub("<style>.*?</style>|<[^>]*>", "", html, flags=re.DOTALL))
    assert "alone 1 → 0 of 1" in text
    assert "−100.0" not in text
    for told in ("yes", "vr, lwf", "none", "a no"):
        assert f"<dd>{told}</dd>" in html
    assert not re.search(r"\b(True|False|None)\b(?! of)|\['|[a-z]\.[A-Z]", text)


def test_each_dot_lies_in_its_interval_and_what_decides_apart_is_marked() -> None:
    report = full_report()
    small = [replace(m, pooled=True).bounded(0.005, 500) for m in report.measures]
    report = replace(report, measures=tuple(small))
    apart = [m for m in guarded(report) if m.decides_apart]
    assert any(m.lower > m.difference for m in apart)  # less is asked of few pooled images
    drawing = ET.fromstring(str(interval_plot(guarded(report)).__html__()))
    for ruling in drawing.iter("g"):
        whisker, (dot,) = next(ruling.iter("line")), ruling.iter("circle")
        lower, middle, upper = (
            float(place.removesuffix("%"))
            for place in (whisker.get("x1", ""), dot.get("cx", ""), whisker.get("x2", ""))
        )
        assert lower <= middle <= upper
    texts = ["".join(mark.itertext()) for mark in drawing.iter("text")]
    assert texts.count("▲") == len(apart)
    assert f"▲ {numbers.points(apart[0].lower)} · {apart[0].outcome.value}" in texts
    told = words_of(page(report))
    for m in apart:
        between = f"{numbers.points(m.interval_lower)} to {numbers.points(m.upper)}"
        assert f"{between} {numbers.points(m.lower)}" in told


def test_the_list_of_classes_of_a_measure_is_told_whole_beside_its_interval() -> None:
    holdout = next(m for m in full_report().measures if m.kind is MeasureKind.HOLDOUT)
    wide = replace(holdout, asked=ClassList.WITH_SUITES, classes=12_879, own_prompts=True)
    drawing = ET.fromstring(str(interval_plot([wide]).__html__()))
    texts = ["".join(mark.itertext()) for mark in drawing.iter("text")]
    assert f"holdout of {holdout.name}" in texts
    assert "with suites, 12,879 classes, own prompts" in texts


def test_a_report_leads_back_to_its_version_where_it_is_shown_beside_it() -> None:
    stored = json.loads(full_report().to_bytes())
    assert 'href="/ui/models/a/versions/4"' in render_report(stored, back="/ui/models/a/versions/4")
    assert 'class="back"' not in render_report(stored)  # it is sent by e-mail


def test_statistics_are_folded_below_three_sentences() -> None:
    html = page(full_report())
    open_part = html.partition("<details")[0]
    for sentence in vars(full_report().summary).values():
        assert sentence in unescape(open_part)
    assert "R@1" not in open_part
    assert not re.search(r"<section(?! class=\"verdict)", html)


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
    report = replace(report_of(examination, mostly_right), model=HOSTILE)
    record = a_record(suites={HOSTILE: digest("images")}, reason=HOSTILE, actor=HOSTILE)
    html = render_report(json.loads(report.to_bytes()), record=record)
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


def test_numbers_are_written_for_people() -> None:
    assert numbers.points(-0.0042) == "−0.4"
    assert numbers.points(-0.0001) == "0.0"
    assert numbers.points(0.5) == "+50.0"
    assert numbers.points(None) == numbers.percent(None) == "–"
    assert numbers.whole(1840) == "1,840"
    assert numbers.ticks(-0.06, 0.05) == pytest.approx([-0.06, -0.04, -0.02, 0.0, 0.02, 0.04])


# ---- The plots as one document --------------------------------------------------------------

SVG = "{http://www.w3.org/2000/svg}"


def test_plots_are_one_document_in_which_names_add_no_markup() -> None:
    report = report_of(second_update(), mostly_right)
    change = replace(report.changes[0].classes[0], class_name=HOSTILE, images=FEWEST)
    classes = (change, *(replace(change, class_name=f"class {number}") for number in range(24)))
    table = replace(report.changes[0], classes=classes, baseline="<b>")
    stored = replace(report, changes=(table, *report.changes[1:])).to_bytes()
    root = ET.fromstring(report_svg(json.loads(stored)))
    assert not [tag for tag in root.iter() if tag.tag.endswith(("script", "}b"))]
    names = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert any(HOSTILE[:23] in name for name in names)
    assert [name for name in names if name.endswith(", the worst 16 of 25 classes")]
    assert ("class 14" in names, "class 15" in names) == (True, False)
    end, height = 0.0, float(root.attrib["viewBox"].split()[-1])
    for plot in root.findall(f"{SVG}svg"):
        assert float(plot.attrib["y"]) >= end
        end = float(plot.attrib["y"]) + float(plot.attrib["height"])
    assert 0 < end <= height
    assert "default-src 'none'; style-src 'sha256-" in svg_policy()
