"""The guide's table of contents, which is its first page, and its search."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from api.http.paths import GUIDE
from api.pages.guide.library import folders, pages
from api.pages.guide.markdown import Section, read_document

FOUND, AROUND = 30, 90  # sections of an answer; characters of their text beside the first word


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A section that holds every word of a search."""

    page: str
    section: str
    address: str
    text: Markup


def titles(slugs: Sequence[str]) -> list[tuple[str, str]]:
    """Return pages as addresses with titles."""
    return [(f"{GUIDE}/{slug}", read_document(pages()[slug]).title) for slug in slugs]


def title_of_folder(slug: str) -> str:
    """Return the title of a folder's page."""
    return {"adr": "Decisions", "studies": "Studies"}.get(slug, slug)


def folder_pages(slug: str) -> list[tuple[str, str]] | None:
    """Return the pages of a folder, or None if there is no such folder."""
    return titles(folders()[slug]) if slug in folders() else None


def search(query: str) -> list[Hit]:
    """Return the sections that hold every word, first those that have them in their titles."""
    words = query.lower().split()
    ranked = sorted(_hits(words), key=lambda ranked: ranked[0]) if words else []
    return [hit for _, hit in ranked[:FOUND]]


def _hits(words: Sequence[str]) -> Iterator[tuple[int, Hit]]:
    for slug, path in pages().items():
        document = read_document(path)
        for section in document.sections:
            title, text = section.title.lower(), section.text.lower()
            if all(word in title or word in text for word in words):
                inside = sum(word in title for word in words)
                rank = -inside * 10 + section.level + (5 if slug.startswith("adr/") else 0)
                address = f"{GUIDE}/{slug}#{section.id}"
                shown = _around(section, words)
                yield (
                    rank,
                    Hit(page=document.title, section=section.title, address=address, text=shown),
                )


def _around(section: Section, words: Sequence[str]) -> Markup:
    text = section.text
    at = text.lower().find(words[0])
    if at < 0:
        return escape(text[: AROUND * 3])
    before, word, after = (
        text[max(0, at - AROUND) : at],
        text[at : at + len(words[0])],
        text[at + len(words[0]) : at + AROUND * 2],
    )
    return Markup("{}<mark>{}</mark>{}").format(escape(before), escape(word), escape(after))
