"""The page that asks once before something is lost, and says what."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from starlette.responses import RedirectResponse, Response

from api.pages.forms import LONGEST_REASON
from api.pages.rendering import PageRequest, tell_next
from core.errors import PerennialError


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question: the title says what would be done, and its button does it."""

    title: str
    done: str = ""  # a sentence for the next page
    lost: Sequence[str]  # sentences: what is lost, and what stays
    action: str  # the address that the form is sent to
    back: str
    fields: Mapping[str, str] = field(default_factory=dict)  # sent with it as they are
    choices: Mapping[str, str] = field(default_factory=dict)  # values of `choice`, with their words
    choice: str = ""  # the name of the field with one of these
    wants_reason: bool = False


def ask(
    asked: PageRequest,
    question: Question,
    refusal: PerennialError | None = None,
    sent: Mapping[str, str] | None = None,
) -> Response:
    """Return the page; after a refusal, with the reason and what was sent."""
    return asked.page(
        "question.html",
        question=question,
        refusal=refusal,
        sent=sent or {},
        longest=LONGEST_REASON,
    )


def carry_out(
    asked: PageRequest,
    question: Question,
    act: Callable[[], object],
    *,
    then: str,
    sent: Mapping[str, str] | None = None,
) -> Response:
    """Do what the question was about and lead to the page `then`; if refused, ask again."""
    try:
        act()
    except PerennialError as refusal:
        return ask(asked, question, refusal, sent)
    return tell_next(asked, RedirectResponse(then, 303), question.done)
