"""The guide: every link leads somewhere, and nothing else is shown; scripts of others."""

import re
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from api.guide import pages as guide
from api.guide.library import Document, files, folders, pages, read_document, search
from api.http import error_handlers
from api.http.routing import GUIDE
from core.values import sha256
from tests.support.places import ROOT

LINK = re.compile(r'(?:href|src)="([^"]*)"')


@pytest.fixture(scope="module")
def documents() -> dict[str, Document]:
    return {slug: read_document(path) for slug, path in pages().items()}


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI(routes=guide.router.routes)
    error_handlers.register(app)
    return TestClient(app)


def test_every_link_leads_to_a_page_a_part_of_one_or_a_file(
    documents: dict[str, Document],
) -> None:
    lost = []
    for slug, document in documents.items():
        for link in LINK.findall(document.html):
            parts = urlsplit(link)
            if parts.scheme:
                continue
            to = parts.path.removeprefix(GUIDE).lstrip("/") if parts.path else slug
            known = to in documents or to in files() or to in folders()
            ids = {section.id for section in documents[to].sections} if to in documents else set()
            if not known or (parts.fragment and parts.fragment not in ids):
                lost.append(f"{slug or 'index'}: {link}")
    assert lost == []


def test_the_readme_is_short_with_one_picture_and_one_example_of_each_kind() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert len(readme.split()) <= 1000
    assert readme.count("![") == 1
    languages = re.findall(r"^```(\w+)", readme, flags=re.MULTILINE)
    assert languages == ["sh", "python"]


def test_a_page_shows_its_contents_and_runs_no_script(client: TestClient) -> None:
    answer = client.get(f"{GUIDE}/operations")
    assert answer.status_code == 200
    assert '<h2 id="back-up-and-restore">' in answer.text
    assert f'<a href="{GUIDE}/operations" aria-current="page">' in answer.text
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert ' style="' not in answer.text
    assert f"{GUIDE}/adr/0001-version-digest-is-a-manifest" in client.get(f"{GUIDE}/adr").text
    assert client.get(f"{GUIDE}/report.png").headers["content-type"] == "image/png"
    example = client.get(f"{GUIDE}/examples/label_studio/backend.py")
    assert example.headers["content-type"].startswith("text/plain")  # which no browser runs


@pytest.mark.parametrize(
    "path", ["../pyproject.toml", "%2e%2e/pyproject.toml", "../core/settings.py", "nothing"]
)
def test_nothing_but_the_documentation_is_shown(client: TestClient, path: str) -> None:
    assert client.get(f"{GUIDE}/{path}").status_code == 404


def test_a_search_finds_sections_by_their_words(client: TestClient) -> None:
    assert search("restore back up")[0].address == f"{GUIDE}/operations#back-up-and-restore"
    assert search("  ") == []
    text = client.get(f"{GUIDE}/search", params={"q": "<script>alert(1)</script>"}).text
    assert "No sections" in text
    assert "<script>alert" not in text


def test_scripts_of_others_are_those_that_the_notice_names() -> None:
    folder = ROOT / "api" / "pages" / "static"
    notice = (folder / "NOTICE").read_text("utf-8").splitlines()
    for name in ("htmx.min.js", "redoc.standalone.js"):
        assert f"{sha256((folder / name).read_bytes())}  {name}" in notice
