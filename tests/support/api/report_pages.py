"""Reports to render, and a reader of their pages."""

import json
from html.parser import HTMLParser

from api.registry.report_pages import render_report
from core.evaluation.queries import EvalQuery, RetrievalQuery
from core.evaluation.report import Report
from core.registry.versions import Version


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
