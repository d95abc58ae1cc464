"""Forms that came after their session had ended: kept on the page to sign in, sent after that."""

from collections.abc import Mapping
from dataclasses import dataclass

from anyio import fail_after
from fastapi import Request

from api.http.paths import PAGES, SIGN_IN
from api.pages.browser.forms import TOKEN, read_open_form
from api.pages.browser.page_route import require_same_origin
from core.errors import PerennialError

PREFIX = "unsent-"  # of the fields, in the form to sign in
TO = "unsent_to"
SIGN_OUT = f"{PAGES}/sign-out"
MAX_FIELDS = 40  # which leaves room for the fields of the form to sign in
MAX_CHARACTERS = 16_000
ARRIVES_S = 10


@dataclass(frozen=True, kw_only=True)
class UnsentForm:
    """What a person typed into a form of a page, and where the form goes."""

    to: str
    fields: Mapping[str, str]


async def read_unsent(request: Request) -> UnsentForm | None:
    """Return the form of a request that was refused for lack of a session.

    None if a page of another origin sends it, or if it has files or is too long to be kept.
    """
    try:
        require_same_origin(request)
        with fail_after(ARRIVES_S):
            return _kept(request.url.path, await read_open_form(request))
    except (PerennialError, TimeoutError):
        return None


def unsent_in(fields: Mapping[str, str]) -> UnsentForm | None:
    """Return the form that the form to sign in holds; None if it holds none."""
    found = {name[len(PREFIX) :]: text for name, text in fields.items() if name.startswith(PREFIX)}
    return _kept(fields.get(TO, ""), found)


def _kept(to: str, fields: Mapping[str, str]) -> UnsentForm | None:
    typed = {name: text for name, text in fields.items() if name != TOKEN}
    inside = to.startswith(f"{PAGES}/") and to.isprintable()
    long = len(typed) > MAX_FIELDS or sum(map(len, typed.values())) > MAX_CHARACTERS
    if not inside or to in {SIGN_IN, SIGN_OUT} or long:
        return None
    return UnsentForm(to=to, fields=typed)
