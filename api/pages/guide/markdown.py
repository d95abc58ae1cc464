"""Markdown as HTML: links that lead within the guide, headings with ids, coloured code."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from api.pages.guide.library import address_of

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
    found.add_render_rule("table_open", _open_table)
    found.add_render_rule("table_close", _close_table)
    return found


def _open_table(*_: object) -> str:
    return '<div class="wide" tabindex="0" role="group" aria-label="Table"><table>\n'


def _close_table(*_: object) -> str:
    return "</table></div>\n"


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
