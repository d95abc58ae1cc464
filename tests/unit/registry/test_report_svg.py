"""The plots of a report as one document."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from api.registry.report_pages import report_svg, svg_policy
from core.evaluation.report import Report
from tests.support.evaluation.evaluations import report_of, second_update

SVG = "{http://www.w3.org/2000/svg}"


def drawn(report: Report) -> ET.Element:
    return ET.fromstring(report_svg(json.loads(report.to_bytes())))


@pytest.fixture(scope="module")
def report() -> Report:
    return report_of(second_update(), lambda who, _, index: (index + who.number) % 5 > 0)


def test_all_plots_are_below_each_other_and_within_the_document(report: Report) -> None:
    root = drawn(report)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    plots = root.findall(f"{SVG}svg")
    labels = [plot.attrib["aria-label"] for plot in plots]
    changes = ["Change of each class, worst first"] * len(report.changes)
    intervals = ["Intervals of all measures against their tolerance"] * 2
    assert labels == [
        *intervals,
        *changes,
        "Accuracy of each version on the holdout of each update",
    ]
    end = 0.0
    for plot in plots:
        assert float(plot.attrib["y"]) >= end
        end = float(plot.attrib["y"]) + float(plot.attrib["height"])
        assert float(plot.attrib["x"]) + float(plot.attrib["width"]) <= width
    assert end <= height
    titles = [text.text for text in root.findall(f"{SVG}text")]
    assert titles[0] == "demo, version 3: inconclusive"
    assert "Suite emoji, against root" in titles


def test_every_colour_is_plain_and_the_policy_allows_the_style_alone(report: Report) -> None:
    style = drawn(report).find(f"{SVG}style")
    assert style is not None
    assert style.text is not None
    assert "var(" not in style.text
    assert "svg g.fails { color: #c0392b; }" in style.text
    assert "default-src 'none'; style-src 'sha256-" in svg_policy()


def test_names_cannot_add_markup(report: Report) -> None:
    change = replace(report.changes[0].classes[0], class_name='<script>x</script>&"')
    table = replace(report.changes[0], classes=(change,), baseline="<b>")
    root = drawn(replace(report, changes=(table,)))
    assert not [tag for tag in root.iter() if tag.tag.endswith(("script", "}b"))]
    assert '<script>x</script>&"' in [text.text for text in root.iter(f"{SVG}text")]


def test_of_a_long_list_of_classes_the_worst_are_shown(report: Report) -> None:
    change = report.changes[0].classes[0]
    classes = tuple(replace(change, class_name=f"class {number}") for number in range(25))
    root = drawn(replace(report, changes=(replace(report.changes[0], classes=classes),)))
    titles = [text.text or "" for text in root.findall(f"{SVG}text")]
    assert [title for title in titles if title.endswith(", the worst 16 of 25 classes")]
    names = {text.text for text in root.iter(f"{SVG}text")}
    assert {"class 0", "class 15"} <= names
    assert "class 16" not in names
