"""The guide as Markdown, for programs: its pages, and /llms.txt, which lists them.

The format of the list is that of https://llmstxt.org.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from starlette.responses import PlainTextResponse, Response

from api.guide.library import address_of, pages, read_document
from api.http.routing import GUIDE, LLMS, Routes, ThreadRoute
from core.errors import NotFound

router = Routes(route_class=ThreadRoute, include_in_schema=False)

MARKDOWN = "text/markdown; charset=utf-8"
ENDING = ".md"
INDEX = "index"  # the name of the first page

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_FENCED = re.compile(r"(^```.*?^```$)", flags=re.MULTILINE | re.DOTALL)
_SENTENCE = re.compile(r".+?[.!?](?=\s|$)")
_LISTED = re.compile(r"^- \[(.+?)\]\((.+?)\)$")


@router.get(LLMS)
def show_list() -> Response:
    """Return the guide's contents with what each page begins with."""
    if not pages():
        raise NotFound("The guide is not installed here.")
    return PlainTextResponse("\n".join(_lines()) + "\n")


def is_plain(slug: str) -> bool:
    """Return whether an address below /guide is that of a page as Markdown."""
    return slug.endswith(ENDING) and _named(slug) in pages()


def markdown_of(slug: str) -> str:
    """Return a page as Markdown whose links lead to pages as Markdown, and to files.

    Of a link to what the guide does not show, its text is left.
    """
    path = pages()[_named(slug)]
    parts = _FENCED.split(path.read_text("utf-8"))  # every second one is code
    parts[::2] = [_LINK.sub(lambda link: _led(link, path), part) for part in parts[::2]]
    return "".join(parts)


def _named(slug: str) -> str:
    name = slug.removesuffix(ENDING)
    return "" if name == INDEX else name


def _plain(address: str) -> str:
    """Return the address of a page as Markdown; others stay as they are."""
    place, mark, fragment = address.partition("#")
    slug = place.removeprefix(GUIDE).removeprefix("/")
    if place.startswith(GUIDE) and slug in pages():
        place = f"{GUIDE}/{slug or INDEX}{ENDING}"
    return place + mark + fragment


def _led(link: re.Match[str], page: Path) -> str:
    picture, text, target = link.groups()
    address = address_of(target, page)
    return text if address is None else f"{picture}[{text}]({_plain(address)})"


def _lines() -> Iterator[str]:
    """Yield the lines of the list: those of the guide's first page, with notes on the pages."""
    first = pages()[""]
    introduction = first.read_text("utf-8").splitlines()
    document = read_document(first)
    yield "# Perennial"
    yield ""
    yield f"> {document.sections[0].text}"
    yield ""
    for line in introduction[introduction.index(f"## {document.sections[1].title}") :]:
        listed = _LISTED.match(line)
        address = address_of(listed[2], first) if listed else None
        if listed and address:
            yield f"- [{listed[1]}]({_plain(address)}){_note(address)}"
        elif not listed:
            yield line
    yield ""
    yield "## Optional"
    yield ""
    yield "- [The API as an OpenAPI document](/openapi.json)"


def _note(address: str) -> str:
    """Return the first sentence of a page, behind a colon."""
    path = pages().get(address.removeprefix(GUIDE).removeprefix("/"))
    opening = read_document(path).sections[0].text if path else ""
    sentence = _SENTENCE.match(opening)
    return f": {sentence[0]}" if sentence else ""
