"""The printed form of a report."""

import json
import re

from playwright.sync_api import Browser

from api.registry.report_pages import render_report
from tests.support.evaluation.evaluations import policy, report_of, third_update
from tests.unit.registry.test_report_page import a_record, mostly_right


def test_a_usual_report_is_printed_as_one_page(chromium: Browser) -> None:
    """Its measures are those of a suite, of captions and of two earlier updates, with a budget."""
    plan = third_update(policy=policy(line_error=0.05, reason="a reason of some length " * 5))
    report = report_of(plan, mostly_right)
    html = render_report(json.loads(report.to_bytes()), record=a_record({"emoji": "0" * 64}))
    page = chromium.new_page()
    page.set_content(html)
    printed = page.pdf(prefer_css_page_size=True)
    assert len(report.measures) > 15
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1
    page.close()
