"""Parts of the page that not every report has: thresholds, notes, the error budget."""

import re
from dataclasses import replace
from html import unescape
from typing import Any

from api.registry.report_pages import render_report
from core.datasets.rules import DatasetRef
from core.evaluation.plan import HeldOutUpdate
from core.evaluation.report import Report
from core.rejection.rules import (
    Calibration,
    ErrorRate,
    ListCalibration,
    SourceCalibration,
    Statistic,
    Threshold,
)
from core.values import DatasetId
from tests.support.api.report_pages import Tags, mostly_right, page
from tests.support.evaluation.evaluations import SECOND, entries, policy, report_of, second_update


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
    Tags(html)
    row = re.sub("<[^>]*>|\\s+", " ", html[html.index("<td>sky</td>") :]).split()
    assert " ".join(row[:12]) == "sky 1,200 margin 87.5 12.5 5.0 to 25.0 37.5 15.0 to 75.0"
    assert html.count("<td>sky</td>") == 1


def noted(**notes: Any) -> Report:
    """A report on a version with notes and a reference set."""
    named = DatasetRef(dataset=DatasetId("ds_9"), version=4)
    version = replace(SECOND, notes=notes, reference=named)
    holdout = entries("second", [("boot",), ("coat",)] * 10)
    candidate = HeldOutUpdate(version=version, holdout=holdout)
    return report_of(second_update(candidate=candidate), mostly_right)


def test_page_shows_the_mixing_weights_that_were_tried_and_the_one_that_was_chosen() -> None:
    tried = [{"mixing": 0.4, "new": 0.5, "kept": 0.75}, {"mixing": 0.7, "new": 0.625, "kept": 0.5}]
    notes = {"mixing": 0.7, "tried": tried, "lost_batches": 3}
    report = noted(**notes)
    assert report.to_json()["notes"] == notes
    html = page(report)
    assert "<b>0.7</b>" in html
    assert "<b>0.4</b>" not in html
    for cell in ("62.5", "75.0", "lost batches", "ds_9, version 4"):
        assert cell in html
    assert Tags(html).open == []


def test_page_shows_the_mixing_weight_of_each_layer_and_those_that_were_tried() -> None:
    tried = [
        {"mixing": 0.7, "new": 0.5, "kept": 0.75},
        {"layer": "image head", "mixing": 0.9, "new": 0.5, "kept": 0.5},
        {"layer": "image head", "mixing": 1.0, "new": 0.625, "kept": 0.75},
        {"layer": "image stem", "mixing": 1.0, "new": 0.5, "kept": 0.25},
    ]
    layers = [{"layer": "image stem", "mixing": 0.7}, {"layer": "image head", "mixing": 1.0}]
    html = page(noted(mixing=0.7, layers=layers, tried=tried))
    assert '<tr><td>image stem</td><td class="n">0.7</td></tr>' in html
    assert '<tr><td>image head</td><td class="n">1.0</td></tr>' in html
    rows = re.findall(r'<tr><td>([a-z ]+)</td><td class="n">(<b>)?([\d.]+)', html)
    assert rows[2:] == [
        ("all", "<b>", "0.7"),
        ("image head", "", "0.9"),
        ("image head", "<b>", "1.0"),
        ("image stem", "", "1.0"),
    ]
    assert Tags(html).open == []


def test_page_of_a_report_from_before_there_were_notes_still_stands() -> None:
    stored = report_of(second_update(), mostly_right).to_json()
    del stored["notes"], stored["reference"]
    assert "What training chose" not in render_report(stored)


def test_page_has_the_lines_budget_and_the_negative_flips() -> None:
    chosen = policy(line_error=0.05, line_updates=40, negative_flips=0.03)
    plan = second_update(policy=chosen)
    report = report_of(plan, mostly_right, verdicts={plan.zero_shot[0].own.digest: 60})
    html = unescape(page(report))
    Tags(html)
    assert "Error budget of this line" in html
    cells = (60, "0.02", "3", "2")  # 5 * 40 / (99 * 100) percent; 60 / 100 of 5 percent; the rest
    assert "<td>emoji</td>" + "".join(f'<td class="n">{cell}</td>' for cell in cells) in html
    assert "emoji · top-1 · negative flips" in html
    assert "at most 3.0 % of the answers that were right" in html


def test_page_says_which_images_are_worn_out() -> None:
    chosen = policy(line_error=0.05, parent_tolerance=0.15, root_tolerance=1.0)
    html = page(report_of(second_update(policy=chosen), mostly_right))
    assert "worn out</span>" in html
    assert "worn out</span>" not in page(report_of(second_update(), mostly_right))
