"""The guide: every link leads somewhere, and nothing else is shown; scripts of others."""

import re
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from api.guide import pages as guide
from api.guide import plain
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
    app = FastAPI(routes=[*guide.router.routes, *plain.router.routes])
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


OF_MARKDOWN = re.compile(r"\]\(([^)\s]+)\)")


def test_each_page_is_also_markdown_with_the_links_of_the_page(
    client: TestClient, documents: dict[str, Document]
) -> None:
    for slug, document in documents.items():
        answer = client.get(f"{GUIDE}/{slug or 'index'}.md")
        assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
        assert answer.text.startswith(f"# {document.title}"), slug
        plain_links = OF_MARKDOWN.findall(without_code(answer.text))
        as_pages = [
            re.sub(r"^(/guide.*?)(/index)?\.md(?=#|$)", r"\1", link) for link in plain_links
        ]
        assert as_pages == LINK.findall(document.html), slug
        places = {link.partition("#")[0] for link in plain_links}
        assert not places & {f"{GUIDE}/{other}" for other in documents}, slug  # but with .md
    assert client.get(f"{GUIDE}/nothing.md").status_code == 404


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def test_programs_find_every_listed_page_as_markdown(client: TestClient) -> None:
    """In the format of llmstxt.org: a title, a quotation, and sections of links with notes."""
    answer = client.get("/llms.txt")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    title, empty, summary, *rest = answer.text.splitlines()
    assert (title, empty, summary[:2]) == ("# Perennial", "", "> ")
    assert [line for line in rest if not re.match(r"## .|- \[.+\]\(/\S+\)(: .+)?$|$", line)] == []
    listed = re.findall(r"^- \[.+?\]\((\S+?)\)", answer.text, flags=re.MULTILINE)
    contents = LINK.findall(read_document(pages()[""]).html)
    assert len(listed) > 30
    assert {re.sub(r"\.md$", "", one) for one in listed} - {"/openapi.json"} == set(contents)
    assert "- [Quickstart](/guide/quickstart.md): " in answer.text
    for address in listed:
        if address.endswith(".md"):
            assert client.get(address).status_code == 200, address


def test_scripts_of_others_are_those_that_the_notice_names() -> None:
    folder = ROOT / "api" / "pages" / "static"
    notice = (folder / "NOTICE").read_text("utf-8").splitlines()
    for name in ("htmx.min.js", "redoc.standalone.js"):
        assert f"{sha256((folder / name).read_bytes())}  {name}" in notice
