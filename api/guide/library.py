"""The guide from docs/: its files, what they hold as HTML, its contents and its search."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import pairwise
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from api.http.routing import GUIDE

ROOT = Path(__file__).parents[2]

FIRST = "docs/index.md"

BESIDE = {  # pages that lie beside docs/
    "README.md": "readme",
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog",
    "client/README.md": "client",
    "models/tiny/README.md": "bundled-model",
}

TYPES = {
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".csv": "text/plain; charset=utf-8",
    ".yml": "text/plain; charset=utf-8",
    ".py": "text/plain; charset=utf-8",
}


@cache
def pages() -> Mapping[str, Path]:
    """Return the pages by their addresses below /guide; the first one has the address ""."""
    found = {"" if name == FIRST else _slug(name): ROOT / name for name in _names(".md")}
    found |= {slug: ROOT / name for name, slug in BESIDE.items() if (ROOT / name).is_file()}
    return found if "" in found else {}


@cache
def files() -> Mapping[str, Path]:
    """Return the pictures, tables and examples by their addresses below /guide."""
    return {name.removeprefix("docs/"): ROOT / name for name in _names(*TYPES)}


@cache
def folders() -> Mapping[str, tuple[str, ...]]:
    """Return the pages of each folder that has no page of its own, by its address."""
    parents = {PurePosixPath(slug).parent.as_posix() for slug in pages()} - {"."}
    return {
        parent: tuple(sorted(s for s in pages() if PurePosixPath(s).parent.as_posix() == parent))
        for parent in parents - pages().keys()
    }


def address_of(target: str, page: Path) -> str | None:
    """Return where a link of a page leads on the web; None for a file that is not shown there."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return target
    if not parts.path:
        return target
    name = _within(page.parent / unquote(parts.path))
    fragment = f"#{parts.fragment}" if parts.fragment else ""
    slug = None if name is None else _known(name)
    if slug is None:
        return None
    return (f"{GUIDE}/{slug}" if slug else GUIDE) + fragment


def _known(name: str) -> str | None:
    if name in {FIRST, "docs"}:
        return ""
    slug = BESIDE.get(name) or _slug(name)
    return slug if slug in pages() or slug in files() or slug in folders() else None


def _within(path: Path) -> str | None:
    """Return the name of a path within the repository, or None."""
    path = path.resolve()
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else None


def _slug(name: str) -> str:
    return name.removeprefix("docs/").removesuffix(".md") if name.startswith("docs/") else name


def _names(*endings: str) -> Iterator[str]:
    for path in sorted((ROOT / "docs").rglob("*")):
        if path.suffix in endings and path.is_file():
            yield path.relative_to(ROOT).as_posix()


# Markdown as HTML: links that lead within the guide, headings with ids, coloured code.

_TABLE = '<div class="wide" tabindex="0" role="group" aria-label="Table"><table>\n'
_OF_NO_ID = re.compile(r"[^\w\- ]")


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading, and the text below it."""

    level: int
    title: str
    id: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Document:
    """A page of the guide."""

    title: str
    sections: Sequence[Section]
    tokens: Sequence[Token]

    @cached_property
    def html(self) -> Markup:
        """The page as HTML."""
        markdown = _markdown()
        return Markup(markdown.renderer.render(self.tokens, markdown.options, {}))  # noqa: S704


def read_document(path: Path) -> Document:
    """Return a page as it is now."""
    return _read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _read(path: Path, _changed: int) -> Document:
    tokens = _markdown().parse(path.read_text("utf-8"))
    _name_headings(tokens)
    for token in tokens:
        if token.type == "inline":
            token.children = list(_led(token.children or [], path))
        if token.type in {"th_open", "td_open"} and token.attrs.pop("style", ""):
            token.attrSet("class", "n")
    sections = list(_sections(tokens))
    title = sections[0].title if sections else path.stem
    return Document(title=title, sections=sections, tokens=tokens)


@cache
def _markdown() -> MarkdownIt:
    found = MarkdownIt("commonmark", {"html": False, "highlight": _coloured}).enable("table")
    found.add_render_rule("table_open", lambda *_: _TABLE)
    found.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return found


def _coloured(code: str, language: str, _attributes: str) -> str:
    """Return a block of code, with classes for its colours."""
    try:
        lexer = get_lexer_by_name(language or "text")
    except ClassNotFound:
        lexer = get_lexer_by_name("text")
    inner = highlight(code, lexer, HtmlFormatter(nowrap=True))
    kind = "command" if language == "sh" else "code"
    return f'<pre class="{kind}" tabindex="0"><code>{inner}</code></pre>\n'


def _name_headings(tokens: Sequence[Token]) -> None:
    """Give headings the ids that links to them use."""
    used: dict[str, int] = {}
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            name = _OF_NO_ID.sub("", _text(inline).lower()).replace(" ", "-")
            count = used[name] = used.get(name, -1) + 1
            opening.attrSet("id", f"{name}-{count}" if count else name)


def _led(tokens: Sequence[Token], page: Path) -> Iterator[Token]:
    """Yield tokens with links that lead within the guide, or none where they would lead out."""
    dropped = False
    for token in tokens:
        if token.type == "image":
            token.attrSet("src", address_of(str(token.attrGet("src")), page) or "")
            token.attrSet("loading", "lazy")
        elif token.type == "link_open":
            address = address_of(str(token.attrGet("href")), page)
            dropped = address is None
            token.attrSet("href", address or "")
        if not (dropped and token.type in {"link_open", "link_close"}):
            yield token


def _sections(tokens: Sequence[Token]) -> Iterator[Section]:
    opening, title, texts = None, "", list[str]()
    for index, token in enumerate(tokens):
        if token.type == "heading_open":
            if opening is not None:
                yield _section(opening, title, texts)
            opening, title, texts = token, _text(tokens[index + 1]), []
        elif token.type in {"inline", "fence"} and tokens[index - 1] is not opening:
            texts.append(_text(token) if token.type == "inline" else token.content)
    if opening is not None:
        yield _section(opening, title, texts)


def _section(opening: Token, title: str, texts: Sequence[str]) -> Section:
    level, name = int(opening.tag[1:]), str(opening.attrGet("id"))
    return Section(level=level, title=title, id=name, text=" ".join(texts))


def _text(inline: Token) -> str:
    kinds = {"text": "", "code_inline": "", "softbreak": " ", "hardbreak": " "}
    parts = [t.content or kinds[t.type] for t in inline.children or [] if t.type in kinds]
    return "".join(parts)


# The guide's table of contents, which is its first page, and its search.

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
    end = at + len(words[0])
    parts = text[max(0, at - AROUND) : at], text[at:end], text[end : at + AROUND * 2]
    return Markup("{}<mark>{}</mark>{}").format(*parts)
